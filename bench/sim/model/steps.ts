/**
 * The steps of a simulated engine, as vLLM schedules them (agent/engines/sim/batch.ts has the same in terms of tokens):
 * what decodes goes first, then the prompt that was begun, then waiting ones while the token budget, the sequence limit
 * and the KV blocks allow. Where nothing is left to compute of prompts, many decode steps are taken in one stride, up to
 * the first event that could change anything; their lengths are an arithmetic series, so that nothing is lost by it.
 */
import { API_OVERHEAD_MS_PER_TOKEN } from '../../../lib/engine_timing.ts';
import { decodeBlocks, enter, leave, preemptLast, publishComputed, startDecoding, stepsWithinBlocks } from './batch.ts';
import { STAGE } from './sequences.ts';
import { type EngineState, isIdle } from './state.ts';

/** Milliseconds of the next `steps` decode steps; the context grows by a token a sequence and step. */
function strideMs(engine: EngineState, steps: number): number {
  const { row } = engine.spec;
  const { decoding, contextTokens } = engine;
  const growth = (decoding * steps * (steps - 1)) / 2;
  return (
    steps * (row.decodeBaseMs + row.decodeMsPerSequence * decoding + API_OVERHEAD_MS_PER_TOKEN) +
    row.decodeMsPerContextToken * (steps * contextTokens + growth)
  );
}

/** Whole steps of the running stride that are over after `ms`: the inverse of strideMs. */
function stepsWithin(engine: EngineState, ms: number): number {
  const quadratic = (engine.spec.row.decodeMsPerContextToken * engine.decoding) / 2;
  const linear = strideMs(engine, 1) - quadratic;
  let steps = Math.floor((2 * ms) / (linear + Math.sqrt(linear * linear + 4 * quadratic * ms)));
  while (steps > 0 && strideMs(engine, steps) > ms) steps--;
  while (strideMs(engine, steps + 1) <= ms) steps++;
  return steps;
}

/** Milliseconds of one step that computes `chunks` of prompts beside the decoding; the same as lib's stepMs. */
function mixedMs(engine: EngineState): number {
  const { row } = engine.spec;
  const { sequences, chunks, decoding, contextTokens } = engine;
  let ms = API_OVERHEAD_MS_PER_TOKEN;
  for (let at = 0; at < chunks.length; at += 2) {
    const request = chunks[at] as number;
    const tokens = chunks[at + 1] as number;
    const from = (sequences.computed[request] as number) - (sequences.cached[request] as number);
    const to = from + tokens;
    ms += row.prefillMsPerToken * tokens + row.prefillMsPerTokenSquared * (to * to - from * from);
  }
  if (decoding === 0) return ms + row.prefillBaseMs;
  ms += row.decodeMsPerSequence * decoding + row.decodeMsPerContextToken * contextTokens;
  return ms + Math.max(row.prefillBaseMs, row.decodeBaseMs);
}

/** Goes on with the prompt that was begun, if one was; it is itself the latest, so it gives way when blocks run out. */
function continuePrompt(engine: EngineState, budget: number, stepBlocks: number): number {
  const { sequences, kv, spec } = engine;
  const request = engine.running.at(-1);
  if (request === undefined || sequences.stage[request] !== STAGE.prefilling) return budget;
  const roomed = sequences.roomed[request] as number;
  const tokens = Math.min(budget, (sequences.prompt[request] as number) - roomed);
  const blocks = Math.ceil((roomed + tokens) / spec.blockTokens) - Math.ceil(roomed / spec.blockTokens);
  if (blocks > kv.available() - stepBlocks) {
    preemptLast(engine);
    return budget;
  }
  kv.take(blocks);
  sequences.roomed[request] = roomed + tokens;
  engine.chunks.push(request, tokens);
  return budget - tokens;
}

function nextWaiting(engine: EngineState): number | undefined {
  return engine.preempted.at(-1) ?? engine.waiting[engine.waitingFrom];
}

function takeWaiting(engine: EngineState): void {
  if (engine.preempted.pop() !== undefined) return;
  engine.waitingFrom += 1;
  if (engine.waitingFrom < 256) return;
  engine.waiting = engine.waiting.slice(engine.waitingFrom);
  engine.waitingFrom = 0;
}

function admitWaiting(engine: EngineState, tokenBudget: number, stepBlocks: number): void {
  let budget = tokenBudget;
  while (budget > 0 && engine.running.length < engine.spec.maxSequences) {
    const request = nextWaiting(engine);
    if (request === undefined) return;
    const tokens = enter(engine, request, budget, engine.kv.available() - stepBlocks);
    if (tokens === 0) return;
    takeWaiting(engine);
    engine.chunks.push(request, tokens);
    budget -= tokens;
  }
}

/** Steps until the first of the decoding sequences has told all its tokens. */
function stepsToFirstEnd(engine: EngineState): number {
  const { endTick } = engine.sequences;
  let first = Number.POSITIVE_INFINITY;
  for (const request of engine.running) first = Math.min(first, endTick[request] as number);
  return first - engine.tick;
}

/** Begins the next step or stride at `nowMs`; without work the engine is idle. */
export function beginStep(engine: EngineState, nowMs: number): void {
  engine.chunks = [];
  engine.prepaid = false;
  const preemptions = engine.preemptions;
  while (decodeBlocks(engine, 1) > engine.kv.available()) preemptLast(engine);
  const stepBlocks = decodeBlocks(engine, 1);
  const budget = continuePrompt(engine, engine.spec.maxBatchedTokens - engine.decoding, stepBlocks);
  if (engine.preemptions === preemptions) admitWaiting(engine, budget, stepBlocks);
  if (engine.chunks.length === 0 && engine.decoding === 0) {
    engine.startMs = Number.NaN;
    engine.endMs = Number.NaN;
    return;
  }
  engine.startMs = Math.max(nowMs, engine.stalledUntilMs);
  if (engine.chunks.length === 0) {
    engine.steps = stepsWithinBlocks(engine, stepsToFirstEnd(engine));
    engine.endMs = engine.startMs + strideMs(engine, engine.steps);
    return;
  }
  engine.kv.take(stepBlocks);
  engine.prepaid = true;
  engine.steps = 1;
  engine.endMs = engine.startMs + mixedMs(engine);
}

function takeStrideSteps(engine: EngineState, steps: number, ms: number): void {
  engine.listener.decoded?.(steps, ms, engine.decoding, engine.contextTokens, false);
  engine.busyMs += ms;
  engine.kv.take(decodeBlocks(engine, steps));
  engine.tick += steps;
  engine.contextTokens += steps * engine.decoding;
}

/** Brings a stride up to date and cuts it at the end of the step that runs at `nowMs`, for something is about to change. */
export function settleStride(engine: EngineState, nowMs: number): void {
  if (isIdle(engine) || engine.steps <= 1 || nowMs <= engine.startMs) return;
  const steps = Math.min(engine.steps - 1, stepsWithin(engine, nowMs - engine.startMs));
  const ms = strideMs(engine, steps);
  if (steps > 0) takeStrideSteps(engine, steps, ms);
  engine.startMs += ms;
  engine.steps = 1;
  engine.endMs = engine.startMs + strideMs(engine, 1);
}

/** The last token of the finished has been told; the rest stays in order. */
function endFinished(engine: EngineState, nowMs: number): void {
  const { sequences, listener } = engine;
  let kept = 0;
  for (const request of engine.running) {
    const ends = sequences.stage[request] === STAGE.decoding && sequences.endTick[request] === engine.tick;
    if (!ends) {
      engine.running[kept++] = request;
      continue;
    }
    leave(engine, request, STAGE.outside);
    listener.finished(request, nowMs);
  }
  engine.running.length = kept;
}

/** A prompt's chunk is computed; with the last one comes the next token. */
function endChunk(engine: EngineState, request: number, tokens: number, nowMs: number): void {
  const { sequences, listener } = engine;
  sequences.computed[request] = (sequences.computed[request] as number) + tokens;
  publishComputed(engine, request);
  if (sequences.computed[request] !== sequences.prompt[request]) return;
  sequences.emitted[request] = (sequences.emitted[request] as number) + 1;
  startDecoding(engine, request);
  if (sequences.told[request] === 1) return;
  sequences.told[request] = 1;
  listener.firstToken(request, nowMs, sequences.cached[request] as number);
}

/** Books the step or stride that ends at `nowMs`. */
export function completeStep(engine: EngineState, nowMs: number): void {
  const ms = nowMs - engine.startMs;
  const { chunks } = engine;
  if (!engine.prepaid) takeStrideSteps(engine, engine.steps, ms);
  else {
    engine.busyMs += ms;
    if (engine.decoding > 0) engine.listener.decoded?.(1, ms, engine.decoding, engine.contextTokens, true);
    engine.tick += 1;
    engine.contextTokens += engine.decoding;
  }
  engine.prepaid = false;
  for (let at = 0; at < chunks.length; at += 2) endChunk(engine, chunks[at] as number, chunks[at + 1] as number, nowMs);
  endFinished(engine, nowMs);
}
