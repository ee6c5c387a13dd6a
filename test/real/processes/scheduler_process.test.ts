/** The scheduler as a process: how it says that it is ready, how it ends, and how it refuses a configuration. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { writePair } from '../../../lib/io/local_ca.ts';
import { mainOf } from '../../../lib/io/local_fleet.ts';
import { startChild } from '../../support/child.ts';
import { createFakeAgent, readyEngine, testAuthority } from '../../support/fake_agent.ts';

const root = await mkdtemp(path.join(tmpdir(), 'scheduler-test-'));
t.teardown(() => rm(root, { recursive: true, force: true }));
const authority = await testAuthority();
const ca = await writePair(root, 'ca', authority.ca);
const own = await writePair(root, 'scheduler', await authority.issue('scheduler', ['localhost']));
const keyFile = path.join(root, 'first.key');

const CONFIG = {
  httpPort: 0,
  grpcPort: 0,
  fleetPort: 0,
  fleetCertFile: own.certFile,
  fleetKeyFile: own.keyFile,
  fleetCaFile: ca.certFile,
  dataDir: path.join(root, 'data'),
  bootstrapKeyFile: keyFile,
  drainTimeoutMs: 20_000,
};

async function start(owner: Parameters<typeof startChild>[0], change: object) {
  const file = path.join(root, `${Math.random().toString(36).slice(2)}.yaml`);
  await writeFile(file, JSON.stringify({ ...CONFIG, ...change }));
  return startChild(owner, { args: [mainOf('scheduler'), '--config', file] });
}

interface Ports {
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly fleetPort: number;
}

t.test('one line tells the ports, the first key is for its owner only, and SIGTERM ends it well', async (t) => {
  const child = await start(t, {});
  const [line] = await child.waitFor(/^\{"type":"ready".*\}$/m, 15_000);
  const ports = JSON.parse(line) as Ports;
  t.equal((await stat(keyFile)).mode & 0o777, 0o600);
  const key = (await readFile(keyFile, 'utf8')).trim();
  const models = (credential: string) =>
    fetch(`http://127.0.0.1:${ports.httpPort}/v1/models`, { headers: { authorization: credential } });
  t.equal((await models(`Bearer ${key}`)).status, 200);
  t.equal((await models('Bearer sk-nobody')).status, 401);
  t.equal((await fetch(`http://127.0.0.1:${ports.httpPort}/health/ready`)).status, 503, 'no engine, not ready');
  t.notMatch(child.stderr(), key, 'the key is in no log');
  child.signal('SIGTERM');
  t.same(await child.exited, { code: 0, signal: null });
  const again = await start(t, {});
  await again.waitFor(/"type":"ready"/, 15_000);
  t.equal((await readFile(keyFile, 'utf8')).trim(), key, 'a second start makes no second key');
});

t.test('a second signal does not wait for the streams', async (t) => {
  const child = await start(t, {});
  const [line] = await child.waitFor(/^\{"type":"ready".*\}$/m, 15_000);
  const ports = JSON.parse(line) as Ports;
  const pair = await authority.issue('gpu-1');
  const agent = createFakeAgent({ port: ports.fleetPort, authority, pair, nodeName: 'gpu-1', sessionId: 's1' });
  t.teardown(() => agent.close());
  agent.openSession({ engines: [readyEngine('e0', 'm')] });
  agent.openLane({ onSubmit: (each) => each.head() });
  const key = (await readFile(keyFile, 'utf8')).trim();
  const ask = () =>
    fetch(`http://127.0.0.1:${ports.httpPort}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'm', stream: true, messages: [{ role: 'user', content: 'x' }] }),
    });
  let answer = await ask();
  for (let i = 0; i < 100 && answer.status !== 200; i++) {
    await answer.text();
    answer = await ask();
  }
  t.equal(answer.status, 200);
  child.signal('SIGTERM');
  await child.waitFor(/"msg":"stopping"/);
  child.signal('SIGTERM');
  t.same(await child.exited, { code: 143, signal: null });
  await t.rejects(answer.text());
});

t.test('a configuration that cannot be ends with one sentence and exit code 2', async (t) => {
  const refused = async (change: object): Promise<string> => {
    const child = await start(t, change);
    const { code } = await child.exited;
    t.equal(code, 2, JSON.stringify(change));
    return child
      .stderr()
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('{'))
      .join('\n');
  };
  t.match(await refused({ fleetCaFile: '/nowhere/ca.crt' }), /fleetCaFile.*\/nowhere\/ca\.crt/);
  t.match(await refused({ jwtIssuer: 'https://id.example' }), /jwtJwksFile/);
  t.match(await refused({ jwtIssuer: 'https://id.example', jwtJwksUrl: 'https://id.example/k' }), /jwtAudience/);
  t.match(await refused({ grpcCertFile: 'only-this' }), /grpcKeyFile/);
  t.match(await refused({ unknownKey: 1 }), /unknownKey/);
  const running = await start(t, {});
  const [line] = await running.waitFor(/^\{"type":"ready".*\}$/m, 15_000);
  const { httpPort, grpcPort, fleetPort } = JSON.parse(line) as Ports;
  for (const taken of [{ httpPort }, { grpcPort }, { fleetPort }])
    t.match(await refused({ ...taken, dataDir: path.join(root, 'other') }), /in use|taken|cannot listen/);
});
