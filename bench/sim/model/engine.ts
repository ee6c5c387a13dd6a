/**
 * The doors of a simulated engine: requests come and are taken out, steps end, and faults strike. Whoever drives it looks
 * at `endMs` after each call: that is when the engine wants to be called next.
 */
import { leave } from './batch.ts';
import { STAGE } from './sequences.ts';
import { type EngineState, isIdle } from './state.ts';
import { beginStep, completeStep, settleStride } from './steps.ts';

/** What an agent reads of its engine. */
export interface EngineReading {
  readonly running: number;
  readonly waiting: number;
  readonly kvUsageRatio: number;
}

/** Whether the engine could ever hold the request; vLLM refuses what it cannot. */
export function fits(engine: EngineState, request: number): boolean {
  const { inputTokens, outputTokens } = engine.sequences.workload;
  const tokens = (inputTokens[request] as number) + (outputTokens[request] as number);
  return Math.ceil(tokens / engine.spec.blockTokens) <= engine.kv.totalBlocks;
}

/** The request has reached the engine's queue. */
export function admitRequest(engine: EngineState, request: number, nowMs: number): void {
  const { sequences } = engine;
  const { inputTokens } = sequences.workload;
  sequences.stage[request] = STAGE.waiting;
  sequences.told[request] = 0;
  // What was told before it came here is read like a prompt.
  sequences.prompt[request] = (inputTokens[request] as number) + (sequences.emitted[request] as number);
  engine.waiting.push(request);
  if (isIdle(engine)) beginStep(engine, nowMs);
  else settleStride(engine, nowMs);
}

/** The end of the running step has come; the next begins at once, where there is work. */
export function stepDue(engine: EngineState, nowMs: number): void {
  completeStep(engine, nowMs);
  beginStep(engine, nowMs);
}

/** Takes a request out, whatever it is doing: its client has gone, or it goes on elsewhere. */
export function dropRequest(engine: EngineState, request: number, nowMs: number): void {
  const { sequences } = engine;
  const stage = sequences.stage[request];
  if (stage === STAGE.outside) return;
  settleStride(engine, nowMs);
  if (stage === STAGE.waiting) {
    const at = engine.waiting.indexOf(request, engine.waitingFrom);
    if (at >= 0) engine.waiting.splice(at, 1);
    else engine.preempted = engine.preempted.filter((other) => other !== request);
    sequences.stage[request] = STAGE.outside;
    return;
  }
  leave(engine, request, STAGE.outside);
  engine.running = engine.running.filter((other) => other !== request);
  const chunk = engine.chunks.findIndex((other, at) => at % 2 === 0 && other === request);
  if (chunk >= 0) engine.chunks.splice(chunk, 2);
}

/** All requests that are with the engine, in the order in which it would serve them. */
export function requestsOf(engine: EngineState): number[] {
  return [...engine.running, ...engine.preempted.toReversed(), ...engine.waiting.slice(engine.waitingFrom)];
}

/** The process is gone, and its cache with it. @returns the requests that were with it, their told tokens noted */
export function killEngine(engine: EngineState, nowMs: number): number[] {
  settleStride(engine, nowMs);
  const lost = requestsOf(engine);
  for (const request of lost) dropRequest(engine, request, nowMs);
  engine.kv.clear();
  engine.stalledUntilMs = 0;
  engine.startMs = Number.NaN;
  engine.endMs = Number.NaN;
  return lost;
}

/** The process stands still for `forMs`: what runs takes so much longer. */
export function stallEngine(engine: EngineState, nowMs: number, forMs: number): void {
  settleStride(engine, nowMs);
  engine.stalledUntilMs = nowMs + forMs;
  engine.startMs += forMs;
  engine.endMs += forMs;
}

export function readEngine(engine: EngineState): EngineReading {
  const { kv } = engine;
  return {
    running: engine.running.length,
    waiting: engine.waiting.length - engine.waitingFrom + engine.preempted.length,
    kvUsageRatio: 1 - kv.available() / kv.totalBlocks,
  };
}
