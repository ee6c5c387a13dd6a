/**
 * How many second tries a whole fleet may make: a token bucket that each request fills by a part of a token, so that a
 * mass failure makes the fleet slower and never multiplies its load. A small steady trickle keeps a fleet with little
 * traffic able to retry. Time is an argument.
 */
export interface RetryBudgetOptions {
  /** Tries that each request adds. */
  readonly perRequest: number;
  /** Tries that each second adds, whatever the traffic. */
  readonly perSecond: number;
  /** Most that can be saved up: what one failure of many streams may take at once. */
  readonly most: number;
}

/** Finagle's and Linkerd's rule, a fifth of the requests and ten a second; saved up for the loss of a full engine. */
export const RETRY_BUDGET: RetryBudgetOptions = { perRequest: 0.2, perSecond: 10, most: 512 };

export interface RetryBudget {
  /** A request came. */
  arrived(): void;
  /** Takes one try; when there is none left, says after how many milliseconds there will be one. */
  take(nowMs: number): { readonly granted: true } | { readonly granted: false; readonly retryAfterMs: number };
  /** Tries that are left, and those that were granted and refused so far. */
  readonly left: number;
  readonly granted: number;
  readonly refused: number;
}

export function createRetryBudget(options: RetryBudgetOptions = RETRY_BUDGET): RetryBudget {
  const { perRequest, perSecond, most } = options;
  let left = most;
  let atMs = Number.NaN;
  let granted = 0;
  let refused = 0;
  const refill = (nowMs: number): void => {
    // The first call has no past, and a clock that went back adds nothing.
    if (nowMs > atMs) left = Math.min(most, left + ((nowMs - atMs) / 1000) * perSecond);
    atMs = nowMs;
  };
  return {
    arrived() {
      left = Math.min(most, left + perRequest);
    },
    take(nowMs) {
      refill(nowMs);
      if (left >= 1) {
        left -= 1;
        granted += 1;
        return { granted: true };
      }
      refused += 1;
      return { granted: false, retryAfterMs: Math.ceil(((1 - left) / perSecond) * 1000) };
    },
    get left() {
      return left;
    },
    get granted() {
      return granted;
    },
    get refused() {
      return refused;
    },
  };
}
