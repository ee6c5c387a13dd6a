/** Small fleets for tests of the simulator. */
import type { CreateDispatcher } from '../../../bench/sim/fleet/dispatcher.ts';
import { type FleetRun, runFleet } from '../../../bench/sim/fleet/fleet.ts';
import { ENGINE_SPECS, type EngineSpec } from '../../../bench/sim/model/spec.ts';
import { type TraceRow, type Workload, workloadOf } from '../../../bench/sim/traces/workload.ts';
import { seededRandom } from '../../../lib/rng.ts';

const nothing = (): void => undefined;
/** A dispatcher that does nothing, to be filled. */
export const SILENT = {
  arrive: nothing,
  firstToken: nothing,
  finished: nothing,
  read: nothing,
  engineUp: nothing,
  engineDown: nothing,
  wake: nothing,
};

/** Everything goes to the first engine. */
export const toFirst: CreateDispatcher = ({ actions }) => ({
  ...SILENT,
  arrive: (request, nowMs) => actions.send(request, 0, nowMs),
});

export const SMALL_CHUNK = 16;

/** Random requests, with prefixes of a few families, that arrive over `lengthMs`. */
export function randomRows(seed: number, count: number, lengthMs: number, maxTokens: number): TraceRow[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => {
    const inputTokens = 1 + Math.floor(random.next() * maxTokens);
    const family = Math.floor(random.next() * 5);
    const shared = Math.floor((random.next() * inputTokens) / SMALL_CHUNK);
    const chunks = Array.from({ length: Math.floor(inputTokens / SMALL_CHUNK) }, (_, at) =>
      at < shared ? family * 100_000 + at : 1_000_000 + Math.floor(random.next() * 1e9),
    );
    return {
      arrivalMs: random.next() * lengthMs,
      inputTokens,
      outputTokens: 1 + Math.floor(random.next() * 200),
      chunks,
    };
  });
}

export const randomWorkload = (seed: number, count: number, lengthMs: number, maxTokens: number): Workload =>
  workloadOf('random', SMALL_CHUNK, randomRows(seed, count, lengthMs, maxTokens));

export const SPEC: EngineSpec = ENGINE_SPECS['70b-fp8-h100-tp4'];

export interface ClosedLoop {
  readonly ttftMs: number;
  readonly tpotMs: number;
}

/** `clients` clients on one engine, each with its next request when the last is answered; means without the start. */
export function closedLoop(clients: number, inputTokens: number, outputTokens: number, gapMs: number): ClosedLoop {
  const count = clients * 6;
  const rows = Array.from({ length: count }, () => ({ arrivalMs: 0, inputTokens, outputTokens }));
  const sentMs = new Float64Array(count);
  let next = 0;
  const clientsOf: CreateDispatcher = ({ actions }) => {
    const send = (nowMs: number): void => {
      if (next >= count) return;
      sentMs[next] = nowMs;
      actions.send(next++, 0, nowMs);
    };
    return {
      ...SILENT,
      arrive: (request) => request < clients && actions.wakeAt(request * gapMs),
      finished: (_, nowMs) => send(nowMs),
      wake: send,
    };
  };
  const workload = workloadOf('closed', SMALL_CHUNK, rows);
  const run: FleetRun = runFleet({ workload, spec: SPEC, engines: 1, seed: 1, createDispatcher: clientsOf });
  let ttftMs = 0;
  let tpotMs = 0;
  const from = clients * 2;
  const to = count - clients;
  for (let r = from; r < to; r++) {
    ttftMs += (run.firstTokenMs[r] as number) - (sentMs[r] as number);
    tpotMs += ((run.endMs[r] as number) - (run.firstTokenMs[r] as number)) / (outputTokens - 1);
  }
  return { ttftMs: ttftMs / (to - from), tpotMs: tpotMs / (to - from) };
}
