/** `sophia up` as a newcomer meets it, with simulated engines: a first answer, the commands beside it, a clean end. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import t from 'tap';
import { type Child, eventually } from '../../support/child.ts';
import { type Home, makeHome, SOPHIA_MAIN, sophia, startSophia } from '../sophia.ts';

const READY_MS = 60_000;
const PORTS = ['--http-port', '0', '--grpc-port', '0', '--fleet-port', '0'];

interface Banner {
  readonly url: string;
  readonly key: string;
  readonly model: string;
  readonly curl: string;
  readonly engine: string;
  readonly httpPort: number;
}

function up(owner: Parameters<typeof startSophia>[0], home: Home, ...args: string[]): Child {
  return startSophia(owner, home, [
    '--json',
    'up',
    '--engine',
    'sim',
    ...PORTS,
    '--data-dir',
    path.join(home.root, 'd'),
    ...args,
  ]);
}

async function ready(child: Child): Promise<Banner> {
  const [line] = await child.waitFor(/^\{"url".*\}$/m, READY_MS);
  return JSON.parse(line) as Banner;
}

/** Processes whose command line names the folder of this test, whoever their parent is by now. */
function left(home: Home): string[] {
  const { stdout } = spawnSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' });
  return stdout.split('\n').filter((line) => line.includes(home.root));
}

t.setTimeout(120_000);

t.test('the printed curl line streams an answer, the commands see the fleet, and Ctrl-C leaves nothing', async (t) => {
  const home = makeHome(t);
  const child = up(t, home);
  const banner = await ready(child);
  t.equal(banner.engine, 'sim');
  const curl = spawnSync('bash', ['-c', banner.curl], { encoding: 'utf8' });
  t.match(curl.stdout, /^data: \{"id":"chatcmpl-/);
  t.match(curl.stdout, /data: \[DONE\]\n\n$/);
  t.match(curl.stdout, /simulated/);

  const engines = JSON.parse((await sophia(t, home, ['--json', 'engine', 'list'])).stdout) as { engines: object[] };
  t.match(engines.engines, [{ routable: true }, { routable: true }], 'up made its context the current one');
  const table = (await sophia(t, home, ['engine', 'list'])).stdout;
  t.match(table, /sim \(simulated\)/, 'a simulated engine says so');
  t.match((await sophia(t, home, ['engine', 'show', 'sim-0'])).stdout, /ready/);
  t.match((await sophia(t, home, ['node', 'list'])).stdout, /connected/);
  const node = (JSON.parse((await sophia(t, home, ['--json', 'node', 'list'])).stdout) as { nodes: { name: string }[] })
    .nodes[0];
  t.match((await sophia(t, home, ['node', 'show', node?.name as string])).stdout, /sim-1/);
  t.match((await sophia(t, home, ['model', 'list'])).stdout, /simulated-model +2/);
  t.match((await sophia(t, home, ['model', 'show', 'simulated-model'])).stdout, /2 ready of 2/);
  t.match((await sophia(t, home, ['status'])).stdout, /serving/);
  t.match((await sophia(t, home, ['explain', 'deployment', 'simulated-model'])).stdout, /sim-0/);
  t.equal((await sophia(t, home, ['engine', 'show', 'nobody'])).code, 1);
  t.equal((await sophia(t, home, ['model', 'show', 'nobody'])).code, 1);

  const requestId = /"id":"chatcmpl-([^"]+)"/.exec(curl.stdout)?.[1] as string;
  t.match((await sophia(t, home, ['explain', 'request', requestId])).stdout, /picked/i);
  const chat = await sophia(t, home, ['chat', 'Hello', 'there']);
  t.match(chat.stdout, /simulated/, 'the chat command answers');

  child.signal('SIGINT');
  const { code } = await child.exited;
  t.equal(code, 0);
  await eventually('no process is left', () => left(home).length === 0);
});

t.test('a key that was made works, one that was revoked does not, and no file or log holds the secret', async (t) => {
  const home = makeHome(t);
  const child = up(t, home, '--engines', '1');
  const { url } = await ready(child);
  const made = await sophia(t, home, [
    '--json',
    'key',
    'create',
    '--name',
    'test',
    '--tenant',
    'acme',
    '--expires-in-days',
    '1',
  ]);
  const { secret, key } = JSON.parse(made.stdout) as { secret: string; key: { id: string } };
  const models = (): Promise<Response> => fetch(`${url}/models`, { headers: { authorization: `Bearer ${secret}` } });
  t.equal((await models()).status, 200);
  const denied = await sophia(t, home, ['key', 'list'], { SOPHIA_KEY: secret });
  t.equal(denied.code, 1, 'a user may not list keys');
  t.match((await sophia(t, home, ['key', 'list'])).stdout, /acme +user +valid/);
  t.equal((await sophia(t, home, ['key', 'revoke', key.id])).code, 0);
  t.equal((await models()).status, 401);
  t.match((await sophia(t, home, ['key', 'list'])).stdout, /revoked/);
  child.signal('SIGINT');
  await child.exited;
  const grep = spawnSync('grep', ['-rl', secret.slice(-20), home.root], { encoding: 'utf8' });
  t.equal(grep.stdout, '', 'the secret was written nowhere');
});

t.test('an up that is killed outright leaves no process either', async (t) => {
  const home = makeHome(t);
  const child = up(t, home);
  await ready(child);
  t.ok(left(home).length > 3);
  child.signal('SIGKILL');
  await eventually('scheduler, agent and engines have stopped by themselves', () => left(home).length === 0, 30_000);
  const again = up(t, home);
  await ready(again);
  t.pass('the folder of the dead one can be used again');
  again.signal('SIGINT');
  t.equal((await again.exited).code, 0);
});

t.test('one Ctrl-C that arrives twice is one wish; a later one ends at once, and nothing is left', async (t) => {
  const home = makeHome(t);
  const child = up(t, home);
  const { url, key, model } = await ready(child);
  const body = { model, stream: true, messages: [{ role: 'user', content: 'x' }], max_tokens: 4000, ignore_eos: true };
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const stream = await fetch(`${url}/chat/completions`, { method: 'POST', headers, body: JSON.stringify(body) });
  const reader = stream.body?.getReader();
  await reader?.read();
  child.signal('SIGINT');
  child.signal('SIGINT');
  const next = await reader?.read();
  t.equal(next?.done, false, 'the running stream goes on');
  await new Promise((resolve) => setTimeout(resolve, 1200));
  child.signal('SIGINT');
  await child.exited;
  await reader?.cancel().catch(() => undefined);
  await eventually('no process is left', () => left(home).length === 0, 20_000);
});

t.test('what cannot work ends with one clear sentence and exit code 2', async (t) => {
  const home = makeHome(t);
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as AddressInfo;
  const data = ['--data-dir', path.join(home.root, 'd')];
  const cases: readonly (readonly [name: string, args: readonly string[], says: RegExp])[] = [
    [
      'a taken port',
      ['--engine', 'sim', '--http-port', String(port), '--grpc-port', '0', '--fleet-port', '0'],
      new RegExp(`${port}`),
    ],
    ['a missing model', ['--engine', 'llama', '--model', '/nowhere/model.gguf', ...PORTS], /nowhere\/model\.gguf/],
    ['vLLM that is not there', ['--engine', 'vllm', '--model', home.root, ...PORTS], /not on PATH/],
    ['an unknown setting', ['--http-prot', '1'], /http-prot.*http-port/s],
    ['a value that is not allowed', ['--engine', 'gpt'], /--engine/],
    [
      'a data folder that cannot be made',
      ['--engine', 'sim', '--data-dir', `${SOPHIA_MAIN}/x`, ...PORTS],
      /main\.js\/x/,
    ],
  ];
  for (const [name, args, says] of cases) {
    const env = name.startsWith('vLLM') ? { PATH: path.dirname(process.execPath) } : {};
    const given = args.includes('--data-dir') ? args : [...args, ...data];
    const { code, stderr } = await sophia(t, home, ['up', ...given], env);
    t.equal(code, 2, name);
    t.match(stderr, says, name);
    t.notMatch(stderr, /^\s+at .*\.[jt]s:/m, `${name}: no stack`);
  }
  t.same(left(home), []);
});

t.test('a second up on the same folder is refused while the first runs', async (t) => {
  const home = makeHome(t);
  const first = up(t, home, '--engines', '1');
  await ready(first);
  const second = await sophia(t, home, ['up', '--engine', 'sim', ...PORTS, '--data-dir', path.join(home.root, 'd')]);
  t.equal(second.code, 2);
  t.match(second.stderr, /Another `sophia up`/);
  first.signal('SIGTERM');
  t.equal((await first.exited).code, 0);
});

t.test('--print-config shows each value and where it came from', async (t) => {
  const home = makeHome(t);
  const { code, stdout } = await sophia(t, home, ['up', '--print-config', '--http-port', '81'], {
    SOPHIA_UP_ENGINES: '3',
  });
  t.equal(code, 0);
  t.match(stdout, /httpPort.*81.*flag --http-port/);
  t.match(stdout, /engines.*3.*SOPHIA_UP_ENGINES/);
  t.match(stdout, /engine .*default/);
  for (const name of ['scheduler', 'agent']) {
    const { stdout: help } = await sophia(t, home, [name, '--help']);
    t.match(help, /--log-level/, name);
  }
  t.ok(readFileSync(new URL('../../../../docs/CONFIG.md', import.meta.url), 'utf8').includes('readyTimeoutMs'));
});
