/**
 * Runs policies at loads with seeds, and says how the default policy stands against the best of the others: by the
 * difference per seed, since a seed that is hard for one policy is hard for all.
 */
import { atLoad, capacityPerS } from './fleet/capacity.ts';
import {
  type FigureName,
  figuresOf,
  type Interval,
  intervalOf,
  intervalsOf,
  type RunFigures,
  type Slo,
} from './fleet/figures.ts';
import type { Fault } from './fleet/faults.ts';
import { runFleet } from './fleet/fleet.ts';
import { type EngineSpec, type Scaling, scaled } from './model/spec.ts';
import { DEFAULT_POLICY, type SimPolicy } from './policies.ts';
import { seeded } from './scenario.ts';
import type { Workload } from './traces/workload.ts';

export interface CellsOptions {
  readonly workload: Workload;
  readonly spec: EngineSpec;
  readonly engines: number;
  readonly policies: readonly SimPolicy[];
  readonly loads: readonly number[];
  readonly seeds: number;
  readonly slo: Slo;
  readonly faults: readonly Fault[];
  /** Whether the scheduler's queue is in the runs; true when absent. */
  readonly queue?: boolean;
  readonly scalings: readonly Scaling[];
  readonly onProgress?: (share: number, what: string) => void;
}

export interface Cell {
  readonly policy: string;
  readonly load: number;
  readonly scaling: string;
  readonly capacityPerS: number;
  readonly runs: readonly RunFigures[];
  readonly figures: Record<FigureName, Interval>;
}

/** Every policy at every load, with every scaling of the engines; each scaling has a capacity of its own. */
export function runCells(options: CellsOptions): Cell[] {
  const { policies, loads, seeds, scalings, engines, slo, faults, queue = true } = options;
  const total = policies.length * loads.length * seeds * scalings.length;
  const cells: Cell[] = [];
  const workloads = Array.from({ length: seeds }, (_, i) => seeded(options.workload, i + 1));
  let done = 0;
  for (const scaling of scalings) {
    const spec = scaled(options.spec, scaling);
    options.onProgress?.(done / total, 'capacity');
    const capacity = capacityPerS(options.workload, spec, engines);
    for (const load of loads) {
      for (const { name, create } of policies) {
        const runs = workloads.map((workload, i): RunFigures => {
          const onProgress = (share: number): void =>
            options.onProgress?.((done + share) / total, `${name} at ${load}`);
          const fleet = { workload: atLoad(workload, capacity, load), spec, engines, seed: i + 1, faults, queue };
          const run = runFleet({ ...fleet, createDispatcher: create, onProgress });
          done += 1;
          return figuresOf(run, slo);
        });
        const figures = intervalsOf(runs);
        cells.push({ policy: name, load, scaling: scaling.name, capacityPerS: capacity, runs, figures });
      }
    }
  }
  return cells;
}

const COMPARED = ['ttftMeanS', 'ttftP50S', 'ttftP90S', 'ttftP99S', 'tpotMs'] as const satisfies readonly FigureName[];

export interface Standing {
  readonly load: number;
  readonly scaling: string;
  readonly figure: FigureName;
  /** The baseline with the lowest mean of this figure at this load. */
  readonly baseline: string;
  readonly baselineMean: number;
  readonly mean: number;
  /** Default minus baseline, per seed. */
  readonly difference: Interval;
  /** `equal`: the means are within 2 %; `unclear`: they are not, but the interval of the difference holds 0. */
  readonly verdict: 'better' | 'equal' | 'unclear' | 'worse';
}

/** Means that are no further apart are no difference that anyone could feel. */
const EQUAL_SHARE = 0.02;

function verdictOf({ mean, plusMinus }: Interval, baselineMean: number): Standing['verdict'] {
  if (Math.abs(mean) <= EQUAL_SHARE * baselineMean) return 'equal';
  if (Math.abs(mean) <= plusMinus) return 'unclear';
  return mean < 0 ? 'better' : 'worse';
}

function standing(own: Cell, others: readonly Cell[], figure: FigureName): Standing {
  const best = others.reduce((left, right) => (right.figures[figure].mean < left.figures[figure].mean ? right : left));
  const difference = intervalOf(own.runs.map((run, i) => run[figure] - (best.runs[i] as RunFigures)[figure]));
  const baselineMean = best.figures[figure].mean;
  return {
    load: own.load,
    scaling: own.scaling,
    figure,
    baseline: best.policy,
    baselineMean,
    mean: own.figures[figure].mean,
    difference,
    verdict: verdictOf(difference, baselineMean),
  };
}

/** How the default policy stands at each load; empty when it or the baselines were not run. */
export function standings(cells: readonly Cell[], policies: readonly SimPolicy[]): Standing[] {
  const baselines = new Set(policies.filter(({ isBaseline }) => isBaseline).map(({ name }) => name));
  return cells
    .filter(({ policy }) => policy === DEFAULT_POLICY)
    .flatMap((own) => {
      const others = cells.filter(
        ({ policy, load, scaling }) => baselines.has(policy) && load === own.load && scaling === own.scaling,
      );
      return others.length === 0 ? [] : COMPARED.map((figure) => standing(own, others, figure));
    });
}
