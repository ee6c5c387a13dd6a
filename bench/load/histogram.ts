/**
 * Latencies in an HDR histogram: constant memory however long a run is, and three significant digits at every quantile,
 * so that a p99 is read off all values and not off a sample of them.
 */
import { build, type Histogram } from 'hdr-histogram-js';
import { round } from '../process_stats.ts';

/** Values are kept in whole microseconds. */
const UNITS_PER_MS = 1000;
/** A longer wait is counted as this long: no request of a benchmark is waited for an hour. */
const HIGHEST_MS = 3_600_000;

export interface LatencyFigures {
  readonly count: number;
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export class LatencyHistogram {
  readonly #values: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: HIGHEST_MS * UNITS_PER_MS,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 32,
  });

  get count(): number {
    return this.#values.totalCount;
  }

  /** Counts a latency `times` times. What is no number, or below 0, is counted as 0: a clock cannot run backwards. */
  record(ms: number, times = 1): void {
    if (times < 1) return;
    const bounded = ms > 0 ? Math.min(ms, HIGHEST_MS) : 0;
    this.#values.recordValueWithCount(Math.round(bounded * UNITS_PER_MS), times);
  }

  /** Milliseconds at quantile `q`, 0 to 1; NaN when nothing was recorded. */
  at(q: number): number {
    if (this.count === 0) return Number.NaN;
    // A quantile is the highest value that shares its place, which may lie above the largest that was recorded.
    return Math.min(this.#values.getValueAtPercentile(q * 100), this.#values.maxValue) / UNITS_PER_MS;
  }

  /** NaN in every figure but the count when nothing was recorded. */
  figures(): LatencyFigures {
    const empty = this.count === 0;
    return {
      count: this.count,
      meanMs: empty ? Number.NaN : round(this.#values.mean / UNITS_PER_MS),
      p50Ms: round(this.at(0.5)),
      p90Ms: round(this.at(0.9)),
      p99Ms: round(this.at(0.99)),
      maxMs: empty ? Number.NaN : round(this.#values.maxValue / UNITS_PER_MS),
    };
  }

  /**
   * The whole distribution for a plot: [x, milliseconds], where x counts the nines, -log10(1 - q): 0 is the fastest
   * request, 1 the 90th percentile, 2 the 99th. It ends at the last quantile that so many values can tell.
   */
  curve(): [number, number][] {
    if (this.count === 0) return [];
    const nines = Math.min(4, Math.log10(this.count));
    const points: [number, number][] = [];
    for (let x = 0; x <= nines; x += 0.05) points.push([round(x), round(this.at(1 - 10 ** -x), 3)]);
    return points;
  }
}
