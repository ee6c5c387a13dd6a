/**
 * Exponential backoff with full jitter: each wait is drawn uniformly between a floor and a ceiling that doubles up to a
 * cap, so that many clients which failed together do not come back together. Pure: chance is an argument.
 * The form is that of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
 */
import type { RandomSource } from './rng.ts';

export interface BackoffPolicy {
  /** Ceiling of the first wait, in milliseconds. */
  readonly baseMs: number;
  /** Largest ceiling, in milliseconds. */
  readonly capMs: number;
  /** Growth of the ceiling per attempt; 2 when absent. */
  readonly factor?: number;
  /** Least wait, in milliseconds; 0 when absent. */
  readonly minMs?: number;
}

/** The largest wait that `backoffDelayMs` may give for this attempt (0 is the first), in milliseconds. */
export function backoffCeilingMs(attempt: number, policy: BackoffPolicy): number {
  const grown = policy.baseMs * (policy.factor ?? 2) ** Math.max(0, attempt);
  return Math.max(policy.minMs ?? 0, Math.min(policy.capMs, grown));
}

/**
 * Milliseconds (a whole number) to wait before the retry after failed attempt number `attempt`, where 0 is the first:
 * uniform in [minMs, ceiling].
 */
export function backoffDelayMs(attempt: number, policy: BackoffPolicy, random: RandomSource): number {
  const floor = policy.minMs ?? 0;
  const ceiling = backoffCeilingMs(attempt, policy);
  return Math.round(floor + random.next() * (ceiling - floor));
}
