/**
 * What the loads are fractions of. A fleet's capacity for a trace is measured, not guessed: every engine always has a
 * next prompt waiting and takes the trace's next one, in the trace's order and blind to prefixes. The rate in the middle
 * of such a run, without the empty start and the long last answers, is the capacity.
 */
import { faster, type Workload } from '../traces/workload.ts';
import type { EngineSpec } from '../model/spec.ts';
import type { CreateDispatcher } from './dispatcher.ts';
import { runFleet } from './fleet.ts';

/** Prompts that each engine has before it at any time; one would leave it idle for the way to it. */
const AHEAD = 2;
/** The part of the answers that is left out at either end. */
const EDGE = 0.1;

const saturate: CreateDispatcher = ({ engines, actions }) => {
  const ahead = new Int32Array(engines);
  const backlog: number[] = [];
  const engineOf = new Map<number, number>();
  let from = 0;
  const feed = (engine: number, nowMs: number): void => {
    while ((ahead[engine] as number) < AHEAD && from < backlog.length) {
      const request = backlog[from++] as number;
      ahead[engine] = (ahead[engine] as number) + 1;
      engineOf.set(request, engine);
      actions.send(request, engine, nowMs);
    }
  };
  return {
    arrive(request, nowMs) {
      backlog.push(request);
      for (let engine = 0; engine < engines; engine++) feed(engine, nowMs);
    },
    firstToken(request, nowMs) {
      const engine = engineOf.get(request) as number;
      ahead[engine] = (ahead[engine] as number) - 1;
      feed(engine, nowMs);
    },
    finished: (request) => void engineOf.delete(request),
    read: () => undefined,
    engineUp: () => undefined,
    engineDown: () => undefined,
    wake: () => undefined,
  };
};

/** Requests per second that `engines` such engines work through. */
export function capacityPerS(workload: Workload, spec: EngineSpec, engines: number): number {
  const backlog = faster(workload, Number.POSITIVE_INFINITY);
  const run = runFleet({ workload: backlog, spec, engines, seed: 1, createDispatcher: saturate });
  const ends = run.endMs.slice().sort();
  const at = (share: number): number => Math.floor(share * (ends.length - 1));
  const [first, last] = [at(EDGE), at(1 - EDGE)];
  return (1000 * (last - first)) / ((ends[last] as number) - (ends[first] as number));
}

/** The workload at a fraction of that capacity, by its mean rate. */
export function atLoad(workload: Workload, capacity: number, load: number): Workload {
  const ownPerS = (1000 * workload.requests) / (workload.arrivalMs.at(-1) as number);
  return faster(workload, (load * capacity) / ownPerS);
}
