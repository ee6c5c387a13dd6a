/**
 * Fits a time of three parts, one observation at a time, near what is believed of the parts before: least squares with
 * forgetting, held to the ratio of what is seen to what was believed. Where the observations are too alike to tell the
 * parts from one another, all of them follow that ratio, so a fit that knows little is a scaled belief and never a wild
 * one. Errors count in proportion to the time.
 */

/** Factors by which each believed part is multiplied. */
export type Factors = readonly [number, number, number];

export interface ScaledFit {
  readonly factors: Factors;
  /** Observations taken in. */
  readonly count: number;
  /**
   * @param parts the time as it is believed, in three parts; none below 0, the sum above 0
   * @param y the time as it was seen, above 0
   * @returns y over what the fit said before, at most MOST_RATIO and at least its inverse
   */
  observe(parts: Factors, y: number): number;
}

/** The past's weight at each observation: some thousand count. */
const MEMORY = 0.999;
/** How much the belief weighs for the common ratio, in observations. */
const BELIEF = 8;
/** How much of an observation the common ratio weighs for each single part. */
const TOGETHER = 0.3;
/** An observation counts for no more than one this many times as long, or as short, as the fit says. */
export const MOST_RATIO = 4;
/** Beyond so many usual errors, in logarithms, it pulls no harder; the usual error follows what is seen at this pace. */
const USUAL_ERRORS = 3;
const ERROR_PACE = 0.05;
const LEAST_ERROR = 0.05;
/** A part may differ from the common ratio by so much. */
const MOST_BEND = 8;

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));

/** Symmetric 3 x 3 matrix by its upper half: 00, 01, 02, 11, 12, 22. */
type Half = [number, number, number, number, number, number];

/** Solves (a + ridge) * x = v. With a ridge above 0 there is always one solution. */
function solve([a00, a01, a02, a11, a12, a22]: Half, ridge: number, v: readonly number[]): [number, number, number] {
  const [m00, m11, m22] = [a00 + ridge, a11 + ridge, a22 + ridge];
  const [v0 = 0, v1 = 0, v2 = 0] = v;
  const c00 = m11 * m22 - a12 * a12;
  const c01 = a02 * a12 - a01 * m22;
  const c02 = a01 * a12 - a02 * m11;
  const c11 = m00 * m22 - a02 * a02;
  const c12 = a01 * a02 - m00 * a12;
  const c22 = m00 * m11 - a01 * a01;
  const determinant = m00 * c00 + a01 * c01 + a02 * c02;
  return [
    (c00 * v0 + c01 * v1 + c02 * v2) / determinant,
    (c01 * v0 + c11 * v1 + c12 * v2) / determinant,
    (c02 * v0 + c12 * v1 + c22 * v2) / determinant,
  ];
}

export function createScaledFit(): ScaledFit {
  const a: Half = [0, 0, 0, 0, 0, 0];
  const v: [number, number, number] = [0, 0, 0];
  let factors: Factors = [1, 1, 1];
  let count = 0;
  /** What is seen over what was believed, in sum. */
  let seen = BELIEF;
  let believed = BELIEF;
  let usualError = Math.log(MOST_RATIO) / USUAL_ERRORS;
  return {
    get factors() {
      return factors;
    },
    get count() {
      return count;
    },
    observe([p0, p1, p2], y) {
      const said = factors[0] * p0 + factors[1] * p1 + factors[2] * p2;
      const ratio = clamp(y / said, 1 / MOST_RATIO, MOST_RATIO);
      const error = Math.log(ratio);
      const most = USUAL_ERRORS * Math.max(LEAST_ERROR, usualError);
      const pull = Math.exp(clamp(error, -most, most));
      usualError += ERROR_PACE * (Math.min(Math.abs(error), most) - usualError);
      const [f0, f1, f2] = [p0 / said, p1 / said, p2 / said];
      const products = [f0 * f0, f0 * f1, f0 * f2, f1 * f1, f1 * f2, f2 * f2];
      for (let i = 0; i < 6; i++) a[i] = MEMORY * (a[i] as number) + (products[i] as number);
      for (const [i, f] of [f0, f1, f2].entries()) v[i] = MEMORY * (v[i] as number) + f * pull;
      seen = MEMORY * seen + (said * pull) / (p0 + p1 + p2);
      believed = MEMORY * believed + 1;
      count += 1;
      const common = seen / believed;
      // In units of the common ratio, so that a large one is held as tightly as a small one.
      const ridge = TOGETHER / (common * common);
      const held = v.map((each) => each + ridge * common);
      const [x0, x1, x2] = solve(a, ridge, held);
      const bent = (x: number): number => clamp(x, common / MOST_BEND, common * MOST_BEND);
      factors = [bent(x0), bent(x1), bent(x2)];
      return ratio;
    },
  };
}
