/**
 * One request on its way: it stands between the lane that brings the answer and the door that takes it. Whatever the
 * lane does, the door gets its calls in the promised order and exactly one end; a failure before the answer began is
 * tried once more on another engine, and the reserved place is given back whatever happens.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, type ErrorCode } from '../../../lib/errors.ts';
import type { EngineId, RequestId } from '../../../lib/ids.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { AdmittedRequest, Generation, GenerationSink, LaneRequest } from '../../ports.ts';
import type { Lease } from '../routing/reservations.ts';
import type { RequestRecord } from '../routing/request_log.ts';

/** A request's place on an engine: what submitting it gave. */
export interface Placement {
  readonly lease: Lease;
  readonly lane: LaneRequest;
}

/** What went past the rules and was passed over; counted, never shown to a client. */
export type Dropped = 'late_frame' | 'second_head' | 'duplicate_tokens';

export interface RelayHost {
  readonly clock: Clock;
  /**
   * Picks an engine that is not among `request.tried` and submits the request to it.
   * @throws CodedError when there is none, or its lane takes no more
   */
  place(request: RunningRequest): Placement;
  /** Called once, after the place was given back. */
  ended(request: RunningRequest, outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void;
  dropped(what: Dropped): void;
}

/** Tries of one request, the first included. */
export const MAX_TRIES = 2;

/** Failures that say nothing about the request itself: another engine may do better, if nothing was said yet. */
const RETRIED: ReadonlySet<ErrorCode> = new Set([
  'engine_unreachable',
  'engine_overloaded',
  'engine_died',
  'stream_lost',
]);

export class RunningRequest implements Generation, GenerationSink {
  readonly request: AdmittedRequest;
  readonly record: RequestRecord;
  readonly creditBytes: number;
  /** Monotonic milliseconds, as the other times here. */
  readonly startedAtMs: number;
  readonly deadlineAtMs: number;
  readonly tried = new Set<EngineId>();
  /** Which try is under way, from 0. */
  attempt = 0;
  firstTokenAtMs = 0;
  readonly #host: RelayHost;
  readonly #door: GenerationSink;
  #placement: Placement | undefined;
  #stopTimer: (() => void) | undefined;
  #begun = false;
  #ended = false;
  #nextIndex = 0;

  constructor(
    host: RelayHost,
    order: {
      readonly request: AdmittedRequest;
      readonly record: RequestRecord;
      readonly door: GenerationSink;
      readonly creditBytes: number;
      readonly deadlineAtMs: number;
    },
  ) {
    this.#host = host;
    this.#door = order.door;
    this.request = order.request;
    this.record = order.record;
    this.creditBytes = order.creditBytes;
    this.deadlineAtMs = order.deadlineAtMs;
    this.startedAtMs = host.clock.monotonicMs();
  }

  get id(): RequestId {
    return this.request.id;
  }

  /** Where the request runs now; undefined before it was placed and after it ended. */
  get lease(): Lease | undefined {
    return this.#ended ? undefined : this.#placement?.lease;
  }

  /** Tokens that have come, where the engine tells their ids. */
  get outputTokens(): number {
    return this.#nextIndex;
  }

  /** @throws CodedError when no engine takes it: nothing was started then. */
  start(): void {
    this.#placement = this.#host.place(this);
    const leftMs = Math.max(0, this.deadlineAtMs - this.startedAtMs);
    this.#stopTimer = this.#host.clock.after(leftMs, () => {
      this.abort(new CodedError('deadline_exceeded', 'The deadline of the request passed.'));
    });
  }

  grant(bytes: number): void {
    if (!this.#ended) this.#placement?.lane.grant(bytes);
  }

  cancel(_reason: string): void {
    if (this.#ended) return;
    this.#placement?.lane.cancel();
    this.#finish('cancelled', undefined);
  }

  /** Ends the request from this side, in whatever phase: the engine is told, then the door. */
  abort(error: CodedError): void {
    if (this.#ended) return;
    this.#placement?.lane.cancel();
    this.#finish(error.code, undefined);
    this.#door.onError(error);
  }

  /** As onError, for a failure that the lane does not know of; the lane is told to forget the request. */
  fail(error: CodedError): void {
    if (this.#ended) return;
    this.#placement?.lane.cancel();
    this.onError(error);
  }

  onHead(): void {
    if (this.#ended) return this.#host.dropped('late_frame');
    if (this.#begun) return this.#host.dropped('second_head');
    this.#begun = true;
    this.#door.onHead();
  }

  onTokens(sse: Buffer, idBytes: Buffer, index: number): void {
    if (this.#ended) return this.#host.dropped('late_frame');
    if (!this.#begun) this.onHead();
    if (idBytes.length > 0) {
      if (index !== this.#nextIndex) return this.#outOfOrder(index);
      if (this.firstTokenAtMs === 0) this.firstTokenAtMs = this.#host.clock.monotonicMs();
      if (this.#nextIndex === 0) this.#placement?.lease.firstToken(this.firstTokenAtMs);
      this.#nextIndex = index + (idBytes.length >>> 2);
    }
    this.#door.onTokens(sse, idBytes, index);
  }

  onBody(bytes: Buffer, last: boolean): void {
    if (this.#ended) return this.#host.dropped('late_frame');
    if (!this.#begun) this.onHead();
    this.#door.onBody(bytes, last);
  }

  onDone(usage: LaneUsage | undefined): void {
    if (this.#ended) return this.#host.dropped('late_frame');
    if (!this.#begun) this.onHead();
    this.#finish('ok', usage);
    this.#door.onDone(usage);
  }

  onError(error: CodedError): void {
    if (this.#ended) return this.#host.dropped('late_frame');
    if (this.#tryAgain(error)) return;
    this.#finish(error.code, undefined);
    this.#door.onError(error);
  }

  /** What was sent twice is passed over; what is missing cannot be made up for, and a text with a hole is worse than none. */
  #outOfOrder(index: number): void {
    if (index < this.#nextIndex) return this.#host.dropped('duplicate_tokens');
    this.abort(new CodedError('stream_lost', `Tokens ${this.#nextIndex} to ${index - 1} of the answer were lost.`));
  }

  #tryAgain(error: CodedError): boolean {
    if (this.#begun || !RETRIED.has(error.code) || this.attempt + 1 >= MAX_TRIES) return false;
    if (this.#host.clock.monotonicMs() >= this.deadlineAtMs) return false;
    const failed = this.#placement;
    if (failed === undefined) return false;
    this.#settle(failed.lease, error.code, undefined);
    this.tried.add(failed.lease.engine);
    this.attempt += 1;
    try {
      this.#placement = this.#host.place(this);
      return true;
    } catch (thrown) {
      // The client is told of the failure itself, not that there was no second engine.
      if (!(thrown instanceof CodedError)) throw thrown;
      return false;
    }
  }

  #finish(outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void {
    this.#ended = true;
    this.#stopTimer?.();
    if (this.#placement !== undefined) this.#settle(this.#placement.lease, outcome, usage);
    this.#host.ended(this, outcome, usage);
  }

  /** The attempt on an engine is over: the place comes back and routing learns how it went. */
  #settle(lease: Lease, outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void {
    lease.end({
      nowMs: this.#host.clock.monotonicMs(),
      outcome,
      outputTokens: usage?.completionTokens ?? this.#nextIndex,
      cachedTokens: usage?.cachedPromptTokens,
    });
  }
}
