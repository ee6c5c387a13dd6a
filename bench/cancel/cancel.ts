/**
 * `npm run bench -- cancel`: how long an engine works on for a client that has gone away. In each phase and at each door
 * a client leaves, and the engine is asked until it has nothing to do and makes no more tokens; for a request that waits
 * in the scheduler's queue, the scheduler is asked until it is out, and the engine must never have heard of it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BENCH_MODEL, type BenchFleet, startBenchFleet } from '../bench_fleet.ts';
import { quantile, round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { type Admin, connectAdmin } from '../supervised/admin.ts';
import { type Begun, type ClientDoor, occupy, openDoors } from './doors.ts';
import { type EngineWatch, watchEngine } from './engine_watch.ts';

export interface CancelOptions {
  readonly json?: true;
  readonly rounds: number;
}

type Phase = 'queued' | 'prefill' | 'decode';

export interface CancelRow {
  readonly phase: Phase;
  readonly door: string;
  readonly n: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Requests that the engine heard of after their clients had left the queue, or tokens made after it had stopped. */
  readonly late: number;
}

interface Stage {
  readonly fleet: BenchFleet;
  readonly engine: EngineWatch;
  readonly admin: Admin;
}

/** What one client's leaving showed. */
interface Left {
  readonly tookMs: number;
  readonly late: number;
}

const STEP_MS = 10;
/** A prefill that no client of this program waits for. */
const LONG_PREFILL_MS = 30_000;
/** Clients leave at any point of a step. */
const SPREAD_MS = 25;
const LIMIT_MS = 10_000;

const FLEETS: Readonly<
  Record<Phase, { readonly flags: readonly string[]; readonly limits?: Readonly<Record<string, number>> }>
> = {
  queued: { flags: ['--sim-itl-ms', String(STEP_MS)], limits: { maxConcurrentRequests: 1 } },
  prefill: { flags: ['--sim-itl-ms', String(STEP_MS), '--sim-ttft-ms', String(LONG_PREFILL_MS)] },
  decode: { flags: ['--sim-itl-ms', String(STEP_MS)] },
};

/** Until the engine has nothing to do; and whether it made a token after it had said so. */
async function untilIdle({ engine }: Stage, sinceMs: number): Promise<Left> {
  const stopped = await engine.until(({ requests }) => requests === 0, 'the engine to stop');
  const tookMs = performance.now() - sinceMs;
  await sleep(2 * STEP_MS);
  const { generatedTokens } = await engine.read();
  return { tookMs, late: generatedTokens > stopped.generatedTokens ? 1 : 0 };
}

async function queuedNow({ admin }: Stage): Promise<number> {
  const models = await admin.models();
  return models.find((model) => model.id === BENCH_MODEL)?.queuedRequests ?? 0;
}

async function untilQueued(stage: Stage, count: number): Promise<void> {
  const endMs = performance.now() + LIMIT_MS;
  while ((await queuedNow(stage)) !== count) {
    if (performance.now() > endMs) throw new Error(`waited ${LIMIT_MS} ms for ${count} queued requests`);
    await sleep(1);
  }
}

const LEAVE: Readonly<Record<Phase, (stage: Stage, door: ClientDoor, begun: Begun) => Promise<Left>>> = {
  async queued(stage, _door, begun) {
    await untilQueued(stage, 1);
    const before = await stage.engine.read();
    const sinceMs = performance.now();
    begun.leave();
    await untilQueued(stage, 0);
    const tookMs = performance.now() - sinceMs;
    const after = await stage.engine.read();
    return { tookMs, late: after.promptTokens > before.promptTokens || after.requests > before.requests ? 1 : 0 };
  },
  async prefill(stage, _door, begun) {
    await stage.engine.until(({ requests }) => requests === 1, 'the prefill to begin');
    await sleep(Math.random() * SPREAD_MS);
    const sinceMs = performance.now();
    begun.leave();
    return untilIdle(stage, sinceMs);
  },
  async decode(stage, door, begun) {
    if (door.streams) await begun.firstToken;
    else {
      const { generatedTokens } = await stage.engine.read();
      await stage.engine.until((work) => work.generatedTokens > generatedTokens, 'tokens');
    }
    await sleep(Math.random() * SPREAD_MS);
    const sinceMs = performance.now();
    begun.leave();
    return untilIdle(stage, sinceMs);
  },
};

async function measureDoor(stage: Stage, phase: Phase, door: ClientDoor, rounds: number): Promise<CancelRow> {
  // Its stream is far longer than the rounds of one door.
  const occupant = phase === 'queued' ? await occupy(stage.fleet) : undefined;
  const all: Left[] = [];
  for (let n = 0; n < rounds; n += 1) all.push(await LEAVE[phase](stage, door, await door.begin()));
  occupant?.leave();
  await stage.engine.until(({ requests }) => requests === 0, 'the engine to be idle');
  const times = all.map((each) => each.tookMs);
  return {
    phase,
    door: door.name,
    n: all.length,
    p50Ms: round(quantile(times, 0.5)),
    p99Ms: round(quantile(times, 0.99)),
    late: all.reduce((sum, each) => sum + each.late, 0),
  };
}

async function measurePhase(phase: Phase, rounds: number): Promise<CancelRow[]> {
  const { flags, limits } = FLEETS[phase];
  const fleet = await startBenchFleet({ engines: 1, simFlags: flags, ...(limits === undefined ? {} : { limits }) });
  const stage: Stage = {
    fleet,
    engine: watchEngine(fleet.engineSockets[0] as string),
    admin: connectAdmin(fleet.grpcAddress, fleet.key),
  };
  const doors = openDoors(fleet);
  try {
    const rows: CancelRow[] = [];
    for (const door of doors) {
      process.stderr.write(`${phase} at ${door.name}\n`);
      rows.push(await measureDoor(stage, phase, door, rounds));
    }
    return rows;
  } finally {
    for (const door of doors) door.close();
    stage.engine.close();
    stage.admin.close();
    await fleet.stop();
  }
}

export async function runCancel({ json, rounds }: CancelOptions): Promise<void> {
  const rows: CancelRow[] = [];
  for (const phase of ['queued', 'prefill', 'decode'] as const) rows.push(...(await measurePhase(phase, rounds)));
  const lines = rows.map(({ phase, door, n, p50Ms, p99Ms, late }) => [phase, door, n, p50Ms, p99Ms, late]);
  const table = alignRows([['phase', 'door', 'n', 'p50 ms', 'p99 ms', 'late'], ...lines]);
  process.stdout.write(json === true ? `${JSON.stringify({ rows })}\n` : `${table}\n`);
}
