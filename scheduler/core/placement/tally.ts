/**
 * The objective of a board while a search changes it: the parts that count whom it serves are kept up with every step, and the
 * quality is computed for the nodes that the search may touch. For one search this orders plans as objective.ts does.
 */
import { affinitySum } from './affinity.ts';
import { type Board, lift, type Part, put, type Unit } from './board.ts';
import type { Demand } from './demand.ts';
import { disruptionOf, EPSILON, unitQuality } from './objective.ts';

const PRIORITIES = 101;

export interface Tally {
  readonly board: Board;
  /** By priority. */
  readonly served: Float64Array;
  readonly names: Float64Array;
  disruption: number;
}

/** What a tally was at a moment, with the quality. */
export interface Count {
  readonly served: Float64Array;
  readonly names: Float64Array;
  readonly disruption: number;
  readonly quality: number;
}

/** Only differences count, so a search begins at 0. */
export function createTally(board: Board): Tally {
  return { board, served: new Float64Array(PRIORITIES), names: new Float64Array(PRIORITIES), disruption: 0 };
}

function count({ board, served, names }: Tally, demand: Demand, sign: 1 | -1): void {
  const { priority, id } = demand;
  const serving = (board.serving[id] as Unit[]).length;
  // The figure of the last replica, which has just come or is about to go.
  served[priority] = (served[priority] as number) + sign / serving;
  names[priority] = (names[priority] as number) + sign * (board.demands.length - id);
}

export function place(tally: Tally, unit: Unit, parts: readonly Part[]): void {
  put(tally.board, unit, parts, 'placed');
  count(tally, unit.demand as Demand, 1);
}

export function unplace(tally: Tally, unit: Unit): void {
  count(tally, unit.demand as Demand, -1);
  lift(tally.board, unit);
}

export function evict(tally: Tally, unit: Unit, by: Unit): void {
  if (unit.demand !== undefined) count(tally, unit.demand, -1);
  lift(tally.board, unit);
  unit.preemptedBy = by;
  tally.disruption += disruptionOf(unit);
}

export function bringHome(tally: Tally, unit: Unit): void {
  put(tally.board, unit, unit.home, 'kept');
  unit.preemptedBy = undefined;
  tally.disruption -= disruptionOf(unit);
  if (unit.demand !== undefined) count(tally, unit.demand, 1);
}

/** @param demands whose affinity the search may change */
export function countOf(tally: Tally, nodes: readonly number[], demands: readonly Demand[]): Count {
  const { board } = tally;
  let quality = 0;
  const seen = new Set<Unit>();
  for (const n of nodes) {
    for (const unit of board.onNode[n] ?? []) {
      if (unit.state !== 'placed' || unit.demand === undefined || seen.has(unit)) continue;
      seen.add(unit);
      quality += unitQuality(board, unit, unit.demand);
    }
  }
  for (const demand of demands) quality += affinitySum(board, demand);
  return { served: tally.served.slice(), names: tally.names.slice(), disruption: tally.disruption, quality };
}

/** Above 0: the left is better. */
export function compareCounts(left: Count, right: Count): number {
  for (let p = PRIORITIES - 1; p >= 0; p--) {
    const order = (left.served[p] as number) - (right.served[p] as number);
    if (Math.abs(order) > EPSILON) return order;
  }
  if (left.disruption !== right.disruption) return right.disruption - left.disruption;
  for (let p = PRIORITIES - 1; p >= 0; p--) {
    const order = (left.names[p] as number) - (right.names[p] as number);
    if (order !== 0) return order;
  }
  return Math.abs(left.quality - right.quality) > EPSILON ? left.quality - right.quality : 0;
}
