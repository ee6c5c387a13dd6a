/**
 * `npm run bench -- store-faults`: streams run and deployments change while the store and its schedulers die, are cut off
 * or have no room. Afterwards the history of the clients is held against the log, which is audited besides.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { processesFor, signalProcess } from '../../lib/io/processes.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { auditStore } from '../../scheduler/adapters/store/audit.ts';
import { openEventStore } from '../../scheduler/adapters/store/event_store.ts';
import { openDriver } from '../../scheduler/adapters/store/open_store.ts';
import { decodeEvent } from '../../scheduler/core/events/event.ts';
import { type EventStore, MAX_READ } from '../../scheduler/core/events/store_port.ts';
import { benchEnvironment } from '../config.ts';
import { round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { deployment, deploymentsOf, isReady, sendChange } from './admin_http.ts';
import { ID_PREFIX, MODEL, Streams, Writers } from './clients.ts';
import { type Fault, FAULTS, faultsOf, makeSmallDisk, type Stage, strike } from './faults.ts';
import { type ControlFleet, startControlFleet } from './fleet.ts';
import { judge, type Logged, type Verdict, type View } from './history.ts';
import { makePostgres, makeProxy, type Owner } from './postgres.ts';
import { until, withCleanUp } from './waits.ts';

export interface StoreFaultsOptions {
  readonly store: 'pg' | 'pglite';
  readonly json?: true;
  readonly seconds: number;
  readonly streams: number;
  readonly writers: number;
  readonly tokens: number;
  /** Seconds between two faults. */
  readonly every: number;
}

const AGENTS = 2;
const READY_MS = 90_000;
const DISK_MB = { pg: 224, pglite: 320 };
const WARM_UP_MS = 2000;

async function makeStage(owner: Owner, { store }: StoreFaultsOptions): Promise<Stage> {
  const disk = makeSmallDisk(owner, DISK_MB[store]);
  const common = { agents: AGENTS, gpus: 0 };
  const timing = { storePollMs: 200, leaseTtlMs: 3000 };
  if (store === 'pglite') {
    const parent = await mkdtemp(path.join(disk ?? tmpdir(), 'sophia-store-'));
    owner.teardown(() => rm(parent, { recursive: true, force: true, maxRetries: 10 }));
    const folder = path.join(parent, 'store');
    // It would wait some seconds for another client.
    owner.teardown(async () => (await processesFor(folder)).forEach((pid) => signalProcess(pid, 'SIGKILL')));
    const settings = { store: 'embedded', storeDir: folder, ...timing };
    const fleet = await startControlFleet(owner, { ...common, schedulers: 1, settings });
    return { fleet, postgres: undefined, folder, disk };
  }
  // Small files of its log, so that a disk that is full is felt at once.
  const server = await makePostgres(owner, {
    ...(disk === undefined ? {} : { parent: disk }),
    initdb: ['--wal-segsize=1'],
    settings: ['min_wal_size=2MB', 'max_wal_size=32MB'],
  });
  const proxy = await makeProxy(owner, server.port);
  const settings = { store: 'postgres', storeUrl: proxy.url, ...timing };
  const fleet = await startControlFleet(owner, { ...common, schedulers: 2, settings });
  return { fleet, postgres: { server, proxy }, folder: '', disk };
}

/** Declares what the streams ask, and waits until every scheduler has it. */
async function declareModel(fleet: ControlFleet): Promise<void> {
  const spec = { replicas: 4, extraFlags: ['--sim-itl-ms', '20', '--sim-start-ms', '300'] };
  const resources = [deployment(MODEL, spec)];
  const tell = async (): Promise<boolean> =>
    (await sendChange(fleet.target(0), '/admin/v1/apply', { resources })).ending === 'done';
  await until(tell, 'the first change', READY_MS);
  await allReady(fleet);
}

async function allReady(fleet: ControlFleet): Promise<void> {
  for (let index = 0; index < fleet.count; index++)
    await until(() => isReady(fleet.target(index), MODEL), `${MODEL} to be ready at ${fleet.idOf(index)}`, READY_MS);
}

async function strikeAll(stage: Stage, { seconds, every }: StoreFaultsOptions): Promise<Record<Fault, number>> {
  const counts = Object.fromEntries(FAULTS.map((fault) => [fault, 0])) as Record<Fault, number>;
  const faults = faultsOf(stage);
  const endMs = performance.now() + seconds * 1000;
  for (let turn = 0; turn < faults.length || performance.now() < endMs; turn++) {
    const fault = faults[turn % faults.length] as Fault;
    counts[fault] += await strike(fault, stage);
    process.stderr.write(`${fault}\n`);
    await sleep(every * 1000);
  }
  return counts;
}

/** The writers' changes in the log. */
async function readLog(store: EventStore): Promise<Logged[]> {
  const found: Logged[] = [];
  for (let after = 0; ; ) {
    const rows = await store.read(after, MAX_READ);
    for (const row of rows) {
      const event = decodeEvent(row.body);
      if (event === undefined) throw new Error(`row ${row.seq} of the log is no event`);
      if (!event.reason.startsWith(ID_PREFIX)) continue;
      const { spec } = (event.after ?? {}) as { spec?: { replicas?: number } };
      found.push({ seq: row.seq, id: event.reason, name: event.resource.name, replicas: spec?.replicas });
    }
    if (rows.length === 0) return found;
    after = (rows.at(-1) as { seq: number }).seq;
  }
}

/** Deployments of writers as the store's read model has them. */
async function readModel(store: EventStore): Promise<View> {
  const replicas = new Map<string, number>();
  for (let after = { kind: '', name: '' }; ; ) {
    const entries = await store.list('desired', after, MAX_READ);
    for (const { kind, name, value } of entries)
      if (kind === 'Deployment' && name !== MODEL)
        replicas.set(name, (value as unknown as { spec: { replicas: number } }).spec.replicas);
    const last = entries.at(-1);
    if (last === undefined) return { by: 'the read model', replicas };
    after = { kind: last.kind, name: last.name };
  }
}

async function viewOf(fleet: ControlFleet, index: number): Promise<View> {
  const seen = (await deploymentsOf(fleet.target(index))).filter(({ name }) => name !== MODEL);
  return { by: fleet.idOf(index), replicas: new Map(seen.map(({ name, replicas }) => [name, replicas])) };
}

/** Waits until each scheduler takes changes again, then holds the history against the log. */
async function check({ fleet, postgres, folder }: Stage, writers: Writers) {
  for (let index = 0; index < fleet.count; index++) {
    const last = async (): Promise<boolean> => (await writers.change(`last-${index}`, 0, index)).ending === 'done';
    await until(last, `${fleet.idOf(index)} to take changes again`, READY_MS);
  }
  await allReady(fleet);
  const common = { clock: systemClock, random: systemRandom };
  const url = postgres === undefined ? {} : { url: postgres.server.url };
  const driver = openDriver({ ...common, ...url, folder, environment: { ...benchEnvironment() } });
  try {
    const store = await openEventStore({ ...common, driver, mac: fleet.mac, newLogId: randomUUID() });
    const logged = await readLog(store);
    const { seq } = await store.head();
    const views = [await readModel(store)];
    // Each follows the log in its own time.
    await sleep(1000);
    for (let index = 0; index < fleet.count; index++) views.push(await viewOf(fleet, index));
    const { events, found } = await auditStore({ driver, mac: fleet.mac });
    return { verdict: judge(writers.changes, logged, views), events, findings: found, seq };
  } finally {
    await driver.close();
  }
}

function reportOf(verdict: Verdict, { changes }: Writers) {
  const count = (wanted: string): number => changes.filter(({ ending }) => ending === wanted).length;
  return {
    lostAcks: verdict.lost.length,
    doubleEffects: verdict.doubled.length + verdict.undead.length + verdict.strange.length,
    outOfOrder: verdict.swapped.length,
    wrongState: verdict.differing.length,
    acknowledged: count('done'),
    refused: count('refused'),
    unknown: count('unknown'),
    unknownDone: verdict.unknownDone,
  };
}

async function measure(owner: Owner, options: StoreFaultsOptions) {
  const stage = await makeStage(owner, options);
  const { fleet } = stage;
  await declareModel(fleet);
  const target = (index: number) => fleet.target(index % fleet.count);
  const streams = new Streams(target, options.streams, options.tokens);
  const writers = new Writers(target, fleet.count, options.writers);
  const startedMs = performance.now();
  await sleep(WARM_UP_MS);
  const faults = await strikeAll(stage, options);
  await writers.stop();
  await streams.stop();
  const seconds = round((performance.now() - startedMs) / 1000, 1);
  const { verdict, events, findings } = await check(stage, writers);
  for (const [what, list] of Object.entries(verdict))
    if (Array.isArray(list)) for (const text of list.slice(0, 5)) process.stderr.write(`${what}: ${text}\n`);
  return {
    store: options.store,
    faults: Object.values(faults).reduce((sum, count) => sum + count, 0),
    ...reportOf(verdict, writers),
    failedStreams: streams.failed,
    streams: streams.finished,
    reconnects: streams.reconnects,
    events,
    auditFindings: findings,
    seconds,
    byFault: faults,
    answers: Object.fromEntries(writers.codes),
  };
}

export async function runStoreFaults(options: StoreFaultsOptions): Promise<void> {
  const report = await withCleanUp((owner) => measure(owner, options));
  const { byFault, answers, ...figures } = report;
  const told = [
    ...Object.entries(byFault),
    ...Object.entries(answers).map(([code, count]) => [`answered ${code}`, count] as const),
  ];
  console.log(alignRows([['what', 'times'], ...told.map(([name, count]) => [name, count])]));
  console.log(
    Object.entries(figures)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
  );
  if (options.json === true) console.log(JSON.stringify(report));
  const { lostAcks, doubleEffects, failedStreams, outOfOrder, wrongState, auditFindings, acknowledged } = report;
  const wrong = lostAcks + doubleEffects + failedStreams + outOfOrder + wrongState + auditFindings;
  if (wrong > 0 || acknowledged === 0) process.exitCode = 1;
}
