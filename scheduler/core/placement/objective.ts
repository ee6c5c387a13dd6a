/**
 * What a good plan is, as one comparison; docs/PLACEMENT.md has it as a formula. First whom it serves, the highest priority
 * before all others; then how little it disturbs; then whose name comes first; then how good the places are. Every part of it
 * is a function of the state after the plan, so it does not hang on the order in which the plan was found.
 */
import { affinitySum } from './affinity.ts';
import { type Board, lift, type Part, put, type Unit } from './board.ts';
import type { FleetSnapshot, PlacementPlan } from './contract.ts';
import type { Demand } from './demand.ts';
import { nodeWorth } from './eligible.ts';
import { partOf, standingScore } from './fit.ts';
import { gpuRow } from './fleet.ts';
import type { NodeSnapshot } from './contract.ts';
import { createSituation } from './units.ts';

export interface Objective {
  /** By priority, the highest first: the sum over its deployments of 1 + 1/2 + ... + 1/n for n replicas that run. */
  readonly served: readonly { readonly priority: number; readonly value: number }[];
  /** Sum over preempted replicas of (1 + priority) times their GPUs, at least one. */
  readonly disruption: number;
  /** By priority as above: the sum over replicas that run of their deployment's place from the end of the alphabet. */
  readonly names: readonly number[];
  /** Sum over placed replicas of the scores of their places, and of all preferred affinity. */
  readonly quality: number;
}

/** Sums of fractions that differ by less are equal. */
export const EPSILON = 1e-9;

/** @returns above 0 when `left` is the better one, below 0 when `right` is, 0 when they are equal */
export function compareObjectives(left: Objective, right: Objective): number {
  const most = Math.max(left.served.length, right.served.length);
  for (let i = 0; i < most; i++) {
    const a = left.served[i];
    const b = right.served[i];
    // A priority at which only one of them has anything.
    if (a === undefined || b === undefined || a.priority !== b.priority)
      return (a?.priority ?? -1) > (b?.priority ?? -1) ? 1 : -1;
    if (Math.abs(a.value - b.value) > EPSILON) return a.value - b.value;
  }
  if (left.disruption !== right.disruption) return right.disruption - left.disruption;
  for (let i = 0; i < most; i++) {
    const order = (left.names[i] as number) - (right.names[i] as number);
    if (order !== 0) return order;
  }
  return Math.abs(left.quality - right.quality) > EPSILON ? left.quality - right.quality : 0;
}

/** 1 + 1/2 + ... + 1/n. */
export function harmonic(n: number): number {
  let sum = 0;
  for (let k = n; k >= 1; k--) sum += 1 / k;
  return sum;
}

export function disruptionOf({ priority, home }: Pick<Unit, 'priority' | 'home'>): number {
  return (
    (1 + priority) *
    Math.max(
      1,
      home.reduce((sum, part) => sum + part.gpus.length, 0),
    )
  );
}

/** The scores of a placed unit: the mean over its hosts. */
export function unitQuality(board: Board, unit: Unit, demand: Demand): number {
  let sum = 0;
  for (const part of unit.parts) {
    const node = board.fleet.nodes[part.node] as NodeSnapshot;
    sum += nodeWorth(node, demand.wanted) + standingScore(board, part, demand);
  }
  return sum / unit.parts.length;
}

/** The objective of what is on the board. */
export function objectiveOfBoard(board: Board, units: readonly Unit[]): Objective {
  const { demands, serving } = board;
  const priorities = [...new Set(demands.map((demand) => demand.priority))].toSorted((a, b) => b - a);
  const served = new Map(priorities.map((priority) => [priority, 0]));
  const names = new Map(served);
  let quality = 0;
  for (const demand of demands) {
    const { priority, id } = demand;
    const count = (serving[id] as Unit[]).length;
    served.set(priority, (served.get(priority) as number) + harmonic(count));
    names.set(priority, (names.get(priority) as number) + count * (demands.length - id));
    quality += affinitySum(board, demand);
  }
  let disruption = 0;
  for (const unit of units) {
    if (unit.preemptedBy !== undefined) disruption += disruptionOf(unit);
    if (unit.state === 'placed' && unit.demand !== undefined) quality += unitQuality(board, unit, unit.demand);
  }
  return {
    served: priorities.map((priority) => ({ priority, value: served.get(priority) as number })),
    disruption,
    names: priorities.map((priority) => names.get(priority) as number),
    quality,
  };
}

/**
 * The objective of a plan for the snapshot that it was made from. It looks at the assignments and the preemptions alone, so a
 * plan of another origin can be compared; it does not ask whether they may be carried out (verifyPlan does).
 */
export function objectiveOf(
  snapshot: FleetSnapshot,
  { assignments, preemptions }: Pick<PlacementPlan, 'assignments' | 'preemptions'>,
): Objective {
  const { board, units } = createSituation(snapshot);
  const key = (deployment: string, index: number): string => `${index}/${deployment}`;
  const running = new Map<string, Unit>();
  const open = new Map<string, Unit>();
  for (const unit of units) (unit.state === 'waiting' ? open : running).set(key(unit.deployment, unit.index), unit);
  for (const { deployment, index } of preemptions) {
    const unit = running.get(key(deployment, index));
    if (unit === undefined) continue;
    lift(board, unit);
    unit.preemptedBy = unit;
    open.set(key(deployment, index), unit);
  }
  for (const { deployment, index, parts } of assignments) {
    const unit = open.get(key(deployment, index));
    if (unit?.demand === undefined) continue;
    put(board, unit, partsOfAssignment(board, unit.demand, parts), 'placed');
  }
  return objectiveOfBoard(board, units);
}

export function partsOfAssignment(
  { fleet }: Board,
  demand: Demand,
  parts: PlacementPlan['assignments'][number]['parts'],
): Part[] {
  return parts.map(({ node, gpus, graceSpillBytes }) => {
    const at = fleet.indexOf.get(node) ?? -1;
    const rows = gpus.map((index) => gpuRow(fleet, at, index)).sort((a, b) => a - b);
    return partOf(at, rows, demand, graceSpillBytes > 0);
  });
}
