/**
 * A few moves that turn scattered free memory into whole GPUs, on request of an operator. A move starts the replica in its new
 * place before it stops the old one, so each needs its memory twice for a while; the plan is a list in order, and every step fits
 * after the ones before it. Nothing is moved by itself: each move costs a load of weights and the warm caches.
 */
import { conflictOn } from './affinity.ts';
import { type Board, freeBytes, lift, put, type Unit } from './board.ts';
import type { AssignedPart, FleetSnapshot, ReplicaId } from './contract.ts';
import type { Demand } from './demand.ts';
import { createEligibility } from './eligible.ts';
import { fit, foundPart, NO_FIT } from './fit.ts';
import { assignedPart } from './planner.ts';
import { pickPlace } from './pick.ts';
import { createSituation } from './units.ts';

export interface Move extends ReplicaId {
  readonly from: readonly { readonly node: string; readonly gpus: readonly number[] }[];
  readonly to: readonly AssignedPart[];
}

/** What is free in one piece. */
export interface Wholeness {
  /** Sound GPUs with nobody on them, and nodes of which all GPUs are so. */
  readonly emptyGpus: number;
  readonly emptyNodes: number;
  /** Replicas of wanted deployments that have no place. */
  readonly pending: number;
}

export interface DefragmentPlan {
  readonly basedOn: number;
  readonly moves: readonly Move[];
  readonly before: Wholeness;
  readonly after: Wholeness;
}

export interface DefragmentOptions {
  readonly maxMoves: number;
}

interface Step {
  readonly unit: Unit;
  readonly home: Unit['parts'];
}

/** @returns no moves where none frees a GPU */
export function planDefragmentation(snapshot: FleetSnapshot, { maxMoves }: DefragmentOptions): DefragmentPlan {
  const { board, units, open } = createSituation(snapshot);
  const eligibility = createEligibility(board, snapshot);
  const worthOf = new Map<Demand, Float64Array>();
  const worth = (demand: Demand): Float64Array => {
    const found = worthOf.get(demand) ?? eligibility.of(demand).slice();
    worthOf.set(demand, found);
    return found;
  };
  const wholeness = (): Wholeness => wholenessOf(board, snapshot, open);
  const before = wholeness();
  const moves: Move[] = [];
  const hopeless = new Set<number>();
  const failures: Failures = new Map();
  while (moves.length < maxMoves) {
    const gpu = emptiest(board, hopeless);
    if (gpu === undefined) break;
    const found = vacate(board, worth, gpu, maxMoves - moves.length, failures);
    if (found === undefined) hopeless.add(gpu);
    else {
      moves.push(...found.map((step) => moveOf(board, step)));
      failures.clear();
    }
  }
  return { basedOn: snapshot.version, moves, before, after: units.length === 0 ? before : wholeness() };
}

/**
 * From which GPUs a replica of each demand could go nowhere, as the board is. From two is from all: the place of the one was
 * looked at for the other. So a large fleet with no room is not searched anew for each of its GPUs.
 */
type Failures = Map<Demand, Set<number>>;
const ENOUGH_FAILURES = 2;

/** The GPU with the least on it that may all be moved. */
function emptiest(board: Board, hopeless: ReadonlySet<number>): number | undefined {
  let best: number | undefined;
  let bestTaken = Infinity;
  for (const [g, units] of board.onGpu.entries()) {
    if (units === undefined || units.length === 0 || hopeless.has(g)) continue;
    if (board.fleet.usable[g] === 0 || board.fleet.otherPromisedBytes[g] !== 0) continue;
    if (!units.every(isMovable)) continue;
    const taken = (board.fleet.totalBytes[g] as number) - freeBytes(board, g);
    if (taken >= bestTaken) continue;
    best = g;
    bestTaken = taken;
  }
  return best;
}

/** One GPU on one host, and it shares: who needs whole GPUs does not scatter memory. */
function isMovable({ state, parts, demand, sharing }: Unit): boolean {
  return (
    state === 'kept' &&
    demand !== undefined &&
    parts.length === 1 &&
    parts[0]?.gpus.length === 1 &&
    sharing !== 'exclusive'
  );
}

/** Moves all that is on a GPU onto GPUs that are in use; undefined: it cannot be done, and the board is as it was. */
function vacate(
  board: Board,
  worth: (demand: Demand) => Float64Array,
  gpu: number,
  maxMoves: number,
  failures: Failures,
): Step[] | undefined {
  const there = [...(board.onGpu[gpu] as Unit[])];
  // What was moved before takes room and gives none: who could go nowhere without that can go nowhere with it.
  const isStuck = ({ demand }: Unit): boolean => (failures.get(demand as Demand)?.size ?? 0) >= ENOUGH_FAILURES;
  if (there.length > maxMoves || there.some(isStuck)) return undefined;
  const steps: Step[] = [];
  for (const unit of there) {
    const { parts: home } = unit;
    const target = targetOf(board, unit, worth, gpu);
    if (target === undefined) {
      if (steps.length === 0) noteFailure(failures, unit.demand as Demand, gpu);
      for (const step of steps.toReversed()) {
        lift(board, step.unit);
        put(board, step.unit, step.home, 'kept');
      }
      return undefined;
    }
    lift(board, unit);
    put(board, unit, target, 'kept');
    steps.push({ unit, home });
  }
  return steps;
}

/** Where somebody else is in the way of anti-affinity the next may have nobody in his. */
function noteFailure(failures: Failures, demand: Demand, gpu: number): void {
  if (demand.conflicts.length > 0) return;
  const from = failures.get(demand) ?? new Set<number>();
  failures.set(demand, from.add(gpu));
}

/** The place in use that is fullest with it; the old one stays taken meanwhile. */
function targetOf(
  board: Board,
  unit: Unit,
  worth: (demand: Demand) => Float64Array,
  avoid: number,
): Unit['parts'] | undefined {
  const demand = { ...(unit.demand as Demand), isPacked: true };
  const worths = worth(unit.demand as Demand);
  let best: Unit['parts'] | undefined;
  let bestScore = NO_FIT;
  // An empty GPU would only change places with this one, so those count as full.
  const { usable } = board.fleet;
  for (let n = 0; n < worths.length; n++) {
    if (worths[n] === -Infinity || conflictBut(board, n, demand, unit)) continue;
    const closed: number[] = [];
    for (let g = board.fleet.gpuStart[n] as number; g < (board.fleet.gpuStart[n + 1] as number); g++) {
      if (usable[g] === 1 && (g === avoid || board.engines[g] === 0)) closed.push(g);
    }
    for (const g of closed) usable[g] = 0;
    const score = fit(board, n, demand);
    if (score > bestScore) {
      bestScore = score;
      best = [foundPart(n, unit.demand as Demand)];
    }
    for (const g of closed) usable[g] = 1;
  }
  return best;
}

/** Whether required anti-affinity forbids the node, the unit's own present place left aside. */
function conflictBut(board: Board, node: number, demand: Demand, unit: Unit): boolean {
  if (demand.conflicts.length === 0) return false;
  const { parts } = unit;
  lift(board, unit);
  const isForbidden = conflictOn(board, node, demand) !== undefined;
  put(board, unit, parts, 'kept');
  return isForbidden;
}

function moveOf(board: Board, { unit, home }: Step): Move {
  const { deployment, index, parts } = unit;
  const from = home.map((part) => ({
    node: board.fleet.nodes[part.node]?.name as string,
    gpus: part.gpus.map((g) => board.fleet.gpus[g]?.index as number),
  }));
  return { deployment, index, from, to: parts.map((part) => assignedPart(board, part)) };
}

function wholenessOf(board: Board, snapshot: FleetSnapshot, open: readonly Unit[]): Wholeness {
  const { fleet, engines } = board;
  let emptyGpus = 0;
  let emptyNodes = 0;
  for (const n of fleet.nodes.keys()) {
    const from = fleet.gpuStart[n] as number;
    const to = fleet.gpuStart[n + 1] as number;
    let here = 0;
    for (let g = from; g < to; g++) {
      if (fleet.usable[g] === 1 && engines[g] === 0 && fleet.otherPromisedBytes[g] === 0) here += 1;
    }
    emptyGpus += here;
    if (to > from && here === to - from) emptyNodes += 1;
  }
  return { emptyGpus, emptyNodes, pending: countPending(board, snapshot, open) };
}

/** How many waiting replicas would have no place, hardest first; the board is left as it was. */
function countPending(board: Board, snapshot: FleetSnapshot, open: readonly Unit[]): number {
  const eligibility = createEligibility(board, snapshot);
  const placed: Unit[] = [];
  for (const unit of open.toSorted((a, b) => b.priority - a.priority || sizeOf(b) - sizeOf(a) || a.id - b.id)) {
    const parts = unit.demand === undefined ? undefined : pickPlace(board, eligibility, unit.demand);
    if (parts === undefined) continue;
    put(board, unit, parts, 'placed');
    placed.push(unit);
  }
  for (const unit of placed) lift(board, unit);
  return open.length - placed.length;
}

const sizeOf = ({ demand }: Unit): number =>
  demand === undefined ? 0 : demand.hosts * Math.max(1, demand.gpus) * demand.gpuBytes;
