/**
 * `npm run bench -- death`: how long the scheduler goes on believing in an engine that is dead, over many kills of
 * engines that this agent started and of engines that it took over from an agent that was killed; how long an engine that
 * only stands still stays in rotation; and whether one that is merely overloaded is ever taken for either.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile, round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { signalProcess } from '../../lib/io/processes.ts';
import { treeOf } from '../supervised/engine_processes.ts';
import { simPlans, startSupervisedFleet, type SupervisedFleet } from '../supervised/fleet.ts';
import { startLoad } from '../supervised/load.ts';
import { type EngineNews, SchedulerLog } from '../supervised/scheduler_log.ts';
import { overload, type OverloadResult } from './overload.ts';

export interface DeathOptions {
  readonly kills: number;
  readonly stops: number;
  readonly loadSeconds: number;
  readonly seed: number;
  readonly json?: boolean;
}

type Victim = 'api' | 'core';

interface Kill {
  readonly victim: Victim;
  readonly adopted: boolean;
  readonly ms: number;
}

interface Stop {
  readonly detectMs: number;
  readonly boundMs: number;
  readonly backMs: number;
}

export interface DeathReport {
  readonly kills: number;
  /** From the kill to the scheduler's knowledge, over all kills. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The slowest stop: from SIGSTOP under load until the engine is out of rotation, and the bound that it had. */
  readonly stopDetectMs: number;
  readonly stopBoundMs: number;
  /** The slowest return to service after a stop, with nobody's help. */
  readonly backInServiceMs: number;
  /** Engines that were called dead or wedged at 150 % load. */
  readonly falsePositives: number;
  readonly startedP99Ms: number;
  readonly adoptedP99Ms: number;
  readonly apiServerP99Ms: number;
  readonly engineCoreP99Ms: number;
  readonly stops: number;
  readonly load: OverloadResult;
}

const ENGINES = 4;
const READY_LIMIT_MS = 60_000;
const KNOWN_LIMIT_MS = 30_000;
const POLL_MS = 20;
/** An engine that was just started is left in peace for a moment, so that its streams run when it is struck. */
const SETTLE_MS = 500;
const TOKENS = 400;
/** The watchdog looks this often: part of what the measured bound may be exceeded by. */
const LOOK_MS = 250;
const BOUND = /where (\d+) ms is the most/;

/** Reads the scheduler's log until an engine's life is out of rotation. */
async function awaitNews(log: SchedulerLog, fits: (news: EngineNews) => boolean): Promise<EngineNews> {
  const endMs = performance.now() + KNOWN_LIMIT_MS;
  while (performance.now() < endMs) {
    const found = (await log.news()).find(fits);
    if (found !== undefined) return found;
    await sleep(POLL_MS);
  }
  throw new Error(`the scheduler did not learn of it within ${KNOWN_LIMIT_MS / 1000} s`);
}

/** Signals a process of an engine that serves; gives the life that was struck and the moment. */
async function strikeEngine(
  fleet: SupervisedFleet,
  log: SchedulerLog,
  engine: string,
  victim: Victim,
  signal: 'SIGKILL' | 'SIGSTOP',
) {
  const { pid, incarnation } = await fleet.waitFor(engine, 'ready', (facts) => facts.routable, READY_LIMIT_MS);
  await sleep(SETTLE_MS);
  const tree = await treeOf(pid);
  const target = victim === 'api' ? tree.api : tree.core;
  await log.news();
  const atMs = Date.now();
  if (target === undefined || !signalProcess(target, signal)) throw new Error(`${engine} has no ${victim} process`);
  return { incarnation, atMs };
}

async function killOne(fleet: SupervisedFleet, log: SchedulerLog, engine: string, victim: Victim): Promise<number> {
  const { incarnation, atMs } = await strikeEngine(fleet, log, engine, victim, 'SIGKILL');
  const out = await awaitNews(
    log,
    (news) => news.engine === engine && news.incarnation === incarnation && news.state !== 'ready',
  );
  return out.atMs - atMs;
}

async function allReady(fleet: SupervisedFleet): Promise<void> {
  for (const { name } of fleet.plans) await fleet.waitFor(name, 'ready', (facts) => facts.routable, READY_LIMIT_MS);
}

/** Kills engines in turn: first those that the agent started, then those that it found. */
async function killMany(fleet: SupervisedFleet, log: SchedulerLog, count: number): Promise<Kill[]> {
  const kills: Kill[] = [];
  const half = Math.floor(count / 2);
  for (let index = 0; index < count; index++) {
    const adopted = index >= half;
    // A round of adopted engines: the agent is killed, and each engine that its successor finds is killed once.
    const turn = adopted ? index - half : index;
    if (adopted && turn % ENGINES === 0) {
      await allReady(fleet);
      await fleet.killAgent();
      await allReady(fleet);
    }
    const engine = `sim-${turn % ENGINES}`;
    // Shifted with each round, so that every engine loses both.
    const victim: Victim = (turn + Math.floor(turn / ENGINES)) % 2 === 0 ? 'api' : 'core';
    kills.push({ victim, adopted, ms: await killOne(fleet, log, engine, victim) });
  }
  await allReady(fleet);
  return kills;
}

/** Stops the core of an engine whose streams run. */
async function stopMany(fleet: SupervisedFleet, log: SchedulerLog, count: number): Promise<Stop[]> {
  const stops: Stop[] = [];
  for (let index = 0; index < count; index++) {
    const engine = `sim-${index % ENGINES}`;
    const { incarnation, atMs } = await strikeEngine(fleet, log, engine, 'core', 'SIGSTOP');
    const out = await awaitNews(
      log,
      (news) => news.engine === engine && news.incarnation === incarnation && news.state !== 'ready',
    );
    const back = await awaitNews(
      log,
      (news) => news.engine === engine && news.incarnation > incarnation && news.state === 'ready',
    );
    const boundMs = Number(BOUND.exec(out.message)?.[1]) + LOOK_MS;
    stops.push({ detectMs: out.atMs - atMs, boundMs, backMs: back.atMs - atMs });
  }
  return stops;
}

function summarise(kills: readonly Kill[], stops: readonly Stop[], load: OverloadResult): DeathReport {
  const p99 = (some: readonly Kill[]): number =>
    quantile(
      some.map(({ ms }) => ms),
      0.99,
    );
  const most = (values: readonly number[]): number => Math.max(0, ...values);
  return {
    kills: kills.length,
    p50Ms: round(
      quantile(
        kills.map(({ ms }) => ms),
        0.5,
      ),
    ),
    p99Ms: p99(kills),
    stopDetectMs: most(stops.map(({ detectMs }) => detectMs)),
    stopBoundMs: most(stops.map(({ boundMs }) => boundMs)),
    backInServiceMs: most(stops.map(({ backMs }) => backMs)),
    falsePositives: load.falsePositives,
    startedP99Ms: p99(kills.filter(({ adopted }) => !adopted)),
    adoptedP99Ms: p99(kills.filter(({ adopted }) => adopted)),
    apiServerP99Ms: p99(kills.filter(({ victim }) => victim === 'api')),
    engineCoreP99Ms: p99(kills.filter(({ victim }) => victim === 'core')),
    stops: stops.length,
    load,
  };
}

function print(report: DeathReport): string {
  const { load } = report;
  return alignRows([
    ['from', 'to', 'ms'],
    ['kill -9', `scheduler knows, p50 of ${report.kills}`, report.p50Ms],
    ['', 'p99', report.p99Ms],
    ['', 'p99, engines that this agent started', report.startedP99Ms],
    ['', 'p99, engines that it adopted', report.adoptedP99Ms],
    ['', 'p99, API server killed', report.apiServerP99Ms],
    ['', 'p99, engine core killed', report.engineCoreP99Ms],
    ['SIGSTOP of the core', `out of rotation, slowest of ${report.stops}`, report.stopDetectMs],
    ['', 'its bound', report.stopBoundMs],
    ['', 'back in service', report.backInServiceMs],
    ['overload', `false positives in ${load.seconds} s at 150 %`, report.falsePositives],
    ['', `requests done, of ${load.requests}`, load.done],
  ]).concat('\n\nTimes are from the log of the scheduler, in whole milliseconds of one clock: error below 1 ms.');
}

export async function runDeath(options: DeathOptions): Promise<void> {
  const fleet = await startSupervisedFleet({ engines: simPlans(ENGINES, 'sim', ['--sim-itl-ms', '20']) });
  let kills: Kill[];
  let stops: Stop[];
  try {
    const log = new SchedulerLog(fleet.schedulerLog);
    const load = startLoad(fleet, 2, TOKENS);
    kills = await killMany(fleet, log, options.kills);
    stops = await stopMany(fleet, log, options.stops);
    await load.stop();
  } finally {
    await fleet.stop();
  }
  const report = summarise(kills, stops, await overload(options));
  console.log(print(report));
  if (options.json === true) console.log(JSON.stringify(report));
  if (report.falsePositives > 0) process.exitCode = 1;
}
