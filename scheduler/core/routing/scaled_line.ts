/**
 * Fits y = base + slope * x, one observation at a time, near a line that is believed before: least squares with
 * forgetting, held to the ratio of what is seen to what was believed. Where the observations lie too close together to
 * tell base from slope, both follow that ratio, so a fit that knows little is a scaled belief and never a wild one.
 */

export interface ScaledLine {
  readonly base: number;
  readonly slope: number;
  /** Observations taken in. */
  readonly count: number;
  /** @param x at least 0 @param y above 0; both finite @returns y over what the line said before, between 1/4 and 4 */
  observe(x: number, y: number): number;
}

/** The past's weight at each observation: some thousand count. */
const MEMORY = 0.999;
/** How much the belief weighs, in observations. */
const BELIEF = 8;
/** An observation pulls no harder than one this many times as long, or as short, as the line says. */
export const MOST_RATIO = 4;
/** Base and slope may differ from the common ratio by so much. */
const MOST_BEND = 4;

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));

/** @param believedBase the believed base, above 0; the believed slope is 1: x is in the belief's own unit */
export function createScaledLine(believedBase: number): ScaledLine {
  let base = believedBase;
  let slope = 1;
  let count = 0;
  let weights = 0;
  let sumX = 0;
  let sumXx = 0;
  let sumY = 0;
  let sumXy = 0;
  /** What is seen over what was believed, in sum. */
  let seen = BELIEF;
  let believed = BELIEF;

  const solve = (): void => {
    const ratio = seen / believed;
    // The belief, scaled, as observations at no x and at twice the mean x.
    const far = weights > 0 ? (2 * sumX) / weights : 0;
    const w = BELIEF / 2 / (believedBase + far / 2);
    const n = weights + 2 * w;
    const x = sumX + w * far;
    const xx = sumXx + w * far * far;
    const y = sumY + w * ratio * (2 * believedBase + far);
    const xy = sumXy + w * ratio * far * (believedBase + far);
    const determinant = n * xx - x * x;
    const free = determinant > 1e-9 * n * xx ? (n * xy - x * y) / determinant : ratio;
    slope = clamp(free, ratio / MOST_BEND, ratio * MOST_BEND);
    const rest = (y - slope * x) / n;
    base = clamp(rest, (ratio * believedBase) / MOST_BEND, ratio * believedBase * MOST_BEND);
  };
  return {
    get base() {
      return base;
    },
    get slope() {
      return slope;
    },
    get count() {
      return count;
    },
    observe(x, y) {
      const said = base + slope * x;
      const ratio = clamp(y / said, 1 / MOST_RATIO, MOST_RATIO);
      const taken = said * ratio;
      // Errors are in proportion to the time, so long ones weigh less.
      const weight = 1 / said;
      weights = MEMORY * weights + weight;
      sumX = MEMORY * sumX + weight * x;
      sumXx = MEMORY * sumXx + weight * x * x;
      sumY = MEMORY * sumY + weight * taken;
      sumXy = MEMORY * sumXy + weight * x * taken;
      seen = MEMORY * seen + taken / (believedBase + x);
      believed = MEMORY * believed + 1;
      count += 1;
      solve();
      return ratio;
    },
  };
}
