/**
 * The Mann-Whitney U test, one-sided: are the times of one sample longer than those of another? It looks at ranks only, so
 * the long tail that times to the first token have does not decide alone.
 * Sources: H. B. Mann and D. R. Whitney, Annals of Mathematical Statistics 18 (1947); the variance with ties is that of
 * E. L. Lehmann, Nonparametrics (1975), chapter 1, section 4.
 */
import { normalTail } from './tails.ts';

export interface RankTest {
  /** Pairs in which the fresh value is the larger one; an equal pair counts half. */
  readonly u: number;
  /** Chance of such a U or a larger one if both samples come from one distribution. */
  readonly p: number;
}

/** Up to so many values on each side, all different, the distribution of U is counted out. */
const EXACT_MOST = 20;

/** @param fresh, old any finite numbers, in any order; an empty sample says nothing: p is 1 */
export function mannWhitneyGreater(fresh: readonly number[], old: readonly number[]): RankTest {
  if (fresh.length === 0 || old.length === 0) return { u: 0, p: 1 };
  const { u, tieSum } = countPairs(fresh, old);
  const isSmall = fresh.length <= EXACT_MOST && old.length <= EXACT_MOST;
  if (tieSum === 0 && isSmall) return { u, p: exactTail(u, fresh.length, old.length) };
  const n = fresh.length + old.length;
  const pairs = fresh.length * old.length;
  const variance = (pairs / 12) * (n + 1 - tieSum / (n * (n - 1)));
  // All values are equal: nothing speaks against the fresh ones.
  if (variance <= 0) return { u, p: 1 };
  // Half a step for continuity: U takes whole and half values only.
  return { u, p: normalTail((u - pairs / 2 - 0.5) / Math.sqrt(variance)) };
}

/** U, and the sum of t^3 - t over groups of t equal values. */
function countPairs(fresh: readonly number[], old: readonly number[]): { u: number; tieSum: number } {
  const left = Float64Array.from(fresh).sort();
  const right = Float64Array.from(old).sort();
  let [u, tieSum, i, j] = [0, 0, 0, 0];
  while (i < left.length || j < right.length) {
    const value = Math.min(left[i] ?? Infinity, right[j] ?? Infinity);
    const [beginI, beginJ] = [i, j];
    while (i < left.length && left[i] === value) i += 1;
    while (j < right.length && right[j] === value) j += 1;
    const [equalFresh, equalOld] = [i - beginI, j - beginJ];
    u += equalFresh * (beginJ + equalOld / 2);
    const ties = equalFresh + equalOld;
    tieSum += ties ** 3 - ties;
  }
  return { u, tieSum };
}

/**
 * P(U >= u). The ways to get each U are the coefficients of the Gaussian binomial
 * prod over i = 1..n of (1 - q^(m + i)) / (1 - q^i): multiplied and divided out, all in whole numbers below 2^53.
 */
export function exactTail(u: number, n: number, m: number): number {
  const most = n * m;
  const ways = new Float64Array(most + 1);
  ways[0] = 1;
  for (let i = 1; i <= n; i++) {
    for (let k = most; k >= m + i; k--) ways[k] = (ways[k] as number) - (ways[k - m - i] as number);
    for (let k = i; k <= most; k++) ways[k] = (ways[k] as number) + (ways[k - i] as number);
  }
  let [all, tail] = [0, 0];
  for (let k = 0; k <= most; k++) {
    all += ways[k] as number;
    if (k >= u) tail += ways[k] as number;
  }
  return tail / all;
}

/** The middle value; of an even number the mean of the two in the middle. NaN of nothing. */
export function medianOf(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle] as number;
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}
