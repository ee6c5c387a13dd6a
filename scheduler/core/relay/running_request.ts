/**
 * One request on its way: it stands between the lane that brings the answer and the door that takes it. Whatever the
 * lane does, the door gets its calls in the promised order and exactly one end. When an attempt fails, the request goes to
 * another engine: from its beginning while nothing was sent, else from the last token on; only what no engine can
 * continue ends with an error. The reserved place is given back whatever happens.
 */
import { CodedError, type ErrorCode } from '../../../lib/errors.ts';
import type { EngineId, RequestId } from '../../../lib/ids.ts';
import type { LaneUsage, ResumeMeta } from '../../../proto/codec.ts';
import type { AdmittedRequest, Generation, GenerationSink, LaneHandle } from '../../ports.ts';
import { plainLease } from '../routing/lease.ts';
import type { Lease, Reservations } from '../routing/reservations.ts';
import type { Ticket } from '../queue/contract.ts';
import { isWorthWaiting } from '../queue/hope.ts';
import type { RequestRecord } from '../routing/request_log.ts';
import { AnswerCredit } from './answer_credit.ts';
import { AnswerSoFar } from './answer_so_far.ts';
import type { DetachedAttempt, DetachedRequests } from './detached.ts';
import { HOPE_PERIOD_MS, Recoveries } from './failover.ts';
import { FAULTS } from './recovery_rules.ts';
import type { Placement, RelayHost, RunningOrder } from './relay_host.ts';
import { SharedAnswer } from './shared_answer.ts';

export class RunningRequest implements Generation, GenerationSink {
  readonly request: AdmittedRequest;
  readonly record: RequestRecord;
  /** Monotonic milliseconds, as the other times here. */
  readonly startedAtMs: number;
  readonly deadlineAtMs: number;
  /** Engines that failed this request, with the life that did so last; empty again once there is no other. */
  readonly tried = new Map<EngineId, number>();
  /** Which try is under way, from 0. */
  attempt = 0;
  firstTokenAtMs = 0;
  readonly #host: RelayHost;
  readonly #door: GenerationSink;
  readonly #answer: AnswerSoFar;
  #placement: Placement | undefined;
  #stopTimer: (() => void) | undefined;
  #begun = false;
  /** The newest attempt whose head has come. */
  #headedAttempt = -1;
  /** The newest attempt that has given a token. */
  #prefilledAttempt = -1;
  /** Tokens of the answer that earlier attempts gave. */
  #earlierTokens = 0;
  #ended = false;
  readonly #credit: AnswerCredit;
  /** Bytes of an answer that is no stream, as given to the door. */
  #bodyBytes = 0;
  /** Bytes of the stream that the present attempt gave. */
  #attemptBytes = 0;
  #detached: DetachedAttempt | undefined;
  /** The present attempt was come back for, and has not answered yet. */
  #reattaching = false;
  /** Tokens whose ids the door has had. */
  #shownTokens = 0;
  #stopWaiting: (() => void) | undefined;
  /** Its place among what waits for an engine. */
  #ticket: Ticket | undefined;
  readonly #recoveries = new Recoveries();

  constructor(host: RelayHost, order: RunningOrder) {
    this.#host = host;
    this.#door = order.door;
    this.request = order.request;
    this.record = order.record;
    this.#credit = new AnswerCredit(order.creditBytes);
    this.deadlineAtMs = order.deadlineAtMs;
    this.startedAtMs = host.clock.monotonicMs();
    this.#answer = new AnswerSoFar(host.failover.maxJournalTokens, order.request.hasStops === true);
  }

  get id(): RequestId {
    return this.request.id;
  }

  /** Where the request runs now; undefined while it waits for a place and after it ended. */
  get lease(): Lease | undefined {
    return this.#ended ? undefined : (this.#placement ?? this.#detached?.placement)?.lease;
  }

  /** The door was told that the answer begins. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Tokens that have come, where the engine tells their ids. */
  get outputTokens(): number {
    return this.#answer.journal.length;
  }

  /** Bytes that the next attempt may send before a grant. */
  get creditBytes(): number {
    return this.#credit.bytes;
  }

  /** What an attempt must know of the answer so far; undefined: nothing was sent, it starts from the beginning. */
  get resume(): { readonly meta: ResumeMeta; readonly ids: Uint32Array } | undefined {
    const answer = this.#answer;
    if (!answer.sent) return undefined;
    const events = this.#door instanceof SharedAnswer ? { events: this.#door.events } : {};
    return { meta: { ...answer.resume, shownIds: this.#shownTokens, ...events }, ids: answer.journal.ids };
  }

  /** The request runs at an agent that lost its scheduler: it is taken over from its first token, not started. */
  comeBack(detached: DetachedRequests, reservations: Reservations): Placement | undefined {
    const found = this.request.repeat === undefined ? undefined : detached.find(this.id);
    if (found === undefined || this.attempt > 0) return undefined;
    detached.forget(this.id);
    const { lane } = found;
    const { engine, incarnation, attempt } = found.detached;
    if (lane.attach === undefined) return undefined;
    this.attempt = attempt;
    this.#reattaching = true;
    const place = { index: 0, hadBytes: 0, creditBytes: this.creditBytes };
    const request = lane.attach({ id: this.id, attempt, incarnation, ...place }, this);
    const lease = plainLease(reservations.reserve(`${lane.nodeName}/${engine}` as EngineId, incarnation));
    this.#host.recovered(this, 'reattached', 'client_back');
    return { lease, lane: request };
  }

  /** @throws CodedError when no engine takes it: nothing was started then. */
  start(): void {
    this.#placement = this.#host.place(this);
    // It may have waited for its place.
    const leftMs = Math.max(0, this.deadlineAtMs - this.#host.clock.monotonicMs());
    this.#stopTimer = this.#host.clock.after(leftMs, () => {
      this.abort(new CodedError('deadline_exceeded', 'The deadline of the request passed.'));
    });
  }

  grant(bytes: number): void {
    if (this.#ended) return;
    const lent = this.#credit.grant(bytes);
    if (lent > 0) this.#placement?.lane.grant(lent);
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
    this.#fail(error);
  }

  /** As onError, for a failure that the lane does not know of; the lane is told to forget the request. */
  fail(error: CodedError): void {
    if (this.#ended) return;
    this.#placement?.lane.cancel();
    this.onError(error);
  }

  onHead(resumedAt = 0): void {
    if (this.#ended) return this.#host.dropped('late_frame');
    const isBack = this.#reattaching;
    this.#reattaching = false;
    if (this.#headedAttempt === this.attempt) return isBack ? undefined : this.#host.dropped('second_head');
    this.#headedAttempt = this.attempt;
    this.#answer.journal.truncate(resumedAt);
    this.#earlierTokens = resumedAt;
    if (this.#begun) return;
    this.#begun = true;
    this.#door.onHead();
  }

  onTokens(sse: Buffer, idBytes: Buffer, index: number, finished = false): void {
    if (this.#ended) return this.#host.dropped('late_frame');
    if (!this.#begun) this.onHead();
    const answer = this.#answer;
    let shown = idBytes;
    if (idBytes.length > 0) {
      if (index !== answer.journal.length) return this.#outOfOrder(index);
      if (this.firstTokenAtMs === 0) this.firstTokenAtMs = this.#host.clock.monotonicMs();
      this.#prefilled();
      const had = this.#shownTokens - index;
      if (had > 0) shown = idBytes.subarray(Math.min(had * 4, idBytes.length));
      this.#shownTokens = Math.max(this.#shownTokens, index + (idBytes.length >>> 2));
    }
    answer.take(sse, idBytes, finished);
    this.#credit.spend(sse.length);
    this.#attemptBytes += sse.length;
    this.#door.onTokens(sse, shown, index);
  }

  onBody(bytes: Buffer, last: boolean): void {
    if (this.#ended) return this.#host.dropped('late_frame');
    if (!this.#begun) this.onHead();
    this.#credit.spend(bytes.length);
    this.#bodyBytes += bytes.length;
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
    const placement = this.#placement;
    if (placement === undefined) return;
    this.#placement = undefined;
    // What an agent says of a request that it does not know any more is no word on the request.
    const known = !this.#reattaching || FAULTS[error.code] !== undefined;
    const fault = known ? error : new CodedError('stream_lost', 'The request was lost with its lane.');
    this.#reattaching = false;
    const { lane } = placement.lane;
    if (
      lane?.closed === true &&
      fault.code === 'stream_lost' &&
      this.#detach({ placement, lane, error: fault, settled: false })
    )
      return;
    this.#settle(placement.lease, fault.code, undefined);
    this.#recover(placement, fault);
  }

  /** Waits for the lane to come back, for a moment; false: it is not to be waited for. */
  #detach(detached: DetachedAttempt): boolean {
    const { clock, failover } = this.#host;
    if (failover.reattachWaitMs === 0) return false;
    this.#detached = detached;
    this.#stopWaiting = clock.after(failover.reattachWaitMs, () => {
      const { placement, error } = detached;
      this.#detached = { ...detached, settled: true };
      this.#settle(placement.lease, error.code, undefined);
      this.#recover(placement, error);
    });
    return true;
  }

  /** A lane was opened: when it leads to the worker that runs the request, the request goes on there. */
  laneOpened(lane: LaneHandle, reservations: Reservations): void {
    const detached = this.#detached;
    if (this.#ended || this.#placement !== undefined || detached === undefined) return;
    if (detached.lane.nodeName !== lane.nodeName || detached.lane.worker !== lane.worker) return;
    if (lane.attach === undefined || (this.#bodyBytes > 0 && this.#door.onRestart?.() !== true)) return;
    const { engine, incarnation } = detached.placement.lease;
    const lease = detached.settled ? plainLease(reservations.reserve(engine, incarnation)) : detached.placement.lease;
    this.#stopWaiting?.();
    // It runs on where it was: the queue must not start it a second time.
    this.#ticket?.leave();
    this.#ticket = undefined;
    this.#detached = undefined;
    this.#bodyBytes = 0;
    this.#credit.beginAttempt();
    this.#reattaching = true;
    const { attempt, creditBytes, id } = this;
    const place = { index: this.#answer.journal.length, hadBytes: this.#attemptBytes };
    const order = { id, attempt, creditBytes, incarnation, ...place };
    this.#placement = { lease, lane: lane.attach(order, this) };
    this.#host.recovered(this, 'reattached', 'lane_back');
  }

  /** Sends the request elsewhere after an attempt failed, or ends it. */
  #recover({ lease }: Placement, error: CodedError): void {
    const refusal = this.#whyNotAgain(error);
    if (refusal === undefined) {
      this.tried.set(lease.engine, lease.incarnation);
      this.#await(error);
      return;
    }
    if (FAULTS[error.code] === undefined) this.#fail(error);
    else this.#giveUp(error, refusal);
  }

  /** Why a failed attempt is the end of the request, in a word of docs/FAILOVER.md; undefined: it is not. */
  #whyNotAgain({ code }: CodedError): string | undefined {
    const { failover, clock } = this.#host;
    const rule = FAULTS[code];
    if (rule === undefined) return 'no_fault_of_the_engine';
    const tries = this.#recoveries.failed(this.attempt, this.#answer.journal.length);
    if (tries >= failover.maxAttempts) return 'attempts';
    if (clock.monotonicMs() >= this.deadlineAtMs) return 'deadline';
    if (this.#answer.sent) return failover.migrate ? this.#answer.whyNotResumable(this.request) : 'migration_off';
    if (tries >= (rule.maxAttempts ?? Infinity)) return 'attempts';
    if (this.#bodyBytes > 0 && this.#door.onRestart?.() !== true) return 'body_sent';
    this.#bodyBytes = 0;
    return undefined;
  }

  /** Takes a slot for the next attempt and looks for an engine when it has come. */
  #await(error: CodedError): void {
    const { clock, failover, retryBudget } = this.#host;
    const withinMs = Math.min(failover.maxWaitMs, this.deadlineAtMs - clock.monotonicMs());
    const waitMs = this.#recoveries.waitMs(retryBudget, clock.monotonicMs(), withinMs);
    if (waitMs === undefined) this.#giveUp(error, 'budget');
    else if (waitMs === 0) this.#look(error, withinMs);
    else this.#stopWaiting = clock.after(waitMs, () => this.#look(error, withinMs - waitMs));
  }

  /** Looks for an engine; while there is none, or all are full, the request is held for at most `withinMs`. */
  #look(error: CodedError, withinMs: number): void {
    this.#stopWaiting = undefined;
    const mayWait = FAULTS[error.code]?.waits === true && withinMs > 0;
    if ((!mayWait || !this.#host.isFull(this)) && this.#place(error)) return;
    if (!mayWait) return this.#giveUp(error, 'no_engine');
    this.#waitFor(error, this.#host.clock.monotonicMs() + withinMs);
    const ticket = this.#host.hold(this, this.#door, () => this.#place(error));
    if (this.#placement === undefined) this.#ticket = ticket;
  }

  /** An engine that is loading is waited for; that all have failed for good is seen at the second look, for states change. */
  #waitFor(error: CodedError, untilMs: number, again = false): void {
    const { clock } = this.#host;
    const leftMs = untilMs - clock.monotonicMs();
    const isHopeless = again && !isWorthWaiting(this.record.decisions.at(-1)?.refused);
    if (leftMs <= 0 || isHopeless) return this.#giveUp(error, 'no_engine');
    this.#stopWaiting = clock.after(Math.min(leftMs, HOPE_PERIOD_MS), () => this.#waitFor(error, untilMs, true));
  }

  /** Begins the next attempt where an engine takes it. */
  #place(error: CodedError): boolean {
    this.#credit.beginAttempt();
    try {
      this.attempt += 1;
      this.#placement = this.#host.place(this);
    } catch (thrown) {
      this.attempt -= 1;
      if (!(thrown instanceof CodedError)) throw thrown;
      // An engine that has failed once is better than none, and it may be another life by now.
      this.tried.clear();
      return false;
    }
    this.#stopWaiting?.();
    this.#ticket = undefined;
    this.#recoveries.begun(this.#answer.journal.length);
    this.#abandon(this.attempt - 1);
    this.#attemptBytes = 0;
    this.#host.recovered(this, this.#answer.sent ? 'resumed' : 'restarted', error.code);
    return true;
  }

  /** The client is told of the failure itself, not that there was no other engine. */
  #giveUp(error: CodedError, why: string): void {
    this.#host.recovered(this, 'gave_up', why);
    this.#fail(error);
  }

  /** An attempt that may run on at the far end of a lost lane is to end. */
  #abandon(attempt: number): void {
    const detached = this.#detached;
    this.#detached = undefined;
    if (detached === undefined) return;
    const { nodeName: node, worker } = detached.lane;
    const { incarnation } = detached.placement.lease;
    const place = { index: this.#answer.journal.length, hadBytes: this.#attemptBytes };
    this.#host.abandoned({ id: this.id, attempt, incarnation, ...place, node, worker });
  }

  /** What was sent twice is passed over; what is missing cannot be made up for, and a text with a hole is worse than none. */
  #outOfOrder(index: number): void {
    const { length } = this.#answer.journal;
    if (index < length) return this.#host.dropped('duplicate_tokens');
    this.fail(new CodedError('stream_lost', `Tokens ${length} to ${index - 1} of the answer were lost.`));
  }

  #fail(error: CodedError): void {
    this.#finish(error.code, undefined);
    this.#door.onError(error);
  }

  /** The first token of an attempt: its prompt was read. */
  #prefilled(): void {
    if (this.#prefilledAttempt === this.attempt) return;
    this.#prefilledAttempt = this.attempt;
    this.#placement?.lease.firstToken(this.#host.clock.monotonicMs());
    this.#host.prefilled?.(this);
  }

  #finish(outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void {
    this.#ended = true;
    this.#stopTimer?.();
    this.#stopWaiting?.();
    this.#ticket?.leave();
    const place = this.#placement ?? (this.#detached?.settled === false ? this.#detached.placement : undefined);
    if (place !== undefined) this.#settle(place.lease, outcome, usage);
    this.#abandon(this.attempt);
    this.#host.ended(this, outcome, usage);
  }

  /** The attempt on an engine is over: the place comes back and routing learns how it went. */
  #settle(lease: Lease, outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void {
    lease.end({
      nowMs: this.#host.clock.monotonicMs(),
      outcome,
      outputTokens: Math.max(0, (usage?.completionTokens ?? this.outputTokens) - this.#earlierTokens),
      cachedTokens: usage?.cachedPromptTokens,
    });
  }
}
