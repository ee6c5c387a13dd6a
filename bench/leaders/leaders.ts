/**
 * `npm run bench -- leaders`: three schedulers on one PostgreSQL. The one that leads is paused for longer than its lease,
 * and killed; how long until another leads and acts, whether what the old one still says is refused by the store and by
 * the agents, and whether anything was started twice.
 */
import { randomUUID } from 'node:crypto';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { openEventStore } from '../../scheduler/adapters/store/event_store.ts';
import { openDriver } from '../../scheduler/adapters/store/open_store.ts';
import type { EventRow } from '../../scheduler/core/events/event.ts';
import { type EventStore, type Lease, MAX_READ } from '../../scheduler/core/events/store_port.ts';
import { benchEnvironment } from '../config.ts';
import { quantile, round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { deployment, isReady, sendChange } from '../store_faults/admin_http.ts';
import { type ControlFleet, startControlFleet } from '../store_faults/fleet.ts';
import { makeBouncer, makePostgres, type Owner } from '../store_faults/postgres.ts';
import { until, withCleanUp } from '../store_faults/waits.ts';
import { freePorts } from '../supervised/free_ports.ts';
import { type Ghost, makeGhost } from './ghost.ts';
import { overlapsIn, staleRefused, startsIn } from './starts.ts';

export interface LeadersOptions {
  readonly store: 'pg';
  readonly json?: true;
  readonly pgbouncer?: true;
  readonly rounds: number;
  readonly seconds: number;
  readonly leaseMs: number;
}

const SCHEDULERS = 3;
const AGENTS = 2;
const GPUS = 4;
const LIMIT_MS = 90_000;
/** The lease's name in the store (scheduler/adapters/reconcile). */
const LEASE = 'reconcile';
const BASE = 'base';
const GIB = 2 ** 30;

type How = 'pause' | 'kill';

interface Round {
  readonly how: How;
  /** From the blow until another holds the lease. */
  readonly takeoverMs: number;
  /** Until what was declared at the moment of the blow serves. */
  readonly servesMs: number;
  readonly fenced: boolean;
  readonly ordersSent: number;
  readonly ordersRefused: number;
}

interface Stage {
  readonly fleet: ControlFleet;
  readonly store: EventStore;
  readonly ghost: Ghost;
}

const gpuDeployment = (name: string, replicas: number): object =>
  deployment(name, {
    replicas,
    gpusPerHost: 1,
    gpuMemoryBytes: 8 * GIB,
    extraFlags: ['--sim-itl-ms', '5', '--sim-start-ms', '100'],
  });

async function change(fleet: ControlFleet, index: number, path: '/admin/v1/apply' | '/admin/v1/delete', body: object) {
  const tell = async (): Promise<boolean> => (await sendChange(fleet.target(index), path, body)).ending === 'done';
  await until(tell, `${fleet.idOf(index)} to take a change`, LIMIT_MS);
}

async function makeStage(owner: Owner, { pgbouncer, leaseMs }: LeadersOptions): Promise<Stage> {
  const server = await makePostgres(owner);
  const storeUrl = pgbouncer === true ? await makeBouncer(owner, server) : server.url;
  const [ghostPort] = (await freePorts(1)) as [number];
  const ghost = makeGhost(owner, ghostPort);
  const fleet = await startControlFleet(owner, {
    schedulers: SCHEDULERS,
    agents: AGENTS,
    gpus: GPUS,
    settings: { store: 'postgres', storeUrl, storePollMs: 200, leaseTtlMs: leaseMs },
    otherSchedulers: [`localhost:${ghostPort}`],
  });
  await ghost.open(fleet.root);
  const common = { clock: systemClock, random: systemRandom };
  const driver = openDriver({ ...common, url: server.url, folder: '', environment: { ...benchEnvironment() } });
  owner.teardown(() => driver.close());
  const store = await openEventStore({ ...common, driver, mac: fleet.mac, newLogId: randomUUID() });
  await change(fleet, 0, '/admin/v1/apply', { resources: [gpuDeployment(BASE, AGENTS)] });
  for (let index = 0; index < fleet.count; index++)
    await until(() => isReady(fleet.target(index), BASE), `${fleet.idOf(index)} to see ${BASE} ready`, LIMIT_MS);
  await until(() => ghost.sessions().length === AGENTS, 'agents to dial the ghost', LIMIT_MS);
  return { fleet, store, ghost };
}

/** Who leads now. */
async function leaderOf({ store, fleet }: Stage): Promise<{ readonly index: number; readonly lease: Lease }> {
  let lease: Lease | undefined;
  const isHeld = async (): Promise<boolean> => {
    lease = await store.leases.look(LEASE);
    return lease !== undefined && lease.leftMs > 0;
  };
  await until(isHeld, 'somebody to lead', LIMIT_MS);
  const { holder } = lease as Lease;
  const index = Array.from({ length: fleet.count }, (_, at) => at).find((at) =>
    holder.startsWith(`${fleet.idOf(at)}/`),
  );
  if (index === undefined) throw new Error(`${holder} leads, who is none of ours`);
  return { index, lease: lease as Lease };
}

/** Whether the store takes what the old leader would still write. */
async function isFenced({ store }: Stage, epoch: number): Promise<boolean> {
  const outcome = await store.append({
    idempotencyId: `late-${epoch}-${randomUUID()}`,
    items: [
      {
        kind: 'action.taken',
        resource: { kind: 'Deployment', name: BASE },
        actor: 'scheduler:late',
        reason: 'what a leader says that is none',
        correlationId: 'late',
        after: null,
      },
    ],
    fence: { lease: LEASE, epoch },
  });
  return outcome.kind === 'fenced';
}

async function refusedBy({ fleet }: Stage, epoch: number): Promise<number> {
  const logs = await Promise.all(fleet.nodes.map((_, index) => fleet.agentLog(index)));
  return logs.reduce((sum, log) => sum + staleRefused(log, epoch), 0);
}

/** Orders of the old leader, given when the agents have heard of the new one. */
async function staleOrders(stage: Stage, epoch: number): Promise<{ sent: number; refused: number }> {
  const before = await refusedBy(stage, epoch);
  const sent = stage.ghost.order(epoch);
  let refused = 0;
  const areAll = async (): Promise<boolean> => {
    refused = (await refusedBy(stage, epoch)) - before;
    return refused >= sent;
  };
  // What is not refused after so long was obeyed, and counts as such.
  await until(areAll, 'agents to refuse', 10_000).catch((thrown: unknown) =>
    process.stderr.write(`${String(thrown)}\n`),
  );
  return { sent, refused };
}

async function runRound(stage: Stage, how: How, turn: number): Promise<Round> {
  const { fleet, store } = stage;
  const { index, lease } = await leaderOf(stage);
  const other = (index + 1) % fleet.count;
  const name = `round-${turn}`;
  const blowMs = performance.now();
  const since = (): number => Math.round(performance.now() - blowMs);
  if (how === 'pause') fleet.signal(index, 'SIGSTOP');
  else await fleet.kill(index);
  const declared = change(fleet, other, '/admin/v1/apply', { resources: [gpuDeployment(name, 1)] });
  const isTaken = async (): Promise<boolean> => ((await store.leases.look(LEASE))?.epoch ?? 0) > lease.epoch;
  await until(isTaken, 'another to lead', LIMIT_MS);
  const takeoverMs = since();
  await declared;
  await until(() => isReady(fleet.target(other), name), `${name} to serve`, LIMIT_MS);
  const servesMs = since();
  const fenced = await isFenced(stage, lease.epoch);
  const { sent, refused } = await staleOrders(stage, lease.epoch);
  if (how === 'pause') fleet.signal(index, 'SIGCONT');
  else await fleet.start(index);
  await until(() => isReady(fleet.target(index), name), `${fleet.idOf(index)} to know of ${name}`, LIMIT_MS);
  await change(fleet, other, '/admin/v1/delete', { resources: [{ kind: 'deployment', name }] });
  return { how, takeoverMs, servesMs, fenced, ordersSent: sent, ordersRefused: refused };
}

/** Engines that were started, and how often one was too often, or two had one GPU. */
async function countStarts({ fleet, store }: Stage): Promise<{ engines: number; doubleStarts: number }> {
  const starts = startsIn(await Promise.all(fleet.nodes.map((_, index) => fleet.agentLog(index))));
  const rows: EventRow[] = [];
  for (let page = await store.read(0, MAX_READ); page.length > 0; page = await store.read(rows.length, MAX_READ))
    rows.push(...page);
  const overlaps = overlapsIn(rows);
  for (const [engine, count] of starts)
    if (count > 1) overlaps.push(...Array<string>(count - 1).fill(`${engine} started again`));
  for (const text of overlaps) process.stderr.write(`${text}\n`);
  return { engines: starts.size, doubleStarts: overlaps.length };
}

async function measure(owner: Owner, options: LeadersOptions) {
  const stage = await makeStage(owner, options);
  const rounds: Round[] = [];
  const startedMs = performance.now();
  const isTime = (): boolean => performance.now() - startedMs < options.seconds * 1000;
  for (let turn = 0; turn < options.rounds * 2 && (turn < 2 || isTime()); turn++) {
    const made = await runRound(stage, turn % 2 === 0 ? 'pause' : 'kill', turn);
    rounds.push(made);
    process.stderr.write(`${made.how}: another leads after ${made.takeoverMs} ms, serves after ${made.servesMs} ms\n`);
  }
  const takeovers = rounds.map(({ takeoverMs }) => takeoverMs);
  const serves = rounds.map(({ servesMs }) => servesMs);
  const sum = (value: (one: Round) => number): number => rounds.reduce((total, one) => total + value(one), 0);
  return {
    store: options.pgbouncer === true ? 'pg through pgbouncer' : 'pg',
    leaseMs: options.leaseMs,
    takeoverP50Ms: quantile(takeovers, 0.5),
    takeoverP99Ms: quantile(takeovers, 0.99),
    servesP50Ms: quantile(serves, 0.5),
    servesP99Ms: quantile(serves, 0.99),
    kills: sum(({ how }) => (how === 'kill' ? 1 : 0)),
    pauses: sum(({ how }) => (how === 'pause' ? 1 : 0)),
    fencedAppends: sum(({ fenced }) => (fenced ? 1 : 0)),
    staleOrdersSent: sum(({ ordersSent }) => ordersSent),
    staleOrdersRefused: sum(({ ordersRefused }) => ordersRefused),
    ...(await countStarts(stage)),
    seconds: round((performance.now() - startedMs) / 1000, 1),
    rounds,
  };
}

export async function runLeaders(options: LeadersOptions): Promise<void> {
  const report = await withCleanUp((owner) => measure(owner, options));
  const { rounds, ...figures } = report;
  const rows = rounds.map((one) => [
    one.how,
    one.takeoverMs,
    one.servesMs,
    one.fenced ? 'yes' : 'NO',
    one.ordersRefused,
  ]);
  console.log(alignRows([['blow', 'takeover ms', 'serves ms', 'append refused', 'orders refused'], ...rows]));
  console.log(
    Object.entries(figures)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
  );
  if (options.json === true) console.log(JSON.stringify(report));
  const { fencedAppends, staleOrdersSent, staleOrdersRefused, engines, doubleStarts } = report;
  const areRefused = fencedAppends === rounds.length && staleOrdersSent > 0 && staleOrdersRefused === staleOrdersSent;
  // A round starts one engine; whoever saw none of them start has not looked.
  if (!areRefused || doubleStarts > 0 || engines < AGENTS + rounds.length) process.exitCode = 1;
}
