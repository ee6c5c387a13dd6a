/** The command line of the embedded engine, through its parser and through the program itself. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parseArguments } from '../../../../agent/engines/llama/arguments.ts';
import { CodedError } from '../../../../lib/errors.ts';

const MAIN = fileURLToPath(new URL('../../../../agent/engines/llama/main.js', import.meta.url));

t.test('vLLM-like flags, with = or a space, become settings in the units of the code', async (t) => {
  t.match(
    parseArguments([
      '--uds',
      '/run/e.sock',
      '--model=/m.gguf',
      '--shutdown-timeout=5',
      '--threads',
      '2',
      '--seed',
      '7',
    ]),
    {
      listen: { uds: '/run/e.sock' },
      model: '/m.gguf',
      servedModelName: '/m.gguf',
      maxModelLen: undefined,
      maxNumSeqs: 8,
      shutdownTimeoutMs: 5000,
      threads: 2,
      seed: 7,
    },
  );
  t.match(
    parseArguments([
      '--port',
      '0',
      '--model',
      'm',
      '--served-model-name',
      's',
      '--max-model-len',
      '512',
      '--max-num-seqs',
      '3',
    ]),
    {
      listen: { host: '127.0.0.1', port: 0 },
      servedModelName: 's',
      maxModelLen: 512,
      maxNumSeqs: 3,
      shutdownTimeoutMs: 0,
    },
  );
});

const refused: readonly (readonly [string, readonly string[], string])[] = [
  ['an unknown flag', ['--model', 'm', '--port', '0', '--enforce-eager'], 'Unrecognized argument: --enforce-eager.'],
  ['a stray word', ['--model', 'm', '--port', '0', 'extra'], 'Unrecognized argument: extra.'],
  ['no model', ['--port', '0'], 'Argument --model is required'],
  ['no place to listen', ['--model', 'm'], 'Give --uds PATH, or --host HOST and --port PORT.'],
  ['two places to listen', ['--model', 'm', '--uds', 'x', '--port', '0'], 'not both'],
  ['a port that is none', ['--model', 'm', '--port', '70000'], 'from 0 to 65535'],
  ['no sequence at all', ['--model', 'm', '--port', '0', '--max-num-seqs', '0'], 'from 1 to 64'],
  ['a negative number', ['--model', 'm', '--port', '0', '--threads=-1'], 'Argument --threads is "-1"'],
  ['a flag without its value', ['--port', '0', '--model'], 'Argument --model needs a value.'],
  ['a flag given twice', ['--model', 'm', '--model', 'n', '--port', '0'], 'Argument --model is given twice.'],
];
for (const [what, argv, sentence] of refused) {
  t.test(`${what} is refused in one sentence`, async (t) => {
    try {
      parseArguments(argv);
      t.fail('it was taken');
    } catch (thrown) {
      t.ok(thrown instanceof CodedError && thrown.code === 'invalid_config', 'coded');
      t.ok((thrown as Error).message.includes(sentence), (thrown as Error).message);
    }
  });
}

t.test('the program ends with code 2 for bad arguments and 1 for weights that are not there', async (t) => {
  const bad = spawnSync(process.execPath, [MAIN, '--bogus'], { encoding: 'utf8', timeout: 15_000 });
  t.equal(bad.status, 2);
  t.match(bad.stderr, /Unrecognized argument: --bogus\./);
  const absent = spawnSync(process.execPath, [MAIN, '--port', '0', '--model', '/nowhere/m.gguf'], {
    encoding: 'utf8',
    timeout: 15_000,
  });
  t.equal(absent.status, 1);
  t.match(absent.stderr, /The weights at \/nowhere\/m\.gguf cannot be loaded/);
  t.notMatch(absent.stdout, /startup complete/);
});
