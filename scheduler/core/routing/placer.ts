/**
 * Puts a request on an engine: asks the router, and sends the order on a lane of the engine's node. What
 * was decided is in the log before anything can fail, and a place that nothing was sent to is given back at once.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { EngineId, RequestId } from '../../../lib/ids.ts';
import type { AdmittedRequest, Endpoint, Figures, GenerationSink, LaneOrder } from '../../ports.ts';
import type { FleetDirectory } from '../fleet/directory.ts';
import type { Placement } from '../relay/relay_host.ts';
import type { RunningRequest } from '../relay/running_request.ts';
import type { RequestShape } from './contract.ts';
import { refusalOf } from './decision.ts';
import type { EngineSlot } from './engine_slot.ts';
import type { RequestLog } from './request_log.ts';
import type { Router } from './router.ts';

export interface PlacerDeps {
  readonly router: Router;
  readonly directory: FleetDirectory;
  readonly log: RequestLog;
  /** What routing is told of a request; absent: its size is guessed from its bytes. */
  readonly shapeOf?: ((request: AdmittedRequest) => RequestShape) | undefined;
  readonly figures: Pick<Figures, 'routed'>;
  readonly placed: (fields: {
    readonly requestId: RequestId;
    readonly engine: string;
    readonly attempt: number;
  }) => void;
}

/** Which attempt goes where and who hears it; absent: the request's own present one. */
export interface Way {
  readonly attempt: number;
  readonly tried: ReadonlyMap<EngineId, number>;
  readonly sink: GenerationSink;
}

export type Placer = (running: RunningRequest, nowMs: number, way?: Way) => Placement;

const PATHS: Readonly<Record<Endpoint, string>> = {
  chat: '/v1/chat/completions',
  completions: '/v1/completions',
  embeddings: '/v1/embeddings',
};
const NO_IDS = new Uint32Array(0);
/** Bytes of a request's body for each token of its prompt: English text has four, and JSON adds a little. */
const BYTES_PER_TOKEN = 4;

/** What can be said of a request whose prompt was not tokenised. */
export function guessedShape(request: AdmittedRequest): RequestShape {
  const { model, tenant, body, endpoint } = request;
  const promptTokens = Math.max(1, Math.ceil(body.length / BYTES_PER_TOKEN));
  return { model, tenant, promptTokens, ...(endpoint === 'embeddings' ? { maxOutputTokens: 0 } : {}) };
}

/** The order for the lane: what the engine is to do, and on which life of it. */
function orderOf(running: RunningRequest, attempt: number, slot: EngineSlot, nowMs: number): LaneOrder {
  const { request, creditBytes, resume } = running;
  const meta = {
    requestId: request.id,
    engine: slot.name,
    path: PATHS[request.endpoint],
    stream: request.stream,
    wantUsage: request.wantUsage,
    wantTokenIds: request.wantTokenIds,
    deadlineMs: Math.ceil(Math.max(0, running.deadlineAtMs - nowMs)),
    ...(request.traceparent === undefined ? {} : { traceparent: request.traceparent }),
    ...(resume === undefined ? {} : { resume: resume.meta }),
    ...(request.repeat === undefined ? {} : { repeat: request.repeat }),
  };
  const resumeIds = resume?.ids ?? NO_IDS;
  return { meta, body: request.body, attempt, incarnation: slot.incarnation, creditBytes, resumeIds };
}

/** @returns a placer that throws CodedError when no engine takes the request: nothing was sent then */
export function createPlacer(deps: PlacerDeps): Placer {
  const { router, directory, log, placed, shapeOf = guessedShape } = deps;
  return (running, nowMs, way) => {
    const { request, record } = running;
    const { attempt, tried, sink } = way ?? { attempt: running.attempt, tried: running.tried, sink: running };
    const decision = router.pick({
      shape: shapeOf(request),
      endpoint: request.endpoint,
      tried,
      nowMs,
      plain: !request.stream,
    });
    log.decided(record, decision.trace);
    const { policy, mode = 'normal' } = decision.trace;
    deps.figures.routed(policy, decision.picked === undefined ? 'none' : mode);
    if (decision.picked === undefined) throw refusalOf(request.model, decision.trace);
    const { slot, lease } = decision.picked;
    try {
      const lane = directory.laneFor(slot.node, slot.name);
      if (lane === undefined) throw new CodedError('stream_lost', `${slot.node} has no lane.`);
      placed({ requestId: request.id, engine: slot.engine, attempt });
      return { lease, lane: lane.submit(orderOf(running, attempt, slot, nowMs), sink) };
    } catch (error) {
      lease.release();
      throw error;
    }
  };
}
