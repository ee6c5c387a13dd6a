/**
 * Declared resources through the doors that a user uses: a scheduler as a process with its embedded store, the command
 * line and HTTP; a restart, and a store whose process is killed.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { writePair } from '../../../lib/io/local_ca.ts';
import { mainOf } from '../../../lib/io/local_fleet.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { makeHome, sophia, startSophia } from '../../cli/sophia.ts';
import { type Child, isAlive, startChild } from '../../support/child.ts';
import { testAuthority } from '../../support/fake_agent.ts';
import { pidsNaming } from '../../support/processes.ts';
import { until } from '../../support/waits.ts';

t.setTimeout(120_000);
const root = await mkdtemp(path.join(tmpdir(), 'resources-test-'));
t.teardown(() => rm(root, { recursive: true, force: true }));
const authority = await testAuthority();
const ca = await writePair(root, 'ca', authority.ca);
const own = await writePair(root, 'scheduler', await authority.issue('scheduler', ['localhost']));
const dataDir = path.join(root, 'data');
const storeDir = path.join(dataDir, 'store');
const keyFile = path.join(root, 'first.key');
const examples = path.join(packageRoot(), 'examples');

const CONFIG = {
  httpPort: 0,
  grpcPort: 0,
  fleetPort: 0,
  fleetCertFile: own.certFile,
  fleetKeyFile: own.keyFile,
  fleetCaFile: ca.certFile,
  dataDir,
  bootstrapKeyFile: keyFile,
  storePollMs: 50,
};

async function startScheduler() {
  const file = path.join(root, 'scheduler.yaml');
  await writeFile(file, JSON.stringify(CONFIG));
  const child = startChild(t, { args: [mainOf('scheduler'), '--config', file] });
  const [line] = await child.waitFor(/^\{"type":"ready".*\}$/m, 30_000);
  const { httpPort, grpcPort } = JSON.parse(line) as { httpPort: number; grpcPort: number };
  const key = (await readFile(keyFile, 'utf8')).trim();
  const http = async (route: string, body?: object) => {
    const response = await fetch(`http://127.0.0.1:${httpPort}${route}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, text, json: () => JSON.parse(text) as Record<string, unknown> };
  };
  return { child, http, env: { SOPHIA_ENDPOINT: `127.0.0.1:${grpcPort}`, SOPHIA_KEY: key } };
}

/** What outlives one test of this file. */
const whole = t;
const home = makeHome(t);
let scheduler = await startScheduler();
let following: Child | undefined;
const run = (...args: string[]) => sophia(t, home, args, scheduler.env);

const deployment = (name: string, spec: object = {}, metadata: object = {}): object => ({
  apiVersion: 'sophia/v1',
  kind: 'Deployment',
  metadata: { name, ...metadata },
  spec: { engine: 'sim', model: 'm', gpusPerHost: 0, ...spec },
});
const apply = (...resources: object[]) => scheduler.http('/admin/v1/apply', { resources });

t.test('an empty fleet has no database; the first apply makes one', async (t) => {
  t.match((await scheduler.http('/metrics')).text, /sophia_store_state\{state="closed"\} 1/);
  t.notOk(existsSync(storeDir));
  const applied = await run('apply', '-f', examples, '--reason', 'first', '--json');
  // The log hears of the first key too, before or after.
  const told = JSON.parse(applied.stdout) as { seq: number };
  t.match(told, { outcomes: [{ resource: 'deployment/chat', outcome: 'created' }] });
  t.ok(told.seq === 6 || told.seq === 7, `${told.seq} is the sixth event of the apply`);
  t.ok(existsSync(storeDir));
});

t.test('diff shows what would change, and what get prints can be applied', async (t) => {
  const file = path.join(root, 'chat.yaml');
  const got = await run('get', 'deployment', 'chat', '-o', 'yaml');
  await writeFile(file, got.stdout.replace('replicas: 2', 'replicas: 3'));
  t.match(await run('diff', '-f', file), {
    code: 1,
    stdout: /deployment\/chat would change[^]*~ spec.replicas: 2 -> 3/,
  });
  t.match(await run('apply', '-f', file), { code: 0, stdout: 'deployment/chat configured\n' });
  t.match((await apply(deployment('chat', {}, { version: 1 }))).json(), { error: { code: 'version_conflict' } });
  await writeFile(file, got.stdout.replace('priority:', 'prioritty:'));
  const bad = await run('apply', '-f', file);
  t.match(bad, { code: 1, stderr: /chat\.yaml:\d+: spec\.prioritty: .*did you mean priority/ });
});

t.test('a plan of moves is asked for on the command line, and nothing moves', async (t) => {
  t.match(await run('plan', 'defragment'), { code: 0, stdout: /^no move [^]*Plan: 0 to move\.\n$/ });
  const told = await run('plan', 'defragment', '--max-moves', '2', '--json');
  t.match(JSON.parse(told.stdout), { moves: [], before: { emptyGpus: 0 }, cost: { starts: 0 } });
});

t.test('names with SQL or markup are refused, and change nothing', async (t) => {
  for (const name of ["x'); DROP SCHEMA sophia CASCADE;--", '<img src=x onerror=alert(1)>'])
    t.match((await apply(deployment(name))).json(), { error: { code: 'invalid_resource' } }, name);
  const sly = "'); DROP SCHEMA sophia CASCADE;--";
  t.match(
    (await scheduler.http('/admin/v1/apply', { resources: [deployment('sly', { model: sly })], reason: sly })).json(),
    {
      outcomes: [{ outcome: 'created' }],
    },
  );
  t.match((await scheduler.http('/admin/v1/resources/deployment/sly')).json(), { spec: { model: sly } });
});

t.test('an engine and a quarantine by hand: applied, seen, and gone again', async (t) => {
  const file = path.join(examples, 'by-hand');
  t.match(await run('apply', '-f', file), {
    code: 0,
    stdout: 'engine/probe created\nquarantine/fan-of-gpu-4 created\n',
  });
  t.match((await run('get', 'engine')).stdout, /^probe +gpu-1 +- +declared +sim +probe +pending/m);
  const wrong = path.join(root, 'wrong.yaml');
  await writeFile(
    wrong,
    'apiVersion: sophia/v1\nkind: Quarantine\nmetadata: { name: x }\nspec:\n  why: x\n  node: n1\n',
  );
  t.match(await run('diff', '-f', wrong), { code: 1, stderr: /wrong\.yaml:5: spec\.why: is not a member/ });
  t.match(await run('delete', '-f', file, '--yes'), {
    code: 0,
    stdout: 'engine/probe deleted\nquarantine/fan-of-gpu-4 deleted\n',
  });
});

t.test('freeze, and the events as they come', async (t) => {
  following = startSophia(whole, home, ['event', 'list', '-f', '--limit', '20'], scheduler.env);
  await following.waitFor(/desired\.created +deployment\/sly/);
  t.match((await run('freeze', '--reason', 'night shift')).stdout, /frozen[^]*night shift/);
  await following.waitFor(/freeze\.set +fleet\/fleet +key:\w+ +night shift/);
  t.match((await scheduler.http('/admin/v1/unfreeze', { reason: 'day' })).json(), { frozen: false });
  t.match(
    (await run('replay', '--until', '7', '--area', 'desired')).stdout,
    /after event 7[^]*deployment\/chat +[12] /,
  );
});

t.test('a restart keeps all, and reads it without being asked', async (t) => {
  scheduler.child.signal('SIGTERM');
  t.match(await following?.exited, { code: 1 });
  t.match(following?.stderr(), /The scheduler stops; follow another one/);
  t.match(await scheduler.child.exited, { code: 0 });
  scheduler = await startScheduler();
  await until(
    // What was applied here, and what the leader has written of rollouts.
    async () => /sophia_store_events [1-9]\d+\b/.test((await scheduler.http('/metrics')).text),
    'the state',
    30_000,
  );
  t.match((await scheduler.http('/admin/v1/resources/deployment/chat')).json(), {
    metadata: { version: Number },
    spec: { replicas: 3 },
  });
  t.ok(existsSync(path.join(dataDir, 'anchors.jsonl')), 'the log was anchored at the end');
});

t.test('with the store gone serving and reading go on, changes are refused, and later all works again', async (t) => {
  const [host] = pidsNaming(storeDir);
  await rename(storeDir, `${storeDir}.aside`);
  await writeFile(storeDir, 'no folder');
  process.kill(host as number, 'SIGKILL');
  await until(() => !isAlive(host as number), 'the end of the store');
  const refused = await apply(deployment('later'));
  t.equal(refused.status, 503);
  t.match(refused.json(), { error: { code: /^store_/ } });
  t.equal((await scheduler.http('/v1/models')).status, 200);
  t.equal((await scheduler.http('/health/live')).status, 200);
  t.match((await scheduler.http('/admin/v1/resources/deployment/chat')).json(), { spec: { replicas: 3 } });
  t.match((await scheduler.http('/metrics')).text, /sophia_store_state\{state="down"\} 1/);
  await rm(storeDir);
  await rename(`${storeDir}.aside`, storeDir);
  t.match((await apply(deployment('later'))).json(), { outcomes: [{ outcome: 'created' }] });
});

t.test('delete asks, and names what is not there', async (t) => {
  t.match(await run('delete', 'deployment', 'sly'), { code: 2, stderr: /give --yes/ });
  t.match(await run('delete', 'deploy', 'sly', 'later', 'nobody', '--yes'), {
    code: 1,
    stdout: 'deployment/sly deleted\ndeployment/later deleted\ndeployment/nobody not found\n',
  });
  t.match((await run('audit', 'verify', '--data-dir', dataDir)).stdout, /The log verifies/);
});
