/** Picks an engine for a request that its client sends to the agent itself, by the same rules as for all others. */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { NodeId } from '../../../lib/ids.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { TicketIssuer } from '../../../proto/gen/fleet/v1/TicketIssuer.ts';
import type { AdmittedRequest, Figures } from '../../ports.ts';
import type { Candidate } from '../fleet/candidates.ts';
import type { FleetDirectory } from '../fleet/directory.ts';
import type { PolicyName } from '../routing/policies.ts';
import type { RequestLog, RequestRecord } from '../routing/request_log.ts';
import type { Reservations } from '../routing/reservations.ts';
import { refusalOf, route } from '../routing/route.ts';
import { type DirectEnd, DirectLeases, type DirectOptions, type RoutedPlace } from './leases.ts';

/** What placing needs of the run loop. */
export interface RouteHost {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly directory: FleetDirectory;
  readonly reservations: Reservations;
  readonly log: RequestLog;
  readonly figures: Figures;
  readonly policy: PolicyName;
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

const NO_LISTENER = 'no_direct_listener';
const NONE_TRIED: ReadonlySet<never> = new Set();

/** An engine whose agent takes no direct calls is refused for that, unless there is a reason that weighs more. */
function withListener(candidate: Candidate, callable: (node: NodeId) => boolean): Candidate {
  if (candidate.refusal !== undefined || callable(candidate.node)) return candidate;
  return { ...candidate, refusal: { by: NO_LISTENER, detail: `${candidate.node} has no listener for direct calls.` } };
}

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
  const { clock, random, directory, reservations, log, policy } = host;
  const startedAtMs = clock.monotonicMs();
  const candidates = directory
    .candidates(request.model, request.endpoint, startedAtMs)
    .map((each) => withListener(each, callable));
  const decision = route({ policy, candidates, tried: NONE_TRIED, reservations, random });
  log.decided(record, decision);
  if (decision.picked === undefined) throw refusalFor(request.model, candidates);
  const { candidate, lease } = decision.picked;
  return {
    node: candidate.node,
    name: candidate.name,
    lease,
    firstToken() {
      record.firstTokenAtMs = clock.wallMs();
    },
    ended(end) {
      lease.release();
      finish(host, record, request, { ...end, startedAtMs });
    },
  };
}

/** With an engine that is open to all but direct calls, the caller can do better than wait. */
function refusalFor(model: string, candidates: readonly Candidate[]): CodedError {
  if (!candidates.some(({ refusal }) => refusal?.by === NO_LISTENER)) return refusalOf(model, candidates);
  return new CodedError('direct_unavailable', `No engine of the model ${model} that is ready can be called directly.`);
}

function finish(
  { clock, figures }: RouteHost,
  record: RequestRecord,
  { model, door }: AdmittedRequest,
  { outcome, usage, firstTokenAtMs, startedAtMs }: DirectEnd & { readonly startedAtMs: number },
): void {
  const outputTokens = usage?.completionTokens ?? 0;
  record.endedAtMs = clock.wallMs();
  record.outcome = outcome === 'ok' ? 'finished' : outcome === 'cancelled' ? 'cancelled' : 'failed';
  record.errorCode = outcome === 'ok' ? '' : outcome;
  record.outputTokens = usage?.completionTokens;
  const endedAtMs = clock.monotonicMs();
  figures.ended({ model, door, outcome, startedAtMs, firstTokenAtMs, endedAtMs, usage, outputTokens });
}
