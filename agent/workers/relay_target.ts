/** What a relay thread keeps of one life of an engine, and the clock by which it tells of it. */
import type { ProgressTracker } from '../core/engine_progress.ts';
import type { EngineSteps } from '../core/step_gather.ts';
import type { RelayTarget } from '../ports.ts';
import type { EmbeddingBatcher } from './embedding_batcher.ts';
import type { EnginePool } from './engine_connection.ts';
import type { SendToEngine } from './relayed_request.ts';

export interface Target {
  readonly target: RelayTarget;
  readonly pool: EnginePool;
  readonly batcher: EmbeddingBatcher;
  readonly send: SendToEngine;
  readonly tracker: ProgressTracker;
  readonly steps: EngineSteps;
  open: number;
}

/** Milliseconds of the clock that all threads share; performance.now() counts from an origin of its own. */
export const sharedClockMs = (): number => Number(process.hrtime.bigint()) / 1e6;
