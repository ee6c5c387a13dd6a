/**
 * What this scheduler has on each life of each engine, in requests and in tokens. A place is taken in the same step as
 * the pick, so two picks never see the same free engine; its prefill share is given back at the first token, the rest
 * exactly once, whatever way the request ends. All of it belongs to a life of an engine: what a dead one leaves behind
 * cannot make its successor look busy or, worse, idle.
 */
import type { ErrorCode } from '../../../lib/errors.ts';
import type { EngineId } from '../../../lib/ids.ts';
import type { EngineLife } from './contract.ts';
import { settleRow } from './engine_rows.ts';
import { type EngineSlot, newSlot, type PendingPrefill, prefillWorkMs } from './engine_slot.ts';

/** What a request takes on an engine, in tokens. */
export interface Share {
  /** Prompt tokens that the engine is believed not to have cached. */
  readonly uncachedTokens: number;
  readonly promptTokens: number;
  /** Tokens of the answer, as far as they can be told before. */
  readonly outputTokens: number;
  /** The answer comes whole: its first token is not seen. */
  readonly blind?: boolean;
}

/** A taken place. */
export interface Place {
  readonly slot: EngineSlot;
  /** The prompt was read: its share of the prefill is given back. Further calls do nothing. */
  firstToken(nowMs: number): void;
  /** Gives everything back; further calls do nothing, and false says so. */
  release(nowMs?: number): boolean;
}

/** How an attempt on an engine ended. */
export interface AttemptEnd {
  /** Monotonic milliseconds. */
  readonly nowMs: number;
  readonly outcome: 'ok' | ErrorCode;
  /** Tokens of the answer that came. */
  readonly outputTokens: number;
  /** Prompt tokens that the engine had cached, as its usage says; absent: it did not say. */
  readonly cachedTokens?: number | undefined;
}

/** A request's place on the engine that was picked for it: whoever gets it gives it back, by end() or release(). */
export interface Lease extends EngineLife {
  /** The first token came: the prompt was read. Further calls do nothing. */
  firstToken(nowMs: number): void;
  /** The attempt ended: what it took is given back, and how it went counts for the engine. The first call counts. */
  end(end: AttemptEnd): void;
  /** Gives the place back and says nothing about the engine: nothing was sent to it. */
  release(): void;
}

export interface Reservations {
  reserve(engine: EngineId, incarnation: number, share?: Share, nowMs?: number): Place;
  /** The slot of a life: the known one, or a new one that is kept while it is listed or has a place taken. */
  slotOf(engine: EngineId, incarnation: number): EngineSlot;
  /** The slot is not listed any more: it goes once nothing of it is taken. */
  forget(slot: EngineSlot): void;
  readonly count: (engine: EngineId, incarnation: number) => number;
  /** All places of all engines. */
  readonly total: number;
  /** Lives that have at least one place taken; for tests that nothing stays behind. */
  readonly lives: number;
}

/** Tokens that are believed of one request; larger figures could not be added up exactly. */
const MOST_TOKENS = 2 ** 21;

/** Anything that is no count is none. */
export const tokensOf = (value: number): number => (value >= 0 ? Math.min(MOST_TOKENS, Math.round(value)) : 0);

/** What nobody told: a request of unknown size is one of no tokens. */
const NO_SHARE: Share = { uncachedTokens: 0, promptTokens: 0, outputTokens: 0 };

/** Brings the integrals of the batch up to now; a clock that went back adds nothing, and no time at all changes nothing. */
function settleAreas(slot: EngineSlot, nowMs: number): void {
  if (!Number.isFinite(nowMs)) return;
  const forMs = Math.max(0, nowMs - slot.areaAtMs);
  slot.batchArea += forMs * (slot.reservedRequests - slot.pending.size + slot.otherRequests);
  slot.contextArea += forMs * slot.decodeTokens;
  slot.areaAtMs = nowMs;
}

/** The oldest prompt that waits; the time since its turn came counts from now where it has just become the oldest. */
function settleHead(slot: EngineSlot, nowMs: number): void {
  const [head] = slot.pending;
  if (head === slot.head) return;
  slot.head = head;
  slot.headSinceMs = Number.isFinite(nowMs) ? nowMs : slot.areaAtMs;
}

/** Prompts whose first token nobody sees have had their prefill once the time for it is over. */
function passBlind(slot: EngineSlot, nowMs: number): void {
  for (;;) {
    const { head, headSinceMs, speed } = slot;
    if (head === undefined || !head.blind) return;
    const doneAtMs = headSinceMs + prefillWorkMs(speed, head.tokens, head.squares);
    if (doneAtMs > nowMs) return;
    head.firstToken(doneAtMs);
  }
}

class TakenPlace implements Place, PendingPrefill {
  readonly slot: EngineSlot;
  readonly tokens: number;
  readonly squares: number;
  readonly blind: boolean;
  readonly #context: number;
  readonly #onRelease: (slot: EngineSlot) => void;
  #state: 'prefill' | 'decode' | 'released' = 'prefill';

  constructor(slot: EngineSlot, share: Share, nowMs: number, onRelease: (slot: EngineSlot) => void) {
    this.slot = slot;
    this.#onRelease = onRelease;
    const prompt = tokensOf(share.promptTokens);
    const cached = prompt - Math.min(prompt, tokensOf(share.uncachedTokens));
    this.tokens = prompt - cached;
    this.squares = prompt * prompt - cached * cached;
    // An answer grows from nothing to its whole: half of it is there in the mean.
    this.#context = prompt + Math.round(tokensOf(share.outputTokens) / 2);
    this.blind = share.blind ?? false;
    passBlind(slot, nowMs);
    settleAreas(slot, nowMs);
    slot.reservedRequests += 1;
    slot.pending.add(this);
    slot.pendingPrefillTokens += this.tokens;
    slot.pendingPrefillSquares += this.squares;
    slot.contextTokens += this.#context;
    settleHead(slot, nowMs);
    settleRow(slot);
  }

  firstToken(nowMs: number): void {
    if (this.#state !== 'prefill') return;
    const { slot } = this;
    this.#leavePrefill(nowMs);
    this.#state = 'decode';
    slot.decodeTokens += this.#context;
    slot.prefilledTokens += this.tokens;
    slot.prefilledSquares += this.squares;
    settleRow(slot);
  }

  release(nowMs: number = this.slot.areaAtMs): boolean {
    if (this.#state === 'released') return false;
    const { slot } = this;
    if (this.#state === 'prefill') this.#leavePrefill(nowMs);
    else {
      settleAreas(slot, nowMs);
      slot.decodeTokens -= this.#context;
    }
    this.#state = 'released';
    slot.reservedRequests -= 1;
    slot.contextTokens -= this.#context;
    settleRow(slot);
    this.#onRelease(slot);
    return true;
  }

  #leavePrefill(nowMs: number): void {
    const { slot } = this;
    settleAreas(slot, nowMs);
    slot.pending.delete(this);
    slot.pendingPrefillTokens -= this.tokens;
    slot.pendingPrefillSquares -= this.squares;
    settleHead(slot, nowMs);
  }
}

export function createReservations(): Reservations {
  const slots = new Map<EngineId, Map<number, EngineSlot>>();
  let total = 0;
  const forget = (slot: EngineSlot): void => {
    if (slot.listed || slot.reservedRequests > 0) return;
    const lives = slots.get(slot.engine);
    if (lives?.get(slot.incarnation) !== slot) return;
    lives.delete(slot.incarnation);
    if (lives.size === 0) slots.delete(slot.engine);
  };
  const slotOf = (engine: EngineId, incarnation: number): EngineSlot => {
    const lives = slots.get(engine) ?? new Map<number, EngineSlot>();
    const slot = lives.get(incarnation) ?? newSlot(engine, incarnation);
    lives.set(incarnation, slot);
    slots.set(engine, lives);
    return slot;
  };
  const released = (slot: EngineSlot): void => {
    total -= 1;
    forget(slot);
  };
  return {
    slotOf,
    forget,
    reserve(engine, incarnation, share = NO_SHARE, nowMs = 0) {
      total += 1;
      return new TakenPlace(slotOf(engine, incarnation), share, nowMs, released);
    },
    count: (engine, incarnation) => slots.get(engine)?.get(incarnation)?.reservedRequests ?? 0,
    get total() {
      return total;
    },
    get lives() {
      let lives = 0;
      for (const each of slots.values()) for (const slot of each.values()) if (slot.reservedRequests > 0) lives += 1;
      return lives;
    },
  };
}
