/**
 * The figures of runs, and what they are worth: means over seeds with 95 % intervals.
 */
import { type FleetRun, OUTCOME } from './fleet.ts';

/** What a user would still call good: time to the first token, and mean time of each further one. */
export interface Slo {
  readonly ttftS: number;
  readonly tpotMs: number;
}

/** Times are those of finished requests; a refused one counts against goodput. */
export interface RunFigures {
  readonly ttftMeanS: number;
  readonly ttftP50S: number;
  readonly ttftP90S: number;
  readonly ttftP99S: number;
  /** Mean over requests of the mean time per token after the first. */
  readonly tpotMs: number;
  readonly tpotP99Ms: number;
  readonly outTokS: number;
  /** Share of all requests that finished within the SLO. */
  readonly goodput: number;
  /** Share of prompt tokens that were found in a cache. */
  readonly hitRate: number;
  /** Busy time of the busiest engine over the mean. */
  readonly imbalance: number;
  readonly refused: number;
  readonly moved: number;
  readonly preemptions: number;
}

export type FigureName = keyof RunFigures;

function quantile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) return Number.NaN;
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const [left, right] = [sorted[low] as number, sorted[Math.min(low + 1, sorted.length - 1)] as number];
  return left + (right - left) * (at - low);
}

const meanOf = (values: Iterable<number>): number => {
  let sum = 0;
  let count = 0;
  for (const value of values) {
    sum += value;
    count += 1;
  }
  return sum / count;
};

export function figuresOf(run: FleetRun, slo: Slo): RunFigures {
  const { workload, outcome, firstTokenMs, endMs, engines } = run;
  const ttft: number[] = [];
  const tpot: number[] = [];
  let tokens = 0;
  let good = 0;
  for (let r = 0; r < workload.requests; r++) {
    if (outcome[r] !== OUTCOME.finished) continue;
    const output = workload.outputTokens[r] as number;
    const first = firstTokenMs[r] as number;
    const ttftS = (first - (workload.arrivalMs[r] as number)) / 1000;
    const perTokenMs = output > 1 ? ((endMs[r] as number) - first) / (output - 1) : 0;
    ttft.push(ttftS);
    if (output > 1) tpot.push(perTokenMs);
    tokens += output;
    if (ttftS <= slo.ttftS && perTokenMs <= slo.tpotMs) good += 1;
  }
  const ttftS = Float64Array.from(ttft).sort();
  const tpotMs = Float64Array.from(tpot).sort();
  const sum = (of: (engine: FleetRun['engines'][number]) => number): number =>
    engines.reduce((total, engine) => total + of(engine), 0);
  const busyMs = engines.map((engine) => engine.busyMs);
  return {
    ttftMeanS: meanOf(ttftS),
    ttftP50S: quantile(ttftS, 0.5),
    ttftP90S: quantile(ttftS, 0.9),
    ttftP99S: quantile(ttftS, 0.99),
    tpotMs: meanOf(tpotMs),
    tpotP99Ms: quantile(tpotMs, 0.99),
    outTokS: (1000 * tokens) / run.lengthMs,
    goodput: good / workload.requests,
    hitRate:
      sum((engine) => engine.hitTokens) /
      Math.max(
        1,
        sum((engine) => engine.promptTokens),
      ),
    imbalance: Math.max(...busyMs) / meanOf(busyMs),
    refused: workload.requests - ttft.length,
    moved: run.moved,
    preemptions: sum((engine) => engine.preemptions),
  };
}

/** A mean over seeds and the half width of its 95 % interval; 0 for one seed, where nothing can be said. */
export interface Interval {
  readonly mean: number;
  readonly plusMinus: number;
}

/** Student's t at 97.5 % for 1, 2, ... degrees of freedom; the last stands for all above. */
const T_975: readonly number[] = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131,
];

export function intervalOf(values: readonly number[]): Interval {
  const mean = meanOf(values);
  const { length } = values;
  if (length < 2) return { mean, plusMinus: 0 };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (length - 1);
  const t = T_975[Math.min(length - 2, T_975.length - 1)] as number;
  return { mean, plusMinus: t * Math.sqrt(variance / length) };
}

export const FIGURE_NAMES = [
  'ttftMeanS',
  'ttftP50S',
  'ttftP90S',
  'ttftP99S',
  'tpotMs',
  'tpotP99Ms',
  'outTokS',
  'goodput',
  'hitRate',
  'imbalance',
  'refused',
  'moved',
  'preemptions',
] as const satisfies readonly FigureName[];

/** Each figure's mean and interval over the runs of one cell. */
export function intervalsOf(runs: readonly RunFigures[]): Record<FigureName, Interval> {
  return Object.fromEntries(FIGURE_NAMES.map((name) => [name, intervalOf(runs.map((run) => run[name]))])) as Record<
    FigureName,
    Interval
  >;
}
