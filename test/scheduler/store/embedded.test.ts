/** The store on the embedded database: the common suite, and what only it has: a process, a folder, a lock. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { openAnchorsFile } from '../../../scheduler/adapters/store/anchors_file.ts';
import {
  createEmbeddedDriver,
  type EmbeddedDriver,
} from '../../../scheduler/adapters/store/embedded/embedded_driver.ts';
import { openEventStore } from '../../../scheduler/adapters/store/event_store.ts';
import { readOrMakeAnchorKeys, readOrMakeMac } from '../../../scheduler/adapters/store/keys.ts';
import { storeFiles } from '../../../scheduler/adapters/store/store_files.ts';
import { makeHome, sophia } from '../../cli/sophia.ts';
import { childEnv, isAlive } from '../../support/child.ts';
import { until } from '../../support/waits.ts';
import { killHost, survivesKills } from './kills.ts';
import { deployment, runStoreSuite, shared } from './store_suite.ts';

const HOST = fileURLToPath(new URL('../../../scheduler/adapters/store/embedded/host.js', import.meta.url));

function openDriver(folder: string, statementTimeoutMs = 30_000): EmbeddedDriver {
  return createEmbeddedDriver({
    folder,
    clock: systemClock,
    random: systemRandom,
    environment: childEnv(),
    statementTimeoutMs,
  });
}

async function hasOneOpener(t: Test, driver: EmbeddedDriver, folder: string): Promise<void> {
  await driver.query('select 1', [], { repeatable: true });
  const pid = driver.hostPid() as number;
  const other = openDriver(folder);
  await other.query('select 1', [], { repeatable: true });
  t.equal(other.hostPid(), pid, 'a second client joins the process that is there');
  await other.close();
  await other.close();
  await t.rejects(other.query('select 1', [], { repeatable: true }), { code: 'store_unavailable' });
  const open = async (): Promise<{ code: number | null; stderr: string }> => {
    const child = spawn(process.execPath, [HOST, folder], { env: childEnv(), stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { code, stderr };
  };
  t.match(await open(), { code: 2, stderr: /Another process holds the data folder/ });
  // A holder that is stopped is still one: whoever took its folder would corrupt it.
  process.kill(pid, 'SIGSTOP');
  try {
    t.match(await open(), { code: 2, stderr: /Another process/ });
    const slow = openDriver(folder, 50);
    const stuck = createEmbeddedDriver({
      folder,
      clock: systemClock,
      random: systemRandom,
      environment: childEnv(),
      startTimeoutMs: 50,
    });
    await t.rejects(stuck.query('select 1', [], { repeatable: false }), { code: 'store_timeout' });
    await slow.close();
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  const hasty = openDriver(folder, 0);
  await t.rejects(hasty.query('select count(*) from generate_series(1, 300000)', [], { repeatable: false }), {
    code: 'store_timeout',
  });
  await hasty.close();
  await t.rejects(driver.query('select 1/0', [], { repeatable: false }), { code: 'internal' });
  await t.rejects(driver.query('nonsense', [], { repeatable: false }), { code: 'internal', message: /42601/ });
}

async function isAudited(t: Test, driver: EmbeddedDriver, dataDir: string): Promise<void> {
  const files = storeFiles(dataDir);
  const keys = await readOrMakeAnchorKeys(files.anchorKey);
  const mac = await readOrMakeMac(files.logKey);
  const store = await openEventStore({
    driver: shared(driver),
    mac,
    clock: systemClock,
    random: systemRandom,
    newLogId: 'log',
  });
  const anchors = await openAnchorsFile(files.anchors, keys);
  for (const name of ['a', 'b', 'c', 'd']) {
    await store.append({ idempotencyId: name, items: [deployment(name, 1)] });
    await anchors.anchor(store);
  }
  t.match(await anchors.anchor(store), { n: 4, seq: 4 }, 'nothing new, no new anchor');
  const home = makeHome(t);
  const verify = (...args: string[]) => sophia(t, home, ['audit', 'verify', ...args]);
  const good = await verify('--data-dir', dataDir, '--json');
  t.equal(good.code, 0, good.stderr);
  t.match(JSON.parse(good.stdout.trim().split('\n').at(-1) ?? ''), {
    ok: true,
    events: 4,
    anchors: 4,
    found: 0,
    findings: [],
  });
  const ask = (sql: string) => driver.query(sql, [], { repeatable: false });
  await ask(`update sophia.entries set body = replace(body, '"replicas":1', '"replicas":8') where name = 'b'`);
  const model = await verify('--data-dir', dataDir);
  t.equal(model.code, 1);
  t.match(model.stdout, 'projection_changed: the read model of desired/Deployment/b is not what event 2 says');
  await ask(`update sophia.entries set body = replace(body, '"replicas":8', '"replicas":1') where name = 'b'`);
  await ask('delete from sophia.events where seq = 4');
  await ask('update sophia.log_head set seq = 3, hash = (select hash from sophia.events where seq = 3)');
  const cut = await verify('--data-dir', dataDir, '--json');
  t.equal(cut.code, 1);
  t.match(JSON.parse(cut.stdout.trim().split('\n').at(-1) ?? ''), {
    ok: false,
    findings: [{ kind: 'cut', seq: 4, to: 4, by: 'anchor', text: /tail is cut/ }],
  });
  t.match((await verify('--data-dir', path.join(dataDir, 'none'))).code, 2);
  t.match((await verify('--data-dir', dataDir, '--anchors', path.join(dataDir, 'none'))).stderr, /no anchors file/);
}

t.test('the embedded store', async (t) => {
  const dataDir = t.testdir();
  const { database } = storeFiles(dataDir);
  const driver = openDriver(database);
  t.teardown(async () => {
    await killHost(driver);
    await driver.close();
  });
  await runStoreSuite(t, 'embedded', driver);
  await t.test('killed while it writes, it loses and doubles nothing', (t) => survivesKills(t, driver, 12, [8]));
  await t.test('one process opens the folder, others join or are refused', (t) => hasOneOpener(t, driver, database));
  await t.test('sophia audit verify reads it beside its users', (t) => isAudited(t, driver, dataDir));
  await t.test('without clients its process ends by itself', async (t) => {
    const pid = driver.hostPid() as number;
    process.kill(pid, 'SIGTERM');
    await until(() => !isAlive(pid), 'a clean end');
    t.notOk(existsSync(path.join(database, 'pg', 'postmaster.pid.broken')));
    t.same(await driver.query('select 1 as one', [], { repeatable: true }), [{ one: '1' }], 'and is started again');
  });
});
