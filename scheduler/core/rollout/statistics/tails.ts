/**
 * Tails of the binomial, hypergeometric and normal distributions, exact where they are discrete. A gate decides on tails far
 * out (1e-5 and less), where approximations that are good in the middle are wrong by factors.
 */

const TABLE_SIZE = 1024;
/** ln n! for small n, as sums of logarithms. */
const LN_FACTORIALS = new Float64Array(TABLE_SIZE);
for (let n = 1; n < TABLE_SIZE; n++) LN_FACTORIALS[n] = (LN_FACTORIALS[n - 1] as number) + Math.log(n);

/** A term this small beside the sum changes no digit of it. */
const NEGLIGIBLE = 1e-18;

/** ln n! for whole n >= 0; above the table Stirling's series (Abramowitz and Stegun, 6.1.41), whose error is below 1e-18 there. */
export function lnFactorial(n: number): number {
  if (n < TABLE_SIZE) return LN_FACTORIALS[n] as number;
  const square = 1 / (n * n);
  const series = (1 / 12 - (1 / 360 - square / 1260) * square) / n;
  return n * Math.log(n) - n + Math.log(2 * Math.PI * n) / 2 + series;
}

function lnChoose(n: number, k: number): number {
  return lnFactorial(n) - lnFactorial(k) - lnFactorial(n - k);
}

/**
 * Sums a distribution from `from` to `to`, each term by its ratio to the one before.
 * @param lnFirst logarithm of the term at `from`
 * @param ratio term at x + 1 over the term at x
 */
function sumTail(from: number, to: number, lnFirst: number, ratio: (x: number) => number): number {
  // Relative to the first term, so that a first term too small for a double does not hide a larger one.
  let term = 1;
  let sum = 0;
  let lnScale = lnFirst;
  for (let x = from; x <= to; x++) {
    sum += term;
    const step = ratio(x);
    if (step < 1 && term < sum * NEGLIGIBLE) break;
    term *= step;
    if (term > 1e200) {
      lnScale += Math.log(term);
      sum /= term;
      term = 1;
    }
  }
  return Math.min(1, Math.exp(lnScale + Math.log(sum)));
}

/** P(X >= k) for X of the binomial distribution with n trials of probability p. */
export function binomialTail(k: number, n: number, p: number): number {
  if (k <= 0) return 1;
  if (k > n || p <= 0) return 0;
  if (p >= 1) return 1;
  const odds = p / (1 - p);
  const lnFirst = lnChoose(n, k) + k * Math.log(p) + (n - k) * Math.log1p(-p);
  return sumTail(k, n, lnFirst, (x) => ((n - x) / (x + 1)) * odds);
}

/** P(X >= k) for X marked ones among `drawn` that are drawn from `total`, of which `marked` are marked. */
export function hypergeometricTail(k: number, drawn: number, marked: number, total: number): number {
  const least = Math.max(0, drawn + marked - total);
  const most = Math.min(drawn, marked);
  if (k <= least) return 1;
  if (k > most) return 0;
  const rest = total - marked;
  const lnFirst = lnChoose(marked, k) + lnChoose(rest, drawn - k) - lnChoose(total, drawn);
  return sumTail(k, most, lnFirst, (x) => ((marked - x) / (x + 1)) * ((drawn - x) / (rest - drawn + x + 1)));
}

/** Above this the continued fraction is exact within few terms, below it the series is. */
const SERIES_MOST = 3;
const SERIES_TERMS = 200;
const FRACTION_TERMS = 120;

/**
 * P(Z >= z) of the standard normal distribution: the series of the distribution function (Abramowitz and Stegun, 26.2.11)
 * in the middle, Laplace's continued fraction (26.2.14) in the tail.
 */
export function normalTail(z: number): number {
  if (z < 0) return 1 - normalTail(-z);
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  if (z <= SERIES_MOST) {
    let term = z;
    let sum = z;
    for (let n = 1; n < SERIES_TERMS; n++) {
      term *= (z * z) / (2 * n + 1);
      sum += term;
    }
    return 0.5 - density * sum;
  }
  let fraction = z;
  for (let n = FRACTION_TERMS; n > 0; n--) fraction = z + n / fraction;
  return density / fraction;
}
