/**
 * Who is in an engine's batch, and the KV blocks that come and go with it.
 */
import { STAGE } from './sequences.ts';
import type { EngineState } from './state.ts';

const blocksOf = (engine: EngineState, tokens: number): number => Math.ceil(tokens / engine.spec.blockTokens);

function phaseOf(engine: EngineState, storedTokens: number): number {
  const { blockTokens } = engine.spec;
  return (((storedTokens - engine.tick) % blockTokens) + blockTokens) % blockTokens;
}

/** Blocks that the next `steps` decode steps take. */
export function decodeBlocks(engine: EngineState, steps: number): number {
  const { phase, tick, decoding } = engine;
  const cycle = phase.length;
  let blocks = Math.floor(steps / cycle) * decoding;
  for (let step = 0; step < steps % cycle; step++) blocks += phase[(cycle - ((tick + step) % cycle)) % cycle] as number;
  return blocks;
}

/** The most decode steps that the available blocks allow, at most `steps`. */
export function stepsWithinBlocks(engine: EngineState, steps: number): number {
  const available = engine.kv.available();
  const cycle = engine.phase.length;
  let most = Math.min(steps, Math.floor(available / engine.decoding) * cycle);
  while (most < steps && decodeBlocks(engine, most + 1) <= available) most++;
  return most;
}

/** Takes a request from the queue into the batch, if its first chunk finds room; returns the tokens of that chunk. */
export function enter(engine: EngineState, request: number, budget: number, spareBlocks: number): number {
  const { sequences, kv, spec } = engine;
  const { chunkStart, chunkIds, chunkTokens } = sequences.workload;
  const first = chunkStart[request] as number;
  const prompt = sequences.prompt[request] as number;
  const hits = kv.overlap(chunkIds, first, chunkStart[request + 1] as number);
  const given = Math.max(hits, sequences.fetched[request] as number);
  // The last prompt token is always computed, since its output is the first token.
  const lastFull = Math.floor((prompt - 1) / spec.blockTokens) * spec.blockTokens;
  const cached = Math.min(given * chunkTokens, lastFull);
  const tokens = Math.min(budget, prompt - cached);
  const own = Math.max(0, blocksOf(engine, cached + tokens) - (hits * chunkTokens) / spec.blockTokens);
  if (own + kv.unusedBlocks(chunkIds, first, hits) > spareBlocks) return 0;
  for (let at = 0; at < hits; at++) kv.hold(chunkIds[first + at] as number);
  kv.take(own);
  sequences.held[request] = hits;
  sequences.computed[request] = cached;
  sequences.cached[request] = cached;
  sequences.roomed[request] = cached + tokens;
  sequences.stage[request] = STAGE.prefilling;
  publishComputed(engine, request);
  engine.running.push(request);
  if (sequences.counted[request] === 0) {
    sequences.counted[request] = 1;
    engine.promptTokens += prompt;
    engine.hitTokens += cached;
  }
  return tokens;
}

/** Makes the prompt's full chunks that are computed by now findable for others. */
export function publishComputed(engine: EngineState, request: number): void {
  const { sequences, kv } = engine;
  const { chunkStart, chunkIds, chunkTokens } = sequences.workload;
  const first = chunkStart[request] as number;
  const chunks = (chunkStart[request + 1] as number) - first;
  const full = Math.min(chunks, Math.floor((sequences.computed[request] as number) / chunkTokens));
  for (let at = sequences.held[request] as number; at < full; at++) {
    kv.publish(chunkIds[first + at] as number);
    sequences.held[request] = at + 1;
  }
}

/** The prompt is computed and its output token told: from the next step on it decodes. */
export function startDecoding(engine: EngineState, request: number): void {
  const { sequences } = engine;
  const stored = sequences.prompt[request] as number;
  const told = sequences.emitted[request] as number;
  sequences.stage[request] = STAGE.decoding;
  sequences.startTick[request] = engine.tick;
  sequences.emittedBefore[request] = told;
  sequences.endTick[request] = engine.tick + (sequences.workload.outputTokens[request] as number) - told;
  engine.decoding += 1;
  engine.contextTokens += stored + 1;
  const key = phaseOf(engine, stored);
  engine.phase[key] = (engine.phase[key] as number) + 1;
}

/** Tokens whose room a decoding sequence has, after noting its progress; it no longer counts as decoding. */
function stopDecoding(engine: EngineState, request: number): number {
  const { sequences, spec } = engine;
  const ticks = engine.tick - (sequences.startTick[request] as number);
  const stored = (sequences.prompt[request] as number) + ticks;
  sequences.emitted[request] = (sequences.emittedBefore[request] as number) + ticks;
  engine.decoding -= 1;
  engine.contextTokens -= stored + 1;
  const key = phaseOf(engine, stored);
  engine.phase[key] = (engine.phase[key] as number) - 1;
  return engine.prepaid && stored % spec.blockTokens === 0 ? stored + 1 : stored;
}

/** Books a sequence out: its progress is noted and its blocks go back. It is left in `running` for the caller. */
export function leave(engine: EngineState, request: number, stage: number): void {
  const { sequences, kv, spec } = engine;
  const decodes = sequences.stage[request] === STAGE.decoding;
  const roomed = decodes ? stopDecoding(engine, request) : (sequences.roomed[request] as number);
  const { chunkStart, chunkIds, chunkTokens } = sequences.workload;
  const held = sequences.held[request] as number;
  const shared = (held * chunkTokens) / spec.blockTokens;
  kv.giveBack(Math.max(0, blocksOf(engine, roomed) - shared));
  // The end of a prefix is given back first, so that its beginning stays longest.
  const first = chunkStart[request] as number;
  for (let at = held - 1; at >= 0; at--) kv.release(chunkIds[first + at] as number);
  sequences.held[request] = 0;
  sequences.stage[request] = stage;
}

/** Puts the latest sequence back to the head of the queue; what it has computed is computed again. */
export function preemptLast(engine: EngineState): void {
  const { sequences } = engine;
  const request = engine.running.pop() as number;
  leave(engine, request, STAGE.waiting);
  sequences.prompt[request] =
    (sequences.workload.inputTokens[request] as number) + (sequences.emitted[request] as number);
  engine.preempted.push(request);
  engine.preemptions += 1;
}
