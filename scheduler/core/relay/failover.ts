/**
 * The pace of recovery, one for the whole scheduler. Each attempt after a failure takes a slot; slots beyond a burst come
 * one after another, so that the death of many engines at once sends their work to the others in order and not as a
 * storm. While no engine is ready a request waits in the queue, before those that have not run yet. Time is an argument.
 */
export interface FailoverOptions {
  /** Whether an answer that has begun goes on at another engine. */
  readonly migrate: boolean;
  /** Attempts of one request in a row, the first included, that did not get on; see FRUITFUL_TOKENS. */
  readonly maxAttempts: number;
  /** Longest time without an engine before a request fails, in milliseconds; while none may come: HOPE_PERIOD_MS. */
  readonly maxWaitMs: number;
  /** Token ids kept of one answer. */
  readonly maxJournalTokens: number;
  /** Recoveries that may start at once, and then per second. */
  readonly burst: number;
  readonly perSecond: number;
  /** How long a request of a lost lane waits for the lane to come back before it goes elsewhere, in milliseconds. */
  readonly reattachWaitMs: number;
  /** Silence after which a call of one token gets a second attempt beside the first, in milliseconds; 0: never. */
  readonly hedgeAfterMs: number;
}

/**
 * An attempt that brought so many tokens has got on, so that a long answer outlives any number of engines. One that ends
 * sooner may be the request's own doing: it must not take engine after engine with it.
 */
const FRUITFUL_TOKENS = 16;

/** How often a request that waits asks itself whether an engine may still come, in milliseconds. */
export const HOPE_PERIOD_MS = 30_000;

/** Gives slots to recoveries; a generic cell rate algorithm, so a wait is exact and needs no polling. */
export interface RetryBudget {
  /** Milliseconds until the slot that was taken; undefined: none within `withinMs`, and none was taken. */
  take(nowMs: number, withinMs: number): number | undefined;
}

export function createRetryBudget({ burst, perSecond }: Pick<FailoverOptions, 'burst' | 'perSecond'>): RetryBudget {
  const stepMs = 1000 / perSecond;
  let emptyAtMs = -Infinity;
  return {
    take(nowMs, withinMs) {
      const nextMs = Math.max(emptyAtMs, nowMs) + stepMs;
      const waitMs = Math.max(0, nextMs - nowMs - burst * stepMs);
      if (waitMs > withinMs) return undefined;
      emptyAtMs = nextMs;
      return waitMs;
    },
  };
}

/** The recoveries of one request: the slot of the next, and how many in a row led nowhere. */
export class Recoveries {
  #slotAtMs: number | undefined;
  #fruitfulAttempt = 0;
  #tokensBefore = 0;

  /**
   * The slot is kept until an attempt was begun on it: a lane that comes back meanwhile needs none.
   * @returns as take()
   */
  waitMs(budget: RetryBudget, nowMs: number, withinMs: number): number | undefined {
    if (this.#slotAtMs !== undefined) return Math.max(0, this.#slotAtMs - nowMs);
    const waitMs = budget.take(nowMs, withinMs);
    if (waitMs !== undefined) this.#slotAtMs = nowMs + waitMs;
    return waitMs;
  }

  /** The next attempt was begun, after so many tokens of the answer. */
  begun(tokens: number): void {
    this.#slotAtMs = undefined;
    this.#tokensBefore = tokens;
  }

  /** @returns attempts since the last one that got on, this one included */
  failed(attempt: number, tokens: number): number {
    if (tokens - this.#tokensBefore >= FRUITFUL_TOKENS) this.#fruitfulAttempt = attempt;
    return attempt + 1 - this.#fruitfulAttempt;
  }
}
