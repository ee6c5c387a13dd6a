/**
 * `npm run bench -- place`: how long the placement of a whole fleet takes from scratch, at what memory, and how good the plans
 * are: on small fleets drawn by chance every plan is set against the best one, which an exact solver finds by trying all.
 */
import { seededRandom } from '../../lib/rng.ts';
import type { PlacementPlan } from '../../scheduler/core/placement/contract.ts';
import { compareObjectives } from '../../scheduler/core/placement/objective.ts';
import { planPlacement } from '../../scheduler/core/placement/planner.ts';
import { round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { smallCase } from './cases.ts';
import { violationsOf } from './check.ts';
import { shareOf, solveExactly } from './exact.ts';
import { largeFleet } from './large_fleet.ts';

export interface PlaceOptions {
  readonly json?: true;
  readonly nodes: number;
  readonly replicas: number;
  /** Small fleets that are compared with the exact solver. */
  readonly cases: number;
  readonly seed: number;
}

export interface SmallFigures {
  readonly cases: number;
  /** Cases that the exact solver gave up, which count nowhere. */
  readonly tooLarge: number;
  /** Mean share of the best plan, and the share of cases in which the plan was the best. */
  readonly optimalShare: number;
  readonly optimalCases: number;
  readonly worstShare: number;
  /** Where a plan was not the best: the seed of the case. */
  readonly worstSeed: number | undefined;
  readonly violations: number;
}

export function compareWithExact(cases: number, seed: number, searchSteps?: number): SmallFigures {
  let sum = 0;
  let optimal = 0;
  let counted = 0;
  let worst = 1;
  let worstSeed: number | undefined;
  let violations = 0;
  for (let i = 0; i < cases; i++) {
    const snapshot = smallCase(seededRandom(seed * 1_000_003 + i), 7);
    const best = solveExactly(snapshot);
    const plan = planPlacement(snapshot, searchSteps === undefined ? {} : { searchSteps });
    violations += violationsOf(snapshot, plan).length;
    if (best === undefined) continue;
    counted += 1;
    const share = shareOf(plan.objective, best.objective);
    sum += share;
    if (compareObjectives(plan.objective, best.objective) >= 0) optimal += 1;
    else if (share < worst || worstSeed === undefined) {
      worst = share;
      worstSeed = i;
    }
  }
  return {
    cases: counted,
    tooLarge: cases - counted,
    optimalShare: counted === 0 ? 0 : sum / counted,
    optimalCases: counted === 0 ? 0 : optimal / counted,
    worstShare: worst,
    worstSeed,
    violations,
  };
}

interface LargeFigures {
  readonly seconds: number;
  readonly rssMb: number;
  readonly plan: PlacementPlan;
  readonly replicas: number;
  readonly gpus: number;
}

function placeLarge({ nodes, replicas, seed }: PlaceOptions): LargeFigures {
  const snapshot = largeFleet(nodes, replicas, seededRandom(seed));
  const before = performance.now();
  const plan = planPlacement(snapshot);
  const seconds = (performance.now() - before) / 1000;
  return {
    seconds,
    rssMb: process.memoryUsage.rss() / 2 ** 20,
    plan,
    replicas: snapshot.deployments.reduce((sum, each) => sum + each.replicas, 0),
    gpus: snapshot.nodes.reduce((sum, node) => sum + node.gpus.length, 0),
  };
}

export function runPlace(options: PlaceOptions): void {
  // The large fleet first: its memory is not to hold what the comparison has left.
  const large = placeLarge(options);
  const small = compareWithExact(options.cases, options.seed);
  const { plan } = large;
  const figures = {
    nodes: options.nodes,
    replicas: large.replicas,
    seconds: round(large.seconds),
    rssMb: Math.round(large.rssMb),
    optimalShare: Math.floor(small.optimalShare * 1e5) / 1e5,
    optimalCases: Math.floor(small.optimalCases * 1e5) / 1e5,
    worstShare: Math.floor(small.worstShare * 1e5) / 1e5,
    cases: small.cases,
    tooLarge: small.tooLarge,
    violations: small.violations,
    placed: plan.assignments.length,
    pending: plan.pending.length,
    gpus: large.gpus,
  };
  process.stdout.write(
    `placement from scratch\n${alignRows([
      ['nodes', 'GPUs', 'replicas', 'placed', 'pending', 'seconds', 'RSS MB'],
      [figures.nodes, figures.gpus, figures.replicas, figures.placed, figures.pending, figures.seconds, figures.rssMb],
    ])}\n\nsmall fleets against the exact solver\n${alignRows([
      ['cases', 'too large', 'share of optimal', 'optimal cases', 'worst', 'broken rules'],
      [small.cases, small.tooLarge, figures.optimalShare, figures.optimalCases, figures.worstShare, small.violations],
    ])}\n`,
  );
  if (options.json === true) process.stdout.write(`${JSON.stringify({ ...options, ...figures })}\n`);
  if (small.violations > 0) process.exitCode = 1;
}
