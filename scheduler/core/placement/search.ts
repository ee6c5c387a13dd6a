/**
 * A search over all plans for a few replicas on a few nodes: branch and bound, the most promising place first, within a bound
 * of steps. It leaves the board at the best plan that it saw, which is never worse than the one it began with.
 */
import type { Board, Part, Unit } from './board.ts';
import { type Area, choicesFor, fitsHome } from './choices.ts';
import type { Demand } from './demand.ts';
import {
  bringHome,
  compareCounts,
  type Count,
  countOf,
  createTally,
  evict,
  place,
  type Tally,
  unplace,
} from './tally.ts';

export interface SearchTask {
  readonly area: Area;
  /** Placed or waiting: what is to be placed anew. */
  readonly pool: readonly Unit[];
  /** Replicas that were preempted for units of the pool; they are brought home first. */
  readonly evicted: readonly Unit[];
  /** Demands whose affinity counts. */
  readonly demands: readonly Demand[];
  readonly maxSteps: number;
}

interface Saved {
  readonly unit: Unit;
  readonly parts: readonly Part[];
  readonly preemptedBy: Unit | undefined;
}

interface Search {
  readonly tally: Tally;
  readonly task: SearchTask;
  best: Count;
  bestState: readonly Saved[];
  stepsLeft: number;
  /** Units that this search moved: the pool, and whoever was preempted in it. */
  readonly touched: Set<Unit>;
}

/** @returns steps that were taken, and whether the plan is better now */
export function search(board: Board, task: SearchTask): { readonly steps: number; readonly isBetter: boolean } {
  const tally = createTally(board);
  const touched = new Set([...task.pool, ...task.evicted]);
  const before = countOf(tally, task.area.nodes, task.demands);
  const state: Search = {
    tally,
    task,
    best: before,
    bestState: saveAll(touched),
    stepsLeft: task.maxSteps,
    touched,
  };
  const begun = state.bestState;
  for (const unit of touched) if (unit.state === 'placed') unplace(tally, unit);
  for (const unit of task.evicted) if (fitsHome(board, unit)) bringHome(tally, unit);
  // Somebody of lower priority may have the home of one of them by now; then this is no way to something better.
  if (task.evicted.every((unit) => unit.state === 'kept')) {
    const waiting = task.pool.filter((unit) => unit.state === 'waiting');
    descend(state, waiting.sort(byRank));
  }
  restore(tally, touched, state.bestState);
  return { steps: task.maxSteps - state.stepsLeft, isBetter: state.bestState !== begun };
}

const byRank = (a: Unit, b: Unit): number =>
  b.priority - a.priority || (a.demand?.id ?? 0) - (b.demand?.id ?? 0) || a.index - b.index;

function saveAll(units: ReadonlySet<Unit>): Saved[] {
  return [...units].map((unit) => ({ unit, parts: unit.parts, preemptedBy: unit.preemptedBy }));
}

function restore(tally: Tally, touched: ReadonlySet<Unit>, saved: readonly Saved[]): void {
  for (const unit of touched) if (unit.state === 'placed') unplace(tally, unit);
  const known = new Map(saved.map((each) => [each.unit, each]));
  for (const unit of touched) {
    const by = known.get(unit)?.preemptedBy;
    if (by === undefined && unit.preemptedBy !== undefined) bringHome(tally, unit);
    else if (by !== undefined && unit.preemptedBy === undefined) evict(tally, unit, by);
    else unit.preemptedBy = by;
  }
  for (const { unit, parts } of saved) if (unit.state === 'waiting' && parts.length > 0) place(tally, unit, parts);
}

function descend(state: Search, waiting: readonly Unit[]): void {
  state.stepsLeft -= 1;
  const { tally, task } = state;
  const [unit, ...rest] = waiting;
  if (unit === undefined) {
    const found = countOf(tally, task.area.nodes, task.demands);
    if (compareCounts(found, state.best) <= 0) return;
    state.best = found;
    state.bestState = saveAll(state.touched);
    return;
  }
  if (state.stepsLeft <= 0 || compareCounts(bestPossible(state, waiting), state.best) <= 0) return;
  const demand = unit.demand as Demand;
  for (const { parts, victims } of choicesFor(tally.board, task.area, unit, demand)) {
    if (state.stepsLeft <= 0) return;
    const added = victims.filter((victim) => !state.touched.has(victim));
    for (const victim of victims) {
      state.touched.add(victim);
      evict(tally, victim, unit);
    }
    place(tally, unit, parts);
    const again = victims.filter((victim) => victim.demand !== undefined);
    descend(state, again.length === 0 ? rest : [...rest, ...again].sort(byRank));
    unplace(tally, unit);
    for (const victim of victims) bringHome(tally, victim);
    for (const victim of added) if (!isSaved(state, victim)) state.touched.delete(victim);
  }
  descend(state, rest);
}

const isSaved = ({ bestState }: Search, unit: Unit): boolean => bestState.some((saved) => saved.unit === unit);

/** What no continuation can surpass: all that wait are placed, each at the best scores that there are. */
function bestPossible({ tally, task }: Search, waiting: readonly Unit[]): Count {
  const served = tally.served.slice();
  const names = tally.names.slice();
  const more = new Map<Demand, number>();
  const { board } = tally;
  for (const { demand } of waiting) {
    if (demand === undefined) continue;
    const extra = (more.get(demand) ?? 0) + 1;
    more.set(demand, extra);
    const { priority, id } = demand;
    served[priority] = (served[priority] as number) + 1 / ((board.serving[id] as Unit[]).length + extra);
    names[priority] = (names[priority] as number) + board.demands.length - id;
  }
  let quality = 0;
  const seen = new Set<Unit>(waiting);
  for (const n of task.area.nodes)
    for (const unit of board.onNode[n] ?? []) if (unit.state === 'placed') seen.add(unit);
  for (const unit of seen) if (unit.demand !== undefined) quality += mostOf(task.area, unit.demand);
  for (const demand of task.demands) {
    const units = (board.serving[demand.id] as Unit[]).length + (more.get(demand) ?? 0);
    quality += units * demand.hosts * gainOf(demand);
  }
  return { served, names, disruption: tally.disruption, quality };
}

/** The most that one placed replica can score. */
function mostOf(area: Area, demand: Demand): number {
  let worth = -Infinity;
  const own = area.worth.get(demand);
  for (const n of area.nodes) worth = Math.max(worth, own?.[n] ?? 0);
  return (worth === -Infinity ? 0 : worth) + 1 + (demand.gpus > 1 ? 1.1 : 0);
}

/** The most that preferred affinity can add for one part. */
function gainOf(demand: Demand): number {
  let sum = 0;
  for (const { gain } of demand.soft) sum += Math.max(0, gain) * Math.max(1, demand.wanted.replicas) * demand.hosts;
  return sum;
}
