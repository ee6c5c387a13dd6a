/**
 * A first plan: replicas in the order of their priority, each to the best place that is left, with preemption where there is
 * none. The order within a priority matters only where room is short; several are tried then, and the best one stays.
 */
import { type Board, lift, type Part, put, type Unit } from './board.ts';
import type { Demand } from './demand.ts';
import type { Eligibility } from './eligible.ts';
import { disruptionOf, EPSILON } from './objective.ts';
import { pickPlace } from './pick.ts';
import { createPreemptor, type Takeover } from './preempt.ts';
import type { Situation } from './units.ts';

const HIGHEST_PRIORITY = 100;

/** A unit that waits, and how many of its deployment come before it. */
interface Waiting {
  readonly unit: Unit;
  readonly demand: Demand;
  readonly rank: number;
}

type Order = (left: Waiting, right: Waiting) => number;

const size = ({ hosts, gpus, gpuBytes }: Demand): number => hosts * Math.max(1, gpus) * gpuBytes;
const byName: Order = (a, b) => a.demand.id - b.demand.id || a.unit.index - b.unit.index;

/** The hardest to place first. */
const hardestFirst: Order = (a, b) =>
  b.demand.hosts - a.demand.hosts ||
  b.demand.gpus - a.demand.gpus ||
  b.demand.gpuBytes - a.demand.gpuBytes ||
  byName(a, b);
/** Every deployment's next replica before any one's after that, by name. */
const inTurn: Order = (a, b) => a.rank - b.rank || byName(a, b);
/** The same, with the small ones first: more of them find room. */
const smallInTurn: Order = (a, b) => a.rank - b.rank || size(a.demand) - size(b.demand) || byName(a, b);

/** What was done for one priority. */
interface Tier {
  readonly places: ReadonlyMap<Unit, readonly Part[]>;
  readonly victims: readonly Unit[];
  /** Demands of which a replica found no place. */
  readonly missing: ReadonlySet<Demand>;
  /** By what orders of one priority are compared: whom it serves, and whom it disturbs. */
  readonly served: number;
  readonly disruption: number;
}

export function placeGreedily({ board, open }: Situation, eligibility: Eligibility): void {
  const tiers: Waiting[][] = Array.from({ length: HIGHEST_PRIORITY + 1 }, () => []);
  const ranks = board.serving.map((list) => list.length);
  const wait = (unit: Unit): void => {
    const { demand } = unit;
    if (demand === undefined) return;
    const rank = ranks[demand.id] as number;
    ranks[demand.id] = rank + 1;
    (tiers[demand.priority] as Waiting[]).push({ unit, demand, rank });
  };
  for (const unit of open) wait(unit);
  for (let priority = HIGHEST_PRIORITY; priority >= 0; priority--) {
    const waiting = tiers[priority] as Waiting[];
    for (const victim of placeTier(board, eligibility, waiting)) wait(victim);
  }
}

/** @returns the victims */
function placeTier(board: Board, eligibility: Eligibility, waiting: readonly Waiting[]): readonly Unit[] {
  let done = tryOrder(board, eligibility, waiting.toSorted(hardestFirst));
  let order = hardestFirst;
  if (done.victims.length === 0 && !mayOrderHelp(board, eligibility, waiting, done)) return [];
  let best = done;
  for (const other of [inTurn, smallInTurn]) {
    takeBack(board, done);
    done = tryOrder(board, eligibility, waiting.toSorted(other));
    if (!isBetter(done, best)) continue;
    best = done;
    order = other;
  }
  if (best === done) return done.victims;
  takeBack(board, done);
  return tryOrder(board, eligibility, waiting.toSorted(order)).victims;
}

/** Whether another order could help: some replica is missing that would have had a place before the others came. */
function mayOrderHelp(board: Board, eligibility: Eligibility, waiting: readonly Waiting[], done: Tier): boolean {
  if (done.missing.size === 0) return false;
  takeBack(board, done);
  const preemptor = createPreemptor(board, eligibility);
  let found = false;
  for (const demand of done.missing) {
    const unit = waiting.find((each) => each.demand === demand)?.unit as Unit;
    found = pickPlace(board, eligibility, demand) !== undefined || preemptor.find(unit, demand) !== undefined;
    if (found) break;
  }
  for (const [unit, parts] of done.places) put(board, unit, parts, 'placed');
  return found;
}

function isBetter(left: Tier, right: Tier): boolean {
  return Math.abs(left.served - right.served) > EPSILON
    ? left.served > right.served
    : left.disruption < right.disruption;
}

function takeBack(board: Board, { places, victims }: Tier): void {
  for (const unit of places.keys()) lift(board, unit);
  for (const unit of victims) {
    unit.preemptedBy = undefined;
    put(board, unit, unit.home, 'kept');
  }
}

function tryOrder(board: Board, eligibility: Eligibility, waiting: readonly Waiting[]): Tier {
  const preemptor = createPreemptor(board, eligibility);
  const places = new Map<Unit, readonly Part[]>();
  const missing = new Set<Demand>();
  const victims: Unit[] = [];
  // Room only shrinks until somebody is preempted, so what one replica of a deployment did not find, its next will not either.
  const hopeless = new Set<Demand>();
  let served = 0;
  for (const { unit, demand } of waiting) {
    if (hopeless.has(demand)) continue;
    const parts = pickPlace(board, eligibility, demand);
    if (parts === undefined) {
      const found = preemptor.find(unit, demand);
      if (found === undefined) {
        hopeless.add(demand);
        missing.add(demand);
        continue;
      }
      victims.push(...takeOver(board, unit, found));
      // What a victim leaves over may do for another; a gang would have to look at every node again for it.
      for (const other of hopeless) if (other.hosts === 1) hopeless.delete(other);
    } else put(board, unit, parts, 'placed');
    places.set(unit, unit.parts);
    served += 1 / (board.serving[demand.id] as Unit[]).length;
  }
  const disruption = victims.reduce((sum, victim) => sum + disruptionOf(victim), 0);
  return { places, victims, missing, served, disruption };
}

/** @returns the victims, who wait now */
export function takeOver(board: Board, unit: Unit, { parts, victims }: Takeover): readonly Unit[] {
  for (const victim of victims) {
    lift(board, victim);
    victim.preemptedBy = unit;
  }
  put(board, unit, parts, 'placed');
  return victims;
}
