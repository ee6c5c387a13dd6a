/**
 * The held requests of one model: what may come in, what must go, and what each is told. It decides and changes nothing
 * outside; waiting_room.ts carries out. Time is an argument.
 */
import type { QueueOptions, QueuePlace, ShedReason, WaitingOrder } from './contract.ts';
import { DrainRate } from './drain_rate.ts';
import { type Ahead, FairOrder, type HeldFacts } from './fair_order.ts';

/** A held request. */
export interface Held extends HeldFacts {
  readonly order: WaitingOrder;
  readonly sinceMs: number;
  /** When its client was told its place last; undefined: never. */
  toldAtMs: number | undefined;
  /** Its client has got bytes: there is no status of its own any more. */
  begun: boolean;
  /** Since when, without a break, its deadline could not be kept by the estimate. */
  lateSinceMs: number | undefined;
  place: QueuePlace | undefined;
}

export type Admission =
  | { readonly kind: 'held'; readonly held: Held; readonly pushedOut: Held | undefined }
  | { readonly kind: 'refused'; readonly reason: ShedReason; readonly retryAfterMs: number };

/** What one look at the queue found. */
export interface Look {
  readonly shed: readonly { readonly held: Held; readonly reason: ShedReason; readonly retryAfterMs: number }[];
  /** Whose clients are due to be told their place. */
  readonly notices: readonly Held[];
}

/** Room that all queues have left together. */
export interface RoomLeft {
  readonly requests: number;
  readonly bytes: number;
}

const MIGRATION_RANK = -Infinity;
/** Places are renewed this often: the cost grows with all that waits. */
const ESTIMATE_MS = 1000;
/** An estimate is believed when it has said the same for so long. */
const LATE_MS = 1000;
/** When nothing is known of the speed, and the bounds of what is known. */
const UNKNOWN_RETRY_MS = 2000;
const LEAST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 600_000;

const clampRetry = (ms: number): number => Math.round(Math.min(LONGEST_RETRY_MS, Math.max(LEAST_RETRY_MS, ms)));

export class ModelQueue {
  readonly order = new FairOrder<Held>();
  readonly rate = new DrainRate();
  readonly #options: QueueOptions;
  #isCold = false;
  #renewedAtMs = -Infinity;
  /** Before this nothing is due. */
  #nextLookAtMs = -Infinity;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** Takes a request in, or says why not. What was pushed out is out already. */
  admit(order: WaitingOrder, left: RoomLeft, nowMs: number): Admission {
    const held = this.#heldOf(order, nowMs);
    const ahead = this.order.aheadOf(held);
    if (order.precedence !== 'migration') {
      const refused = this.#refusal(held, ahead, nowMs);
      if (refused !== undefined) return refused;
    }
    const pushedOut = this.#makeRoom(held, left);
    if (pushedOut === 'none') return this.#refused('queue_full', this.order.tokens, nowMs);
    if (pushedOut !== undefined) this.order.remove(pushedOut);
    this.order.add(held);
    this.#nextLookAtMs = Math.min(this.#nextLookAtMs, this.#dueAtMs(held));
    this.#settle(nowMs);
    held.place = this.#placeOf(ahead, nowMs);
    return { kind: 'held', pushedOut, held };
  }

  remove(held: Held, nowMs: number): boolean {
    const wasHere = this.order.remove(held);
    this.#settle(nowMs);
    return wasHere;
  }

  /** It is placed and leaves the queue; false when it had left already. */
  serve(held: Held, nowMs: number): boolean {
    if (!this.order.serve(held)) return false;
    this.rate.served(held.costTokens, nowMs);
    this.cold(false, nowMs);
    return true;
  }

  /** No engine is ready: that says nothing about the speed of those that will be, and nothing is estimated meanwhile. */
  cold(isCold: boolean, nowMs: number): void {
    this.#isCold = isCold;
    this.#settle(nowMs);
  }

  /** What may be tried now: the first migrating request, and the first of the others. */
  heads(): Held[] {
    const heads = this.order.heads();
    return heads.slice(0, heads[0]?.rank === MIGRATION_RANK ? 2 : 1);
  }

  /** Looks at all: whose time is over, who cannot make it, who is to be told; and renews the places now and then. */
  look(nowMs: number): Look {
    const shed: { held: Held; reason: ShedReason; retryAfterMs: number }[] = [];
    const notices: Held[] = [];
    const retryAfterMs = this.retryAfterMs(nowMs);
    if (nowMs < this.#nextLookAtMs) return { shed, notices };
    this.#renewPlaces(nowMs);
    this.#nextLookAtMs = this.#renewedAtMs + ESTIMATE_MS;
    for (const held of this.order.items()) {
      const reason = this.#overdue(held, nowMs);
      if (reason !== undefined) shed.push({ held, reason, retryAfterMs });
      else if (nowMs >= this.#noticeAtMs(held)) notices.push(held);
      else this.#nextLookAtMs = Math.min(this.#nextLookAtMs, this.#dueAtMs(held));
    }
    // Whose clients are told now are due again after that.
    if (notices.length > 0) this.#nextLookAtMs = Math.min(this.#nextLookAtMs, nowMs + this.#options.noticeMs);
    return { shed, notices };
  }

  /** When it makes sense for a new request to come: once all that waits now has had its turn. */
  retryAfterMs(nowMs: number): number {
    return this.#retryAfterMs(this.order.tokens, nowMs);
  }

  /**
   * A placed request has ended: what its tenant was charged too much is given back.
   * @param charged the request while it was held; undefined: it never was
   * @param tookMs since its engine got it; undefined: it did not end well, and says nothing about others
   */
  ended(charged: Held | undefined, end: { readonly tookMs: number | undefined; readonly outputTokens: number }): void {
    const { tookMs, outputTokens } = end;
    if (tookMs !== undefined) this.rate.answered(tookMs);
    if (charged === undefined) return;
    this.order.giveBack(charged, charged.costTokens - charged.order.promptTokens - outputTokens);
  }

  #heldOf(order: WaitingOrder, nowMs: number): Held {
    return {
      order,
      tenant: order.tenant,
      weight: order.weight,
      rank: order.precedence === 'migration' ? MIGRATION_RANK : order.priority,
      deadlineAtMs: order.deadlineAtMs,
      costTokens: Math.max(1, Math.ceil(order.promptTokens + order.outputTokens)),
      bytes: order.bytes,
      sinceMs: nowMs,
      toldAtMs: undefined,
      begun: order.begun === true,
      lateSinceMs: undefined,
      place: undefined,
    };
  }

  #refusal(held: Held, ahead: Ahead, nowMs: number): Admission | undefined {
    const { maxRequests, maxBytes, tenantShare } = this.#options;
    if (this.#isTooLate(held, this.#etaMs(ahead.tokens, nowMs), nowMs))
      return this.#refused('deadline_unreachable', ahead.tokens, nowMs);
    const own = this.order.heldBy(held.tenant);
    // One request is never more than a share, or a small queue would take none.
    const isOver =
      tenantShare < 1 &&
      own.requests > 0 &&
      (own.requests + 1 > maxRequests * tenantShare || own.bytes + held.bytes > maxBytes * tenantShare);
    if (!isOver) return undefined;
    return this.#refused('tenant_share', own.tokens / this.order.shareOf(held.tenant, held.weight), nowMs);
  }

  #refused(reason: ShedReason, tokens: number, nowMs: number): Admission {
    return { kind: 'refused', reason, retryAfterMs: this.#retryAfterMs(tokens, nowMs) };
  }

  #retryAfterMs(tokens: number, nowMs: number): number {
    const etaMs = this.#etaMs(tokens, nowMs);
    return etaMs === undefined ? UNKNOWN_RETRY_MS : clampRetry(etaMs);
  }

  /** Whom the newcomer pushes out, if it must; `none`: there is no room for it. */
  #makeRoom(held: Held, left: RoomLeft): Held | 'none' | undefined {
    const { maxRequests, maxBytes } = this.#options;
    if (held.rank === MIGRATION_RANK) return undefined;
    const requests = Math.min(left.requests, maxRequests - this.order.size);
    const bytes = Math.min(left.bytes, maxBytes - this.order.bytes);
    if (requests >= 1 && bytes >= held.bytes) return undefined;
    const victim = maxRequests === 0 ? undefined : this.order.victimFor(held);
    // An answer that has begun is not taken back for one that has not.
    if (victim === undefined || victim.begun || requests < 0 || bytes + victim.bytes < held.bytes) return 'none';
    return victim;
  }

  #etaMs(tokens: number, nowMs: number): number | undefined {
    return this.#isCold ? undefined : this.rate.etaMs(tokens, nowMs);
  }

  #settle(nowMs: number): void {
    this.rate.waiting(this.order.size > 0 && !this.#isCold, nowMs);
  }

  #placeOf(ahead: Ahead, nowMs: number): QueuePlace {
    const etaMs = this.#etaMs(ahead.tokens, nowMs);
    return { position: ahead.requests + 1, ...(etaMs === undefined ? {} : { etaMs: Math.round(etaMs) }) };
  }

  #isTooLate(held: Held, etaMs: number | undefined, nowMs: number): boolean {
    return etaMs !== undefined && nowMs + etaMs + this.rate.quickestAnswerMs > held.deadlineAtMs;
  }

  #renewPlaces(nowMs: number): void {
    if (nowMs - this.#renewedAtMs < ESTIMATE_MS) return;
    this.#renewedAtMs = nowMs;
    for (const [held, ahead] of this.order.entries()) held.place = this.#placeOf(ahead, nowMs);
  }

  #overdue(held: Held, nowMs: number): ShedReason | undefined {
    if (nowMs >= held.deadlineAtMs) return 'deadline_passed';
    // How long an answer that has begun waits to go on is for its request to say.
    if (held.rank === MIGRATION_RANK) return undefined;
    if (nowMs - held.sinceMs >= this.#options.maxWaitMs) return 'wait_timeout';
    if (!this.#isTooLate(held, held.place?.etaMs, nowMs)) held.lateSinceMs = undefined;
    else held.lateSinceMs ??= nowMs;
    const isSure = held.lateSinceMs !== undefined && nowMs - held.lateSinceMs >= LATE_MS;
    return isSure ? 'deadline_unreachable' : undefined;
  }

  /** When its client is to be told its place next. */
  #noticeAtMs({ toldAtMs, begun, sinceMs }: Held): number {
    const { silentMs, noticeMs } = this.#options;
    if (toldAtMs !== undefined) return toldAtMs + noticeMs;
    return begun ? sinceMs : sinceMs + silentMs;
  }

  #dueAtMs(held: Held): number {
    const waitMs = held.rank === MIGRATION_RANK ? Infinity : this.#options.maxWaitMs;
    return Math.min(held.deadlineAtMs, held.sinceMs + waitMs, this.#noticeAtMs(held));
  }
}
