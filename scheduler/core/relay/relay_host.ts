/** What a running request needs of the one that runs it, and what it tells. Types only. */
import type { Clock } from '../../../lib/clock.ts';
import type { ErrorCode } from '../../../lib/errors.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { AdmittedRequest, GenerationSink, LaneRequest } from '../../ports.ts';
import type { Ticket } from '../queue/contract.ts';
import type { RequestRecord } from '../routing/request_log.ts';
import type { Lease } from '../routing/reservations.ts';
import type { AbandonedAttempt } from './abandoned.ts';
import type { FailoverOptions, RetryBudget } from './failover.ts';
import type { RunningRequest } from './running_request.ts';

/** A request's place on an engine: what submitting it gave. */
export interface Placement {
  readonly lease: Lease;
  readonly lane: LaneRequest;
}

/** What went past the rules and was passed over; counted, never shown to a client. */
export type Dropped = 'late_frame' | 'second_head' | 'duplicate_tokens';

/** How a failed attempt was met; counted. */
export type Recovered = 'restarted' | 'resumed' | 'reattached' | 'gave_up';

/** A request that is to be run. */
export interface RunningOrder {
  readonly request: AdmittedRequest;
  readonly record: RequestRecord;
  readonly door: GenerationSink;
  /** Bytes that may be on their way to the client. */
  readonly creditBytes: number;
  /** Monotonic milliseconds. */
  readonly deadlineAtMs: number;
}

export interface RelayHost {
  readonly clock: Clock;
  readonly failover: FailoverOptions;
  readonly retryBudget: RetryBudget;
  /**
   * Picks an engine whose life is not among `request.tried` and submits the request to it.
   * @throws CodedError when there is none, or its lane takes no more
   */
  place(request: RunningRequest): Placement;
  /**
   * Whether every engine of its model has as much as it takes at a time: in the queue of such an engine a request would stay,
   * though the one that it lost came back meanwhile.
   */
  isFull(request: RunningRequest): boolean;
  /**
   * Holds a request until `place` has placed it, before all that have not run yet; it is placed in this call already where
   * that is possible now.
   */
  hold(request: RunningRequest, door: GenerationSink, place: () => boolean): Ticket;
  /** Called once, after the place was given back. */
  ended(request: RunningRequest, outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void;
  dropped(what: Dropped): void;
  /** The first token came: the engine has room for another prefill. */
  prefilled?(request: RunningRequest): void;
  recovered(request: RunningRequest, how: Recovered, why: string): void;
  /** The attempt runs on a lost lane, and nobody wants it any more. */
  abandoned(attempt: AbandonedAttempt): void;
}
