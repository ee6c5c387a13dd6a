/**
 * The state of one simulated engine, for the steps (steps.ts), the batch (batch.ts) and the doors (engine.ts).
 */
import type { KvCache } from './kv_cache.ts';
import type { Sequences } from './sequences.ts';
import type { EngineSpec } from './spec.ts';

/** What an engine tells while it runs. */
export interface EngineListener {
  /** The first token of an attempt has come; `cachedTokens` of its prompt were found in the cache. */
  firstToken(request: number, nowMs: number, cachedTokens: number): void;
  finished(request: number, nowMs: number): void;
  /** `steps` steps took `ms` together and gave each of `sequences` a token a step; with `mixed`, prompts were computed beside. */
  decoded?(steps: number, ms: number, sequences: number, contextTokens: number, mixed: boolean): void;
}

export interface EngineState {
  readonly spec: EngineSpec;
  readonly kv: KvCache;
  readonly sequences: Sequences;
  readonly listener: EngineListener;
  /** In the order of their admission: the last is preempted first, and only the last can still be in its prefill. */
  running: number[];
  /** Sequences that were preempted, the next one last; they go before those that wait. */
  preempted: number[];
  waiting: number[];
  /** Where the queue begins in `waiting`. */
  waitingFrom: number;
  /** Decoding sequences and the sum of their contexts, both as of the step that runs. */
  decoding: number;
  contextTokens: number;
  /** Steps with decoding so far; a sequence's progress is the difference of two readings. */
  tick: number;
  /** Decoding sequences by (KV tokens - tick) modulo the block: who needs a new block at which tick. */
  readonly phase: Int32Array;
  /** The step or stride that runs, in virtual milliseconds; NaN when idle. */
  startMs: number;
  endMs: number;
  /** Steps of the stride; 1 where prompts are computed. */
  steps: number;
  /** What the running step computes of prompts: request, tokens, request, tokens, ... */
  chunks: number[];
  /** The running step's decode blocks were taken when it began. */
  prepaid: boolean;
  /** A stopped process takes up its work again at this time. */
  stalledUntilMs: number;
  /** Totals for the figures. */
  busyMs: number;
  preemptions: number;
  hitTokens: number;
  promptTokens: number;
}

export function createEngineState(
  spec: EngineSpec,
  kv: KvCache,
  sequences: Sequences,
  listener: EngineListener,
): EngineState {
  return {
    spec,
    kv,
    sequences,
    listener,
    running: [],
    preempted: [],
    waiting: [],
    waitingFrom: 0,
    decoding: 0,
    contextTokens: 0,
    tick: 0,
    phase: new Int32Array(spec.blockTokens),
    startMs: Number.NaN,
    endMs: Number.NaN,
    steps: 0,
    chunks: [],
    prepaid: false,
    stalledUntilMs: 0,
    busyMs: 0,
    preemptions: 0,
    hitTokens: 0,
    promptTokens: 0,
  };
}

export const isIdle = (engine: EngineState): boolean => Number.isNaN(engine.endMs);
