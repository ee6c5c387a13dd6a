/**
 * A fleet in virtual time: one queue of events moves the trace's arrivals, the engines' steps, the agents' readings and
 * the scripted faults; the dispatcher decides. One seed and one workload give the same run each time.
 */
import { API_OVERHEAD_MS_PER_REQUEST } from '../../../lib/engine_timing.ts';
import {
  admitRequest,
  fits,
  killEngine,
  readEngine,
  requestsOf,
  dropRequest,
  stallEngine,
  stepDue,
} from '../model/engine.ts';
import { createKvCache } from '../model/kv_cache.ts';
import { createSequences, type Sequences } from '../model/sequences.ts';
import type { EngineSpec } from '../model/spec.ts';
import { createEngineState, type EngineState, isIdle } from '../model/state.ts';
import type { Workload } from '../traces/workload.ts';
import type { CreateDispatcher, Dispatcher } from './dispatcher.ts';
import { createEventQueue, type EventQueue, type SimEvent } from './event_queue.ts';
import type { Fault } from './faults.ts';

export interface FleetOptions {
  readonly workload: Workload;
  readonly spec: EngineSpec;
  readonly engines: number;
  readonly seed: number;
  readonly createDispatcher: CreateDispatcher;
  readonly faults?: readonly Fault[];
  /** Whether the scheduler's queue is in the run; true when absent. */
  readonly queue?: boolean;
  /** Called now and then with the part that is done. */
  readonly onProgress?: (share: number) => void;
}

export const OUTCOME = Object.freeze({ open: 0, finished: 1, refused: 2 });

/** What a run leaves behind, a column entry per request. */
export interface FleetRun {
  readonly workload: Workload;
  readonly outcome: Uint8Array;
  readonly firstTokenMs: Float64Array;
  readonly endMs: Float64Array;
  /** How often a request ended; 1 for each when the fleet is right. */
  readonly ends: Uint8Array;
  readonly moved: number;
  readonly engines: readonly EngineTotals[];
  readonly lengthMs: number;
  readonly events: number;
}

export interface EngineTotals {
  readonly requests: number;
  readonly busyMs: number;
  readonly hitTokens: number;
  readonly promptTokens: number;
  readonly preemptions: number;
}

/** How often agents tell their readings. */
const READING_MS = 1000;
/** From the death of a process to the scheduler's knowledge of it; the agent sees the exit and pushes it. */
const DEATH_NOTICE_MS = 50;
/** From the last token of a stopped engine until the watchdog has no more patience with it. */
const SILENCE_MS = 5000;
/** A run that takes more events than this for a request is not going to end. */
const MAX_EVENTS_PER_REQUEST = 10_000;

const KIND = Object.freeze({
  arrive: 0,
  ready: 1,
  step: 2,
  read: 3,
  fault: 4,
  notice: 5,
  silent: 6,
  resume: 7,
  wake: 8,
});

interface SimEngine {
  readonly state: EngineState;
  incarnation: number;
  alive: boolean;
  /** Ready requests that have not reached it yet are not in `state`. */
  readonly underway: Set<number>;
  /** The time for which its next step stands in the queue. */
  scheduledMs: number;
  requests: number;
}

interface Sim {
  readonly options: FleetOptions;
  readonly sequences: Sequences;
  readonly engines: SimEngine[];
  readonly queue: EventQueue;
  readonly engineOf: Int32Array;
  readonly attempt: Int32Array;
  readonly run: { -readonly [Key in keyof FleetRun]: FleetRun[Key] };
  dispatcher: Dispatcher;
  open: number;
  nowMs: number;
  nextArrival: number;
  /** Requests that were with a dead engine, until the scheduler is told. */
  readonly lost: Map<number, number[]>;
}

/** Puts the engine's next step into the queue, if it is not there for that time already. */
function schedule(sim: Sim, at: number): void {
  const engine = sim.engines[at] as SimEngine;
  const { endMs } = engine.state;
  if (isIdle(engine.state) || endMs === engine.scheduledMs) return;
  engine.scheduledMs = endMs;
  sim.queue.push(endMs, KIND.step, at, engine.incarnation);
}

function send(sim: Sim, request: number, to: number, nowMs: number, fetched = 0, fetchMs = 0): void {
  const engine = sim.engines[to] as SimEngine;
  sim.engineOf[request] = to;
  const attempt = (sim.attempt[request] as number) + 1;
  sim.attempt[request] = attempt;
  engine.requests += 1;
  engine.underway.add(request);
  sim.sequences.fetched[request] = fetched;
  sim.queue.push(nowMs + API_OVERHEAD_MS_PER_REQUEST + fetchMs, KIND.ready, request, attempt);
}

function end(sim: Sim, request: number, outcome: number, nowMs: number): void {
  const { run } = sim;
  run.outcome[request] = outcome;
  run.endMs[request] = nowMs;
  run.ends[request] = (run.ends[request] as number) + 1;
  sim.open -= 1;
}

function arrive(sim: Sim): void {
  const request = sim.nextArrival++;
  const { arrivalMs, requests } = sim.options.workload;
  if (sim.nextArrival < requests) sim.queue.push(arrivalMs[sim.nextArrival] as number, KIND.arrive, 0, 0);
  if (fits((sim.engines[0] as SimEngine).state, request)) sim.dispatcher.arrive(request, sim.nowMs);
  else end(sim, request, OUTCOME.refused, sim.nowMs);
}

function ready(sim: Sim, request: number, attempt: number): void {
  if (sim.attempt[request] !== attempt) return;
  const at = sim.engineOf[request] as number;
  const engine = sim.engines[at] as SimEngine;
  // A request on its way to a dead engine is lost with it, and told with it.
  if (!engine.alive || !engine.underway.delete(request)) return;
  admitRequest(engine.state, request, sim.nowMs);
  schedule(sim, at);
}

function stepEnds(sim: Sim, at: number, incarnation: number): void {
  const engine = sim.engines[at] as SimEngine;
  if (engine.incarnation !== incarnation || engine.state.endMs !== sim.nowMs) return;
  stepDue(engine.state, sim.nowMs);
  engine.scheduledMs = Number.NaN;
  schedule(sim, at);
}

function readAll(sim: Sim): void {
  for (const [at, engine] of sim.engines.entries())
    if (engine.alive) sim.dispatcher.read(at, readEngine(engine.state), sim.nowMs);
  if (sim.open > 0) sim.queue.push(sim.nowMs + READING_MS, KIND.read, 0, 0);
}

function takeAll(sim: Sim, engine: SimEngine): number[] {
  const taken = [...requestsOf(engine.state), ...engine.underway];
  for (const request of engine.underway) sim.attempt[request] = (sim.attempt[request] as number) + 1;
  engine.underway.clear();
  return taken;
}

function strike(sim: Sim, fault: Fault): void {
  const engine = sim.engines[fault.engine] as SimEngine;
  if (fault.kind === 'restart') {
    if (engine.alive) return;
    engine.alive = true;
    engine.incarnation += 1;
    sim.dispatcher.engineUp(fault.engine, engine.incarnation, sim.nowMs);
    return;
  }
  if (!engine.alive) return;
  if (fault.kind === 'hang') {
    stallEngine(engine.state, sim.nowMs, fault.forMs);
    schedule(sim, fault.engine);
    if (fault.forMs > SILENCE_MS) sim.queue.push(sim.nowMs + SILENCE_MS, KIND.silent, fault.engine, engine.incarnation);
    sim.queue.push(sim.nowMs + fault.forMs, KIND.resume, fault.engine, engine.incarnation);
    return;
  }
  engine.alive = false;
  const lost = takeAll(sim, engine);
  killEngine(engine.state, sim.nowMs);
  engine.scheduledMs = Number.NaN;
  // It may have died, come back and died again before anybody heard of the first time.
  sim.lost.set(fault.engine, [...(sim.lost.get(fault.engine) ?? []), ...lost]);
  sim.queue.push(sim.nowMs + DEATH_NOTICE_MS, KIND.notice, fault.engine, engine.incarnation);
}

function tellDown(sim: Sim, at: number, lost: readonly number[]): void {
  sim.run.moved += lost.length;
  sim.dispatcher.engineDown(at, lost, sim.nowMs);
}

/** The scheduler hears of a death, with what was sent there in the meantime. */
function notice(sim: Sim, at: number, incarnation: number): void {
  const engine = sim.engines[at] as SimEngine;
  const lost = sim.lost.get(at) ?? [];
  sim.lost.delete(at);
  if (engine.incarnation === incarnation) lost.push(...takeAll(sim, engine));
  tellDown(sim, at, lost);
}

/** The watchdog gives up on a stopped engine: what is with it is aborted and goes on elsewhere. */
function silent(sim: Sim, at: number, incarnation: number): void {
  const engine = sim.engines[at] as SimEngine;
  if (!engine.alive || engine.incarnation !== incarnation) return;
  const lost = takeAll(sim, engine);
  for (const request of lost) dropRequest(engine.state, request, sim.nowMs);
  tellDown(sim, at, lost);
}

/** A stopped engine goes on, if it has not died meanwhile. */
function resume(sim: Sim, at: number, incarnation: number): void {
  const engine = sim.engines[at] as SimEngine;
  if (engine.alive && engine.incarnation === incarnation) sim.dispatcher.engineUp(at, incarnation, sim.nowMs);
}

function handle(sim: Sim, event: SimEvent): void {
  const { a, b } = event;
  const { options, dispatcher } = sim;
  switch (event.kind) {
    case KIND.arrive:
      return arrive(sim);
    case KIND.ready:
      return ready(sim, a, b);
    case KIND.step:
      return stepEnds(sim, a, b);
    case KIND.read:
      return readAll(sim);
    case KIND.fault:
      return strike(sim, (options.faults as readonly Fault[])[a] as Fault);
    case KIND.notice:
      return notice(sim, a, b);
    case KIND.silent:
      return silent(sim, a, b);
    case KIND.resume:
      return resume(sim, a, b);
    default:
      return dispatcher.wake(sim.nowMs);
  }
}

function createSim(options: FleetOptions): Sim {
  const { workload, spec } = options;
  const sequences = createSequences(workload);
  const times = (): Float64Array => new Float64Array(workload.requests).fill(Number.NaN);
  const run: Sim['run'] = {
    workload,
    outcome: new Uint8Array(workload.requests),
    firstTokenMs: times(),
    endMs: times(),
    ends: new Uint8Array(workload.requests),
    moved: 0,
    engines: [],
    lengthMs: 0,
    events: 0,
  };
  const sim: Sim = {
    options,
    sequences,
    engines: [],
    queue: createEventQueue(),
    engineOf: new Int32Array(workload.requests).fill(-1),
    attempt: new Int32Array(workload.requests),
    run,
    dispatcher: undefined as unknown as Dispatcher,
    open: workload.requests,
    nowMs: 0,
    nextArrival: 0,
    lost: new Map(),
  };
  const blocksPerChunk = workload.chunkTokens / spec.blockTokens;
  for (let at = 0; at < options.engines; at++) {
    const kv = createKvCache({
      totalBlocks: Math.floor(spec.kvTokens / spec.blockTokens),
      blocksPerChunk,
      distinctChunks: workload.distinctChunks,
      onStored: (chunk) => sim.dispatcher.stored?.(at, chunk, sim.nowMs),
      onRemoved: (chunk) => sim.dispatcher.removed?.(at, chunk, sim.nowMs),
    });
    const state = createEngineState(spec, kv, sequences, {
      firstToken(request, nowMs, cachedTokens) {
        if (Number.isNaN(run.firstTokenMs[request])) run.firstTokenMs[request] = nowMs;
        sim.dispatcher.firstToken(request, nowMs, cachedTokens);
      },
      finished(request, nowMs) {
        end(sim, request, OUTCOME.finished, nowMs);
        sim.dispatcher.finished(request, nowMs);
      },
    });
    const engine = { state, incarnation: 1, alive: true, underway: new Set<number>(), scheduledMs: Number.NaN };
    sim.engines.push({ ...engine, requests: 0 });
  }
  return sim;
}

function viewOf(sim: Sim): Parameters<CreateDispatcher>[0] {
  const { workload, spec, engines, seed, queue = true } = sim.options;
  const { chunkStart, chunkIds } = workload;
  return {
    workload,
    spec,
    engines,
    seed,
    queue,
    actions: {
      send: (request, engine, nowMs, fetched, fetchMs) => send(sim, request, engine, nowMs, fetched, fetchMs),
      refuse: (request, nowMs) => end(sim, request, OUTCOME.refused, nowMs),
      wakeAt: (atMs) => sim.queue.push(Math.max(atMs, sim.nowMs), KIND.wake, 0, 0),
    },
    truth: {
      overlap: (engine, request) =>
        (sim.engines[engine] as SimEngine).state.kv.overlap(
          chunkIds,
          chunkStart[request] as number,
          chunkStart[request + 1] as number,
        ),
    },
  };
}

/**
 * Runs the workload to its end.
 * @throws Error when requests are left that nothing will move any more, or the run does not come to an end
 */
export function runFleet(options: FleetOptions): FleetRun {
  const sim = createSim(options);
  const { workload } = options;
  sim.dispatcher = options.createDispatcher(viewOf(sim));
  for (const [at, engine] of sim.engines.entries()) sim.dispatcher.engineUp(at, engine.incarnation, 0);
  sim.queue.push(workload.arrivalMs[0] as number, KIND.arrive, 0, 0);
  sim.queue.push(0, KIND.read, 0, 0);
  for (const [at, fault] of (options.faults ?? []).entries()) sim.queue.push(fault.atMs, KIND.fault, at, 0);
  const event: SimEvent = { atMs: 0, kind: 0, a: 0, b: 0 };
  const most = workload.requests * MAX_EVENTS_PER_REQUEST;
  while (sim.open > 0 && sim.queue.pop(event)) {
    sim.nowMs = event.atMs;
    handle(sim, event);
    sim.run.events += 1;
    if (sim.run.events > most) throw new Error(`after ${most} events ${sim.open} requests are still open`);
    if (sim.run.events % 4096 === 0) options.onProgress?.(1 - sim.open / workload.requests);
  }
  if (sim.open > 0) throw new Error(`${sim.open} requests were forgotten`);
  sim.run.lengthMs = sim.nowMs;
  sim.run.engines = sim.engines.map(({ requests, state }) => ({
    requests,
    busyMs: state.busyMs,
    hitTokens: state.hitTokens,
    promptTokens: state.promptTokens,
    preemptions: state.preemptions,
  }));
  return sim.run;
}
