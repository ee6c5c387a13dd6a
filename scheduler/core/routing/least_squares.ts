/**
 * Fits a line in three weights, one observation at a time: recursive least squares with forgetting. It is robust and
 * bounded: an observation far outside of what is usual pulls no harder than one at the edge of it, weights stay between
 * their bounds, and the memory of what is unknown cannot grow without end while nothing new is seen.
 */

/** Weights of y = w0*x0 + w1*x1 + w2*x2. */
export type Weights = readonly [number, number, number];

export interface LeastSquaresOptions {
  /** Where the weights start. */
  readonly start: Weights;
  readonly least: Weights;
  readonly most: Weights;
  /** What a feature usually is, so that weights of very unlike size are learned alike. */
  readonly scales: Weights;
  /** Weight of the past at each observation, 0 to 1; 0.99 remembers some hundred observations. */
  readonly memory: number;
}

export interface LeastSquares {
  readonly weights: Weights;
  /** Observations taken in. */
  readonly count: number;
  /** @param x three finite features @param y what was seen; finite */
  observe(x: Weights, y: number): void;
}

/** How sure the start is, in units of the scaled weights; larger is less sure. */
const START_VARIANCE = 4;
const MOST_VARIANCE = 1e3;
/** Beyond so many usual errors an observation pulls no harder. */
const HUBER_ERRORS = 3;
/** The usual error follows what is seen at this pace, and is at least this part of what is seen. */
const ERROR_PACE = 0.1;
const LEAST_ERROR_PART = 0.01;

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));

export function createLeastSquares(options: LeastSquaresOptions): LeastSquares {
  const { least, most, scales, memory } = options;
  // Scaled weights: in units of the start, so that a variance of one means "may well be twice that".
  const units = options.start.map((start, i) => Math.max(start, least[i] as number)) as unknown as Weights;
  const w = [...options.start] as [number, number, number];
  const p = [START_VARIANCE, 0, 0, 0, START_VARIANCE, 0, 0, 0, START_VARIANCE];
  let count = 0;
  let usualError = 0;

  const observe = (x: Weights, y: number): void => {
    // Features in scaled units: y = sum (w_i / unit_i) * (x_i * unit_i).
    const f = [x[0] * units[0], x[1] * units[1], x[2] * units[2]] as const;
    const size = Math.hypot(f[0], f[1], f[2]) + scales[0] * units[0];
    const error = y - (w[0] * x[0] + w[1] * x[1] + w[2] * x[2]);
    if (count === 0) usualError = Math.abs(error);
    const bound = HUBER_ERRORS * Math.max(usualError, LEAST_ERROR_PART * Math.abs(y));
    const pull = Math.abs(error) > bound ? bound / Math.abs(error) : 1;
    usualError += ERROR_PACE * (Math.min(Math.abs(error), bound) - usualError);
    count += 1;
    // Normalised, so that the noise of a large observation counts in proportion.
    const n = [f[0] / size, f[1] / size, f[2] / size] as const;
    const g = [0, 1, 2].map((i) => row(p, i, n)) as [number, number, number];
    const gain = memory + n[0] * g[0] + n[1] * g[1] + n[2] * g[2];
    const step = (pull * error) / size / gain;
    for (let i = 0; i < 3; i++) {
      const moved = (w[i] as number) + (g[i] as number) * step * (units[i] as number);
      w[i] = clamp(moved, least[i] as number, most[i] as number);
    }
    for (let i = 0; i < 3; i++) {
      for (let j = 0; j < 3; j++) {
        const k = i * 3 + j;
        p[k] = ((p[k] as number) - ((g[i] as number) * (g[j] as number)) / gain) / memory;
      }
    }
    for (let i = 0; i < 3; i++) {
      const d = i * 4;
      if ((p[d] as number) > MOST_VARIANCE) shrink(p, i, Math.sqrt(MOST_VARIANCE / (p[d] as number)));
    }
  };
  return {
    get weights() {
      return w;
    },
    get count() {
      return count;
    },
    observe,
  };
}

function row(p: readonly number[], i: number, x: Weights): number {
  const at = i * 3;
  return (p[at] as number) * x[0] + (p[at + 1] as number) * x[1] + (p[at + 2] as number) * x[2];
}

/** Scales row and column `i`, which keeps the matrix symmetric and positive. */
function shrink(p: number[], i: number, by: number): void {
  for (let j = 0; j < 3; j++) {
    p[i * 3 + j] = (p[i * 3 + j] as number) * by;
    p[j * 3 + i] = (p[j * 3 + i] as number) * by;
  }
}
