/** What a relay thread keeps of one life of an engine, and the clock by which it tells of it. */
import { ProgressTracker } from '../core/engine_progress.ts';
import { EngineSteps } from '../core/step_gather.ts';
import type { RelayTarget } from '../ports.ts';
import { EmbeddingBatcher } from './embedding_batcher.ts';
import { EnginePool } from './engine_connection.ts';
import type { RelaySettings } from './relay_messages.ts';
import type { SendToEngine } from './relayed_request.ts';

const MAX_IDLE_CONNECTIONS = 256;

export interface Target {
  readonly target: RelayTarget;
  readonly pool: EnginePool;
  readonly batcher: EmbeddingBatcher;
  readonly send: SendToEngine;
  readonly tracker: ProgressTracker;
  readonly steps: EngineSteps;
  open: number;
}

/** A life of an engine, of which nothing is known yet. */
export function newTarget(target: RelayTarget, settings: RelaySettings): Target {
  const pool = new EnginePool(target.address, {
    connectTimeoutMs: settings.engineConnectTimeoutMs,
    idleSocketMs: settings.engineIdleSocketMs,
    maxIdle: MAX_IDLE_CONNECTIONS,
  });
  const direct: SendToEngine = (request, sink) => pool.send(request, sink);
  const batcher = new EmbeddingBatcher(direct);
  const batched: SendToEngine = (request, sink) => batcher.send(request, sink);
  const send = settings.batchEmbeddings ? batched : direct;
  return { target, pool, batcher, send, tracker: new ProgressTracker(), steps: new EngineSteps(), open: 0 };
}

/** Milliseconds of the clock that all threads share; performance.now() counts from an origin of its own. */
export const sharedClockMs = (): number => Number(process.hrtime.bigint()) / 1e6;
