/**
 * Fisher's exact test, one-sided: do requests of the new revision fail more often than those of the old one? It is exact
 * for any counts, so it may be asked with ten requests, where a test of two proportions by a normal distribution may not.
 * Source: R. A. Fisher, The Design of Experiments (1935), section 5 of chapter II for the table of 2 x 2.
 */
import { hypergeometricTail } from './tails.ts';

export interface Counts {
  readonly requests: number;
  readonly failures: number;
}

/**
 * @returns the chance of so many failures of `fresh` or more, given all failures of both, if both fail alike:
 *   sum over x >= a of C(m, x) C(N - m, n - x) / C(N, n), with n requests of `fresh`, m failures and N requests of both
 */
export function fisherGreater(fresh: Counts, old: Counts): number {
  const failures = fresh.failures + old.failures;
  return hypergeometricTail(fresh.failures, fresh.requests, failures, fresh.requests + old.requests);
}
