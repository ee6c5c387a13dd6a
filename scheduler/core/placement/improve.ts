/**
 * A plan made better: a few replicas on a few nodes are taken up and placed anew by search.ts, again and again (large
 * neighbourhood search, Shaw 1998). A small fleet is one neighbourhood, so its plan is the best there is, as long as the
 * steps suffice. What is drawn comes from a seeded source, and steps are counted, not seconds: a plan can be repeated.
 */
import type { RandomSource } from '../../../lib/rng.ts';
import type { Board, Unit } from './board.ts';
import type { Area } from './choices.ts';
import type { Demand } from './demand.ts';
import type { Eligibility } from './eligible.ts';
import { search } from './search.ts';
import type { Situation } from './units.ts';

export interface ImproveOptions {
  /** Steps of the search in all. */
  readonly maxSteps: number;
  readonly random: RandomSource;
}

/** Nodes and replicas of one neighbourhood, and of a fleet that is taken as one. */
const AREA_NODES = 6;
const POOL_UNITS = 6;
const SMALL_NODES = 12;
const SMALL_UNITS = 10;
/** Steps of one search, and rounds in a row without a gain after which it is enough. */
const ROUND_STEPS = 2000;
const MOST_IDLE_ROUNDS = 40;

export function improve(situation: Situation, eligibility: Eligibility, { maxSteps, random }: ImproveOptions): void {
  const { board, units } = situation;
  const movable = units.filter(
    (unit) => unit.demand !== undefined && (unit.state === 'placed' || unit.state === 'waiting'),
  );
  if (movable.length === 0) return;
  const worthOf = createWorth(eligibility);
  const changes = board.changed.length;
  let left = maxSteps;
  const { nodes } = board.fleet;
  const all = nodes.map((_, n) => n);
  if (nodes.length <= SMALL_NODES && movable.length <= SMALL_UNITS) {
    const limit = Math.ceil(left / 2);
    const { steps } = runRound(situation, worthOf, all, movable, limit);
    board.changed.length = changes;
    // The search came to its end: there is nothing better.
    if (steps < limit) return;
    left -= steps;
  }
  for (let idle = 0; left > 0 && idle < MOST_IDLE_ROUNDS; ) {
    const { area, pool } = draw(board, units, worthOf, random);
    const { steps, isBetter } = runRound(situation, worthOf, area, pool, Math.min(left, ROUND_STEPS));
    left -= Math.max(1, steps);
    idle = isBetter ? 0 : idle + 1;
    // Nobody reads this list any more; it would grow with every step that was tried.
    board.changed.length = changes;
  }
}

type WorthOf = (demand: Demand) => Float64Array;

function createWorth(eligibility: Eligibility): WorthOf {
  const known = new Map<Demand, Float64Array>();
  return (demand) => {
    const found = known.get(demand) ?? eligibility.of(demand).slice();
    if (known.size >= 256) known.clear();
    known.set(demand, found);
    return found;
  };
}

/** A replica that waits, or any, and nodes that it may use, with what was placed there. */
function draw(
  board: Board,
  units: readonly Unit[],
  worthOf: WorthOf,
  random: RandomSource,
): { readonly area: readonly number[]; readonly pool: readonly Unit[] } {
  const pickFrom = <Item>(items: readonly Item[]): Item => items[Math.floor(random.next() * items.length)] as Item;
  const movable = units.filter(
    (unit) => unit.demand !== undefined && (unit.state === 'placed' || unit.state === 'waiting'),
  );
  const waiting = movable.filter((unit) => unit.state === 'waiting');
  const seed = waiting.length > 0 && random.next() < 0.5 ? pickFrom(waiting) : pickFrom(movable);
  const area = new Set(seed.parts.map((part) => part.node));
  const worth = worthOf(seed.demand as Demand);
  const usable = [...worth.keys()].filter((n) => worth[n] !== -Infinity);
  for (let tries = 0; usable.length > 0 && area.size < AREA_NODES && tries < 4 * AREA_NODES; tries++)
    area.add(pickFrom(usable));
  const pool = new Set([seed]);
  if (waiting.length > 0 && random.next() < 0.5) pool.add(pickFrom(waiting));
  const there = [...area].flatMap((n) => (board.onNode[n] ?? []).filter((unit) => unit.state === 'placed'));
  while (pool.size < POOL_UNITS && there.length > 0) {
    const at = Math.floor(random.next() * there.length);
    pool.add(there[at] as Unit);
    there.splice(at, 1);
  }
  return { area: [...area].sort((a, b) => a - b), pool: [...pool] };
}

function runRound(
  { board, units }: Situation,
  worthOf: WorthOf,
  nodes: readonly number[],
  wanted: readonly Unit[],
  maxSteps: number,
): { readonly steps: number; readonly isBetter: boolean } {
  const inside = new Set(nodes);
  const isInside = (unit: Unit): boolean =>
    unit.parts.every((part) => inside.has(part.node)) && unit.home.every((part) => inside.has(part.node));
  const pool = new Set(wanted.filter(isInside));
  const evicted = new Set<Unit>();
  const preempted = units.filter((unit) => unit.preemptedBy !== undefined);
  // Whoever is taken up takes those whom it preempted with it, and they whom they preempted.
  for (const unit of pool) {
    for (const victim of preempted) if (victim.preemptedBy === unit) pool.add(victim);
    if (unit.preemptedBy !== undefined && pool.has(unit.preemptedBy)) evicted.add(unit);
  }
  if (pool.size === 0 || ![...pool].every(isInside)) return { steps: 1, isBetter: false };
  const involved = new Set<Demand>();
  for (const { demand } of pool) if (demand !== undefined) involved.add(demand);
  for (const n of nodes) for (const { demand } of board.onNode[n] ?? []) if (demand !== undefined) involved.add(demand);
  const demands = board.demands.filter(
    (demand) =>
      demand.soft.length > 0 &&
      (involved.has(demand) || demand.soft.some(({ other }) => involved.has(board.demands[other] as Demand))),
  );
  const area = areaOf(board, nodes, [...involved], worthOf);
  return search(board, { area, pool: [...pool], evicted: [...evicted], demands, maxSteps });
}

function areaOf(board: Board, nodes: readonly number[], demands: readonly Demand[], worthOf: WorthOf): Area {
  const worth = new Map(demands.map((demand) => [demand, worthOf(demand)]));
  const signs = new Map<number, string>();
  for (const n of nodes) {
    const parts: unknown[] = [board.fleet.nodes[n]?.region];
    for (const demand of demands) {
      parts.push(worth.get(demand)?.[n], demand.gangDomains?.of[n]);
      for (const { domains } of [...demand.soft, ...demand.conflicts]) parts.push(domains.of[n]);
    }
    signs.set(n, parts.join());
  }
  return { nodes, worth, signs };
}
