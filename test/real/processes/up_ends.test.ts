/** How `sophia up` ends: by a signal, by two, by kill -9, and before it began because something is wrong. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import t from 'tap';
import { eventually } from '../../support/child.ts';
import { makeHome, SOPHIA_MAIN, sophia } from '../../cli/sophia.ts';
import { left, PORTS, ready, up } from '../../cli/up/started.ts';

t.setTimeout(200_000);

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

t.test('an agent that is killed is started again, takes over the engines of the old one, and serves', async (t) => {
  const home = makeHome(t);
  const child = up(t, home);
  const { url, key, model } = await ready(child);
  const agent = left(home).find((line) => line.includes('/agent/main.js')) as string;
  const engines = left(home).filter((line) => line.includes('/sim/main.js'));
  t.equal(engines.length, 2);
  process.kill(Number.parseInt(agent, 10), 'SIGKILL');
  const isNew = (line: string): boolean => line.includes('/agent/main.js') && line !== agent;
  await eventually('another agent', () => left(home).some(isNew), 20_000);
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'x' }], max_tokens: 3 });
  const answers = async (): Promise<boolean> =>
    (await fetch(`${url}/chat/completions`, { method: 'POST', headers, body })).status === 200;
  await eventually('an answer', answers, 20_000);
  t.same(
    left(home).filter((line) => line.includes('/sim/main.js')),
    engines,
    'the engines are the same processes',
  );
  child.signal('SIGINT');
  t.equal((await child.exited).code, 0);
  await eventually('no process is left', () => left(home).length === 0);
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
    ['an address of another machine', ['--engine', 'sim', '--http-host', '192.0.2.1', ...PORTS], /192\.0\.2\.1/],
    ['a host that does not exist', ['--engine', 'sim', '--http-host', '999.1.1.1', ...PORTS], /999\.1\.1\.1/],
    ['a file system that makes no folders', ['--engine', 'sim', '--data-dir', '/proc/nope/d', ...PORTS], /proc\/nope/],
    [
      'a data folder that cannot be made',
      ['--engine', 'sim', '--data-dir', `${SOPHIA_MAIN}/x`, ...PORTS],
      /main\.js\/x/,
    ],
  ];
  for (const [name, args, says] of cases) {
    const env = name.startsWith('vLLM') ? { PATH: path.dirname(process.execPath) } : {};
    const given = args.includes('--data-dir') ? args : [...args, ...data];
    const { code, stderr, stdout } = await sophia(t, home, ['up', ...given], env);
    t.equal(code, 2, name);
    t.notMatch(stdout, /Stopping/, `${name}: nothing but the sentence`);
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
  const json = await sophia(t, home, ['up', '--print-config', '--json', '--http-port', '81']);
  const { settings } = JSON.parse(json.stdout) as { settings: { key: string }[] };
  t.match(
    settings.find((setting) => setting.key === 'httpPort'),
    { value: '81', source: 'flag --http-port' },
  );
  for (const name of ['scheduler', 'agent']) {
    const { stdout: help } = await sophia(t, home, [name, '--help']);
    t.match(help, /--log-level/, name);
  }
  t.ok(readFileSync(new URL('../../../../docs/CONFIG.md', import.meta.url), 'utf8').includes('readyTimeoutMs'));
});
