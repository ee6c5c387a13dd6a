/** Picks an engine for a request that its client sends to the agent itself, by the same rules as for all others. */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { TicketIssuer } from '../../../proto/gen/fleet/v1/TicketIssuer.ts';
import type { AdmittedRequest, Figures } from '../../ports.ts';
import { type DecisionTrace, refusalOf } from '../routing/decision.ts';
import { NO_DIRECT_LISTENER } from '../routing/filters/direct_listener.ts';
import { guessedShape } from '../routing/placer.ts';
import { closeRecord, type RequestLog, type RequestRecord } from '../routing/request_log.ts';
import type { Router } from '../routing/router.ts';
import { type DirectEnd, DirectLeases, type DirectOptions, type RoutedPlace } from './leases.ts';

/** What placing needs of the run loop. */
export interface RouteHost {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly router: Router;
  readonly log: RequestLog;
  readonly figures: Figures;
}

export interface DirectParts extends RouteHost {
  readonly options: DirectOptions;
  readonly issuer: () => TicketIssuer;
  /**
   * What every request passes before an engine is picked for it.
   * @throws CodedError draining, model_not_found, already_exists, overloaded
   */
  readonly admit: (request: AdmittedRequest) => RequestRecord;
}

/** The leases of a run loop: each is placed, logged and counted as the requests that are relayed. */
export function createDirectLeases(parts: DirectParts): DirectLeases {
  const { clock, random, options, issuer, admit, log, figures } = parts;
  return new DirectLeases({
    clock,
    random,
    options,
    issuer,
    count: (event, held) => figures.ticket?.(event, held),
    place(request, callable) {
      const { model, door } = request;
      let record: RequestRecord | undefined;
      try {
        record = admit(request);
        log.add(record);
        const place = placeForRoute(parts, record, request, callable);
        figures.started(door);
        return place;
      } catch (error) {
        const { code } = toCodedError(error);
        if (record !== undefined)
          Object.assign(record, { outcome: 'failed', errorCode: code, endedAtMs: clock.wallMs() });
        figures.refused(model, door, code);
        throw error;
      }
    },
  });
}

const NONE_TRIED: ReadonlyMap<EngineId, number> = new Map();

/**
 * Picks and reserves; the record of the request says which engines were looked at, as for any other.
 * @throws CodedError no_engine, overloaded, not_supported, direct_unavailable: nothing is reserved
 */
export function placeForRoute(
  host: RouteHost,
  record: RequestRecord,
  request: AdmittedRequest,
  callable: (node: NodeId) => boolean,
): RoutedPlace {
  const { clock, router, log } = host;
  const startedAtMs = clock.monotonicMs();
  const { endpoint, stream } = request;
  const decision = router.pick({
    shape: guessedShape(request),
    endpoint,
    tried: NONE_TRIED,
    callable,
    nowMs: startedAtMs,
    plain: !stream,
  });
  log.decided(record, decision.trace);
  if (decision.picked === undefined) throw refusalFor(request.model, decision.trace);
  const { slot, lease } = decision.picked;
  return {
    node: slot.node,
    name: slot.name,
    lease,
    firstToken() {
      record.firstTokenAtMs = clock.wallMs();
      lease.firstToken(clock.monotonicMs());
    },
    ended(end) {
      const { outcome, usage } = end;
      const nowMs = clock.monotonicMs();
      const outputTokens = usage?.completionTokens ?? 0;
      lease.end({ nowMs, outcome, outputTokens, cachedTokens: usage?.cachedPromptTokens });
      finish(host, record, request, { ...end, startedAtMs });
    },
  };
}

/** With an engine that is open to all but direct calls, the caller can do better than wait. */
function refusalFor(model: string, trace: DecisionTrace): CodedError {
  if (!trace.refused.has(NO_DIRECT_LISTENER)) return refusalOf(model, trace);
  return new CodedError('direct_unavailable', `No engine of the model ${model} that is ready can be called directly.`);
}

function finish(
  { clock, figures }: RouteHost,
  record: RequestRecord,
  request: AdmittedRequest,
  { outcome, usage, firstTokenAtMs, startedAtMs }: DirectEnd & { readonly startedAtMs: number },
): void {
  const { model, door } = request;
  const outputTokens = usage?.completionTokens ?? 0;
  closeRecord(record, outcome, clock.wallMs());
  record.outputTokens = usage?.completionTokens;
  const endedAtMs = clock.monotonicMs();
  figures.ended({ request, model, door, outcome, startedAtMs, firstTokenAtMs, endedAtMs, usage, outputTokens });
}
