/** Settings: which source wins, what is refused and in which words, and that secrets are never shown. */
import fc from 'fast-check';
import t from 'tap';
import { z } from 'zod';
import { CodedError } from '../../../lib/errors.ts';
import * as type from '../../../lib/io/setting_types.ts';
import { defineSettings, loadSettings, type SettingsInput } from '../../../lib/io/settings.ts';

const definition = defineSettings('agent', {
  httpPort: { schema: type.port(), default: 8_080, doc: 'Port of the HTTP listener.' },
  pretty: { schema: type.flag(), default: false, doc: 'Lines for a person.' },
  schedulers: { schema: type.list(type.hostPort()), default: [] as string[], doc: 'Schedulers to dial.' },
  drainTimeoutMs: { schema: type.durationMs({ min: 0 }), default: 30_000, doc: 'Longest drain.' },
  maxBodyBytes: { schema: type.byteSize({ min: 1 }), default: 4_194_304, doc: 'Largest body.' },
  logLevel: { schema: type.oneOf(['debug', 'info']), default: 'info', doc: 'Least severe line.' },
  joinToken: {
    schema: type.text({ pattern: /^tok_/, allowed: 'a token that starts with tok_' }).optional(),
    default: undefined,
    doc: 'Joins.',
    secret: true,
  },
  engines: {
    schema: z.array(z.object({ name: z.string() })).describe('a list of engines'),
    default: [],
    doc: 'Engines.',
    fileOnly: true,
  },
});

const NO_FILE = (): string => {
  throw new Error('no file was expected');
};
const load = (input: Partial<SettingsInput> & { file?: string }) =>
  loadSettings(definition, {
    argv: input.argv ?? [],
    env: input.env ?? {},
    readFile: input.file === undefined ? (input.readFile ?? NO_FILE) : () => input.file as string,
  });

/** The refusal as message and param; throws when nothing was refused. */
function refusal(input: Parameters<typeof load>[0]): { message: string; param: string | undefined } {
  try {
    load(input);
  } catch (thrown) {
    if (!(thrown instanceof CodedError) || thrown.code !== 'invalid_config') throw thrown;
    return { message: thrown.message, param: thrown.param };
  }
  throw new Error('It was accepted.');
}

t.test('flags win over environment, over the file, over defaults, and each value knows its source', async (t) => {
  const loaded = load({
    argv: ['--http-port', '1', '--config=/etc/a.yaml'],
    env: { SOPHIA_AGENT_HTTP_PORT: '2', SOPHIA_AGENT_DRAIN_TIMEOUT_MS: '5s', OTHER: 'x' },
    file: 'httpPort: 3\ndrainTimeoutMs: 7s\nlogLevel: debug\n',
  });
  t.equal(loaded.config.httpPort, 1);
  t.equal(loaded.config.drainTimeoutMs, 5_000);
  t.equal(loaded.config.logLevel, 'debug');
  t.equal(loaded.config.pretty, false);
  t.match(loaded.sources, {
    httpPort: 'flag --http-port',
    drainTimeoutMs: 'environment variable SOPHIA_AGENT_DRAIN_TIMEOUT_MS',
    logLevel: 'file /etc/a.yaml',
    pretty: 'default',
  });
});

t.test('the file can be named by the environment, and may be JSON or empty', async (t) => {
  const read: string[] = [];
  const loaded = loadSettings(definition, {
    argv: [],
    env: { SOPHIA_AGENT_CONFIG: '/x.json' },
    readFile: (path) => {
      read.push(path);
      return '{"pretty": true, "engines": [{"name": "a"}]}';
    },
  });
  t.same(read, ['/x.json']);
  t.equal(loaded.config.pretty, true);
  t.same(loaded.config.engines, [{ name: 'a' }]);
  t.equal(load({ argv: ['--config', 'x'], file: '' }).config.httpPort, 8_080);
});

t.test('the configuration cannot be changed, at any depth', async (t) => {
  const { config } = load({ argv: ['--config', 'x'], file: 'engines: [{name: a}]' });
  t.throws(() => ((config as { httpPort: number }).httpPort = 1), TypeError);
  t.throws(() => (config.engines as { name: string }[]).push({ name: 'b' }), TypeError);
  t.throws(() => ((config.engines[0] as { name: string }).name = 'c'), TypeError);
  t.throws(() => (config.schedulers as string[]).push('x'), TypeError, 'defaults too');
});

t.test('booleans are strict, and a flag can stand alone or be negated', async (t) => {
  const value = (...argv: string[]) => load({ argv }).config.pretty;
  t.equal(value('--pretty'), true);
  t.equal(value('--pretty=false'), false);
  t.equal(value('--no-pretty'), false);
  t.equal(load({ env: { SOPHIA_AGENT_PRETTY: 'false' } }).config.pretty, false);
  t.equal(load({ argv: ['--config', 'x'], file: 'pretty: false' }).config.pretty, false);
  for (const bad of ['0', '1', 'yes', 'TRUE', '']) {
    t.match(refusal({ env: { SOPHIA_AGENT_PRETTY: bad } }).message, /allowed is true or false/, bad);
  }
  t.match(refusal({ argv: ['--no-pretty=true'] }).message, /takes no value/);
});

t.test('lists, durations and sizes have their spellings', async (t) => {
  t.same(load({ argv: ['--schedulers', 'a:1, [::1]:2'] }).config.schedulers, ['a:1', '[::1]:2']);
  t.same(load({ argv: ['--schedulers='] }).config.schedulers, []);
  t.same(load({ argv: ['--config', 'x'], file: 'schedulers: [a:1]' }).config.schedulers, ['a:1']);
  t.match(refusal({ argv: ['--schedulers', 'a:1,,b:2'] }).message, /each an address such as/);
  const durations = {
    '0': 0,
    '250': 250,
    '250ms': 250,
    '1.5s': 1_500,
    '2m': 120_000,
    '1h': 3_600_000,
    '7d': 604_800_000,
  };
  for (const [word, ms] of Object.entries(durations)) {
    t.equal(load({ argv: ['--drain-timeout-ms', word] }).config.drainTimeoutMs, ms, word);
  }
  for (const bad of ['-1', '5 s', '5S', '1w', '', 'NaN', '1e3', '0x10', '400d', '0.0001s'])
    refusal({ argv: [`--drain-timeout-ms=${bad}`] });
  t.equal(load({ argv: ['--max-body-bytes', '1.5MiB'] }).config.maxBodyBytes, 1_572_864);
  t.equal(load({ argv: ['--max-body-bytes', '10'] }).config.maxBodyBytes, 10);
  for (const bad of ['0', '8MB', '-1', '1.5', '1.0000001KiB']) refusal({ argv: [`--max-body-bytes=${bad}`] });
  for (const bad of ['80a', '65536', '-1', '', ' ', '1.5', '0x50', 'Infinity'])
    refusal({ argv: [`--http-port=${bad}`] });
  t.match(refusal({ argv: ['--config', 'x'], file: 'httpPort: "x"' }).message, /from file x: "x" is not allowed/);
  t.match(refusal({ argv: ['--config', 'x'], file: 'httpPort: .nan' }).message, /not allowed/);
});

t.test('a bad value is refused with key, source, and what is allowed', async (t) => {
  const { message, param } = refusal({ env: { SOPHIA_AGENT_LOG_LEVEL: 'loud' } });
  t.equal(param, 'logLevel');
  t.equal(
    message,
    'Setting logLevel from environment variable SOPHIA_AGENT_LOG_LEVEL: "loud" is not allowed; allowed is one of debug, info.',
  );
  t.match(refusal({ argv: ['--config', 'x'], file: 'engines: [{name: a}, {name: 3}]' }).message, /\(at 1\.name\)/);
  t.ok(refusal({ argv: ['--log-level', 'x'.repeat(5_000)] }).message.length < 300, 'a long value is cut');
});

t.test('unknown names are refused with the source and the nearest known name', async (t) => {
  t.match(refusal({ argv: ['--htpp-port', '1'] }).message, /flag --htpp-port: did you mean --http-port\?/);
  t.match(
    refusal({ env: { SOPHIA_AGENT_HTTP_PROT: '1' } }).message,
    /environment variable SOPHIA_AGENT_HTTP_PROT: did you mean SOPHIA_AGENT_HTTP_PORT\?/,
  );
  t.match(
    refusal({ argv: ['--config', '/f'], file: 'httpport: 1' }).message,
    /key httpport of file \/f: did you mean httpPort\?/,
  );
  t.match(
    refusal({ env: { SOPHIA_AGENT_FOO: '1' } }).message,
    /environment variable SOPHIA_AGENT_FOO: known are SOPHIA_AGENT_HTTP_PORT, /,
  );
  t.match(refusal({ argv: ['--engines', '[]'] }).message, /Unknown setting from flag --engines/, 'file only');
  t.match(refusal({ env: { SOPHIA_AGENT_ENGINES: '[]' } }).message, /Unknown setting/);
  t.match(refusal({ argv: ['--config', '/f'], file: '__proto__: {httpPort: 1}' }).message, /Unknown setting/);
  t.equal(
    load({ env: { SOPHIA_SCHEDULER_FOO: '1' } }).config.httpPort,
    8_080,
    "another process's variables do not matter",
  );
});

t.test('arguments that are no flags, lack a value, or come twice are refused', async (t) => {
  t.match(refusal({ argv: ['serve'] }).message, /Argument 1 is not a flag/);
  t.match(refusal({ argv: ['--'] }).message, /Unknown setting from flag --:/);
  t.match(refusal({ argv: ['--http-port'] }).message, /needs a value/);
  t.match(refusal({ argv: ['--http-port', '--pretty'] }).message, /needs a value/);
  t.match(refusal({ argv: ['--http-port', '1', '--http-port', '2'] }).message, /given twice/);
  t.match(refusal({ argv: ['--pretty', '--no-pretty'] }).message, /given twice/);
  t.match(refusal({ argv: ['--config', 'a', '--config', 'b'] }).message, /given twice/);
});

t.test('a file that cannot be used is refused by name', async (t) => {
  const missing = {
    argv: ['--config', '/none'],
    readFile: () => {
      throw new Error('ENOENT: no such file');
    },
  };
  t.match(refusal(missing).message, /file \/none \(flag --config\) cannot be read: ENOENT/);
  const broken = refusal({ argv: ['--config', '/f'], file: 'joinToken: tok_canary\n  bad: [' });
  t.match(broken.message, /not valid YAML or JSON/);
  t.notMatch(broken.message, /canary/, 'the text of the file may hold secrets');
  t.match(refusal({ argv: ['--config', '/f'], file: '- a' }).message, /must hold keys and values/);
  t.match(refusal({ argv: ['--config', '/f'], file: 'httpPort: 1\nhttpPort: 2' }).message, /not valid YAML/);
  t.match(
    refusal({ argv: ['--config', '/f'], file: 'a: &x [1]\nb: *x' }).message,
    /not valid YAML/,
    'aliases, the way of YAML bombs',
  );
  t.match(refusal({ argv: ['--config', '/f'], file: 'x'.repeat(1_000_001) }).message, /over 1,000,000/);
});

t.test('a secret is shown nowhere', async (t) => {
  const loaded = load({ env: { SOPHIA_AGENT_JOIN_TOKEN: 'tok_canary' }, argv: ['--print-config'] });
  t.equal(loaded.config.joinToken, 'tok_canary');
  t.equal(loaded.printConfig, true);
  t.notMatch(JSON.stringify(loaded.explain()) + loaded.text(), /canary/);
  t.match(loaded.text(), /joinToken +\*\*\* +# environment variable SOPHIA_AGENT_JOIN_TOKEN/);
  const bad = refusal({ env: { SOPHIA_AGENT_JOIN_TOKEN: 'canary' } });
  t.notMatch(bad.message, /canary/);
  t.match(bad.message, /allowed is a token that starts with tok_/);
  t.equal(
    load({})
      .explain()
      .find((row) => row.key === 'joinToken')?.value,
    '(unset)',
  );
});

t.test('help names every flag, what is allowed and the default, whatever else is wrong', async (t) => {
  const loaded = load({ argv: ['--nonsense', '--help'], env: { SOPHIA_AGENT_HTTP_PORT: 'x' } });
  t.equal(loaded.help, true);
  t.match(
    loaded.text(),
    /--http-port VALUE\n +Port of the HTTP listener\.\n +Allowed: a whole number from 0 to 65535\. Default: 8080\./,
  );
  t.match(loaded.text(), /--pretty\n/);
  t.match(loaded.text(), /engines \(in the file only\)/);
  t.equal(load({ argv: ['-h'] }).help, true);
});

t.test('a setting without a default must be given', async (t) => {
  const required = defineSettings('cli', { dataDir: { schema: type.text(), doc: 'Folder.' } });
  const input = { argv: [] as string[], env: {}, readFile: NO_FILE };
  t.throws(() => loadSettings(required, input), {
    code: 'invalid_config',
    message: /dataDir is required: give --data-dir, SOPHIA_CLI_DATA_DIR or key/,
  });
  t.equal(loadSettings(required, { ...input, argv: ['--data-dir', '/x'] }).config.dataDir, '/x');
  t.match(loadSettings(required, { ...input, argv: ['--help'] }).text(), /Default: required/);
});

t.test('a table with a bad name or an undescribed schema is a programming error', async (t) => {
  t.throws(() => defineSettings('x', { help: { schema: type.flag(), default: false, doc: '' } }), TypeError);
  t.throws(() => defineSettings('x', { 'http-port': { schema: type.port(), default: 1, doc: '' } }), TypeError);
  t.throws(() => defineSettings('x', { a: { schema: z.string(), default: '', doc: '' } }), /describe/);
});

t.test('the other kinds of values', async (t) => {
  const accepts = (schema: z.ZodType, value: unknown) => schema.safeParse(value).success;
  t.ok(accepts(type.url(), 'https://a.example/x'));
  for (const bad of ['ftp://a', 'a', 'http://u:p@a', '']) t.notOk(accepts(type.url(), bad), bad);
  for (const good of ['127.0.0.1:0', 'host:65535', '[::1]:1']) t.ok(accepts(type.hostPort(), good), good);
  for (const bad of ['host', ':1', 'host:65536', '::1:1', 'a b:1']) t.notOk(accepts(type.hostPort(), bad), bad);
  t.equal(type.integer({ min: -5 }).parse('-5'), -5);
  t.notOk(accepts(type.text({ maxLength: 3 }), 'abcd'));
  t.same([0, 1, 1_500, 60_000, 90_000, 7_200_000, 86_400_000].map(type.formatDuration), [
    '0ms',
    '1ms',
    '1500ms',
    '1m',
    '90s',
    '2h',
    '1d',
  ]);
});

const SOURCES = ['flag', 'environment', 'file'] as const;

t.test('property: whatever subset of sources names a port, the strongest wins', async () => {
  fc.assert(
    fc.property(fc.subarray([...SOURCES]), fc.integer({ min: 0, max: 65_000 }), (given, base) => {
      const [flagValue, envValue, fileValue] = [base, base + 1, base + 2];
      const loaded = load({
        argv: ['--config', 'f', ...(given.includes('flag') ? [`--http-port=${flagValue}`] : [])],
        env: given.includes('environment') ? { SOPHIA_AGENT_HTTP_PORT: String(envValue) } : {},
        file: given.includes('file') ? `httpPort: ${fileValue}` : '{}',
      });
      const expected = { flag: flagValue, environment: envValue, file: fileValue };
      const [strongest] = given;
      return loaded.config.httpPort === (strongest === undefined ? 8_080 : expected[strongest]);
    }),
  );
});

t.test('property: a configuration written as flags, as variables or as a file reads back the same', async () => {
  const values = fc.record({
    httpPort: fc.integer({ min: 0, max: 65_535 }),
    pretty: fc.boolean(),
    schedulers: fc.array(fc.stringMatching(/^[a-z][a-z0-9.-]{0,20}:[1-9]\d{0,3}$/), { maxLength: 5 }),
    drainTimeoutMs: fc.integer({ min: 0, max: 10_000_000 }),
    logLevel: fc.constantFrom('debug', 'info'),
  });
  fc.assert(
    fc.property(values, fc.constantFrom(...SOURCES), (config, source) => {
      const text = (value: unknown) => (Array.isArray(value) ? value.join(',') : String(value));
      const kebab = (key: string) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      const entries = Object.entries(config);
      const loaded =
        source === 'file'
          ? load({ argv: ['--config=f'], file: JSON.stringify(config) })
          : source === 'flag'
            ? load({ argv: entries.map(([key, value]) => `--${kebab(key)}=${text(value)}`) })
            : load({
                env: Object.fromEntries(
                  entries.map(([key, value]) => [
                    `SOPHIA_AGENT_${kebab(key).replaceAll('-', '_').toUpperCase()}`,
                    text(value),
                  ]),
                ),
              });
      return entries.every(
        ([key, value]) => JSON.stringify(loaded.config[key as keyof typeof config]) === JSON.stringify(value),
      );
    }),
  );
});
