/**
 * What is known of each request while it is with an engine, as columns that all engines of a run share: a request is
 * with one engine at a time, and its number is its row.
 */
import type { Workload } from '../traces/workload.ts';

export interface Sequences {
  readonly workload: Workload;
  /** Tokens told so far, up to date for whatever is not decoding at this moment. */
  readonly emitted: Int32Array;
  /** Prompt tokens of the present attempt: the request's own, and those told before it was moved or preempted. */
  readonly prompt: Int32Array;
  /** Prompt tokens computed or found in the cache, and those of them that were found. */
  readonly computed: Int32Array;
  readonly cached: Int32Array;
  /** While it is in its prefill: prompt tokens that have room in the cache, computed or about to be. */
  readonly roomed: Int32Array;
  /** Leading chunks of the prompt whose shared blocks it uses. */
  readonly held: Int32Array;
  /** For decoding sequences: the engine's tick at which it began and that at which it will have told all. */
  readonly startTick: Int32Array;
  readonly endTick: Int32Array;
  /** Told at `startTick`. */
  readonly emittedBefore: Int32Array;
  /** Leading chunks that another engine sends it, so that they need not be computed. */
  readonly fetched: Int32Array;
  readonly stage: Uint8Array;
  /** 1 once the present attempt has told a token, and once the request's prompt is in the hit rate. */
  readonly told: Uint8Array;
  readonly counted: Uint8Array;
}

export const STAGE = Object.freeze({ outside: 0, waiting: 1, prefilling: 2, decoding: 3 });

export function createSequences(workload: Workload): Sequences {
  const column = (): Int32Array => new Int32Array(workload.requests);
  return {
    workload,
    emitted: column(),
    prompt: column(),
    computed: column(),
    cached: column(),
    roomed: column(),
    held: column(),
    startTick: column(),
    endTick: column(),
    emittedBefore: column(),
    fetched: column(),
    stage: new Uint8Array(workload.requests),
    told: new Uint8Array(workload.requests),
    counted: new Uint8Array(workload.requests),
  };
}
