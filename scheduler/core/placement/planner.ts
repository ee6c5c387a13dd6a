/**
 * From a snapshot to a plan: pure, and the same for the same seed. Feasible nodes, score, pick; preemption where there is no
 * room; then a search for something better within a bound of steps. verify.ts checks the plan again before it is carried out.
 */
import { type RandomSource, seededRandom } from '../../../lib/rng.ts';
import type { Board, Part, Unit } from './board.ts';
import type {
  AssignedPart,
  Assignment,
  AssignmentCause,
  FleetSnapshot,
  NodeSnapshot,
  PlacementPlan,
  Preemption,
  ReplicaId,
  ScorePart,
} from './contract.ts';
import type { Demand } from './demand.ts';
import { createEligibility } from './eligible.ts';
import { standingView } from './fit.ts';
import { placeGreedily } from './greedy.ts';
import { improve } from './improve.ts';
import { settleLeftovers } from './leftovers.ts';
import { objectiveOfBoard } from './objective.ts';
import { NODE_SCORES, PART_SCORES } from './scores.ts';
import { createSituation, type Situation } from './units.ts';

export interface PlanOptions {
  /** Where the search for something better draws its neighbourhoods from; absent: the seed 1. */
  readonly random?: RandomSource;
  /** Bound of that search; 0: none. Absent: 20,000, which is well under a second, and 5,000 for a large fleet. */
  readonly searchSteps?: number;
}

const SEARCH_STEPS = 20_000;
const LARGE_NODES = 500;
const LARGE_SEARCH_STEPS = 5000;

/** @throws CodedError invalid_value: the snapshot contradicts itself, or a number in it cannot be */
export function planPlacement(snapshot: FleetSnapshot, options: PlanOptions = {}): PlacementPlan {
  const situation = createSituation(snapshot);
  const { board } = situation;
  const eligibility = createEligibility(board, snapshot);
  placeGreedily(situation, eligibility);
  const steps = snapshot.nodes.length > LARGE_NODES ? LARGE_SEARCH_STEPS : SEARCH_STEPS;
  const { random = seededRandom(1), searchSteps: maxSteps = steps } = options;
  improve(situation, eligibility, { maxSteps, random });
  settleLeftovers(situation, eligibility);
  return planOf(snapshot, situation);
}

function planOf({ version }: FleetSnapshot, { board, units, stops, leaving }: Situation): PlacementPlan {
  const assignments: Assignment[] = [];
  const preemptions: Preemption[] = [];
  const pending: ReplicaId[] = [];
  let kept = 0;
  const victimsOn = new Map<number, Unit[]>();
  for (const unit of units) {
    if (unit.preemptedBy === undefined) continue;
    for (const { node } of unit.home) victimsOn.set(node, [...(victimsOn.get(node) ?? []), unit]);
    preemptions.push(preemptionOf(board, unit, unit.preemptedBy));
  }
  for (const unit of units) {
    if (unit.state === 'kept') kept += 1;
    if (unit.state === 'waiting') pending.push(idOf(unit));
    if (unit.state !== 'placed' || unit.demand === undefined) continue;
    assignments.push(assignmentOf(board, unit, unit.demand, waitsFor(unit, victimsOn), causeOf(board, unit, leaving)));
  }
  const byName = (a: ReplicaId, b: ReplicaId): number =>
    a.deployment < b.deployment ? -1 : a.deployment > b.deployment ? 1 : a.index - b.index;
  return {
    basedOn: version,
    assignments: assignments.sort((a, b) => b.priority - a.priority || byName(a, b)),
    preemptions: preemptions.sort(byName),
    stops: [...stops].sort(byName),
    pending: pending.sort(byName),
    kept,
    objective: objectiveOfBoard(board, units),
  };
}

const idOf = ({ deployment, index }: Unit): ReplicaId => ({ deployment, index });

const nodeNames = ({ fleet }: Board, parts: readonly Part[]): string[] =>
  parts.map(({ node }) => (fleet.nodes[node] as NodeSnapshot).name);

function preemptionOf(board: Board, unit: Unit, by: Unit): Preemption {
  const { priority, home } = unit;
  return { ...idOf(unit), priority, from: nodeNames(board, home), by: idOf(by), byPriority: by.priority };
}

function causeOf(board: Board, unit: Unit, leaving: Situation['leaving']): AssignmentCause {
  if (unit.preemptedBy !== undefined) return { kind: 'preempted', from: nodeNames(board, unit.home) };
  const { replaces } = unit;
  if (replaces === undefined) return { kind: 'new' };
  return { kind: 'moved', from: nodeNames(board, replaces.home), reasons: leaving.get(replaces.id) ?? [] };
}

/** Whoever it preempts itself, and everybody else who is preempted on its GPUs: their memory is free when they have stopped. */
function waitsFor(unit: Unit, victimsOn: ReadonlyMap<number, readonly Unit[]>): ReplicaId[] {
  const gpus = new Set(unit.parts.flatMap((part) => part.gpus));
  const found = new Set<Unit>();
  for (const { node } of unit.parts) {
    for (const victim of victimsOn.get(node) ?? []) {
      const isShared = victim.home.some((part) => part.gpus.some((g) => gpus.has(g)));
      if (victim !== unit && (victim.preemptedBy === unit || isShared)) found.add(victim);
    }
  }
  return [...found].map(idOf);
}

function assignmentOf(
  board: Board,
  unit: Unit,
  demand: Demand,
  waits: readonly ReplicaId[],
  cause: AssignmentCause,
): Assignment {
  return {
    ...idOf(unit),
    deploymentVersion: demand.wanted.version ?? 0,
    priority: unit.priority,
    parts: unit.parts.map((part) => assignedPart(board, part)),
    cause,
    waitsFor: waits,
    score: scoreParts(board, unit, demand),
  };
}

export function assignedPart({ fleet }: Board, { node, gpus, gpuBytes, spillBytes, hostBytes }: Part): AssignedPart {
  const smallest = gpus.reduce((least, g) => Math.min(least, fleet.totalBytes[g] as number), Infinity);
  return {
    node: (fleet.nodes[node] as NodeSnapshot).name,
    gpus: gpus.map((g) => fleet.gpus[g]?.index as number),
    gpuMemoryBytes: gpuBytes,
    graceSpillBytes: spillBytes,
    gpuMemoryShare: gpus.length === 0 || smallest === 0 ? 0 : gpuBytes / smallest,
    hostMemoryBytes: hostBytes,
  };
}

/** What the place is worth, score by score, as the mean over its hosts; scores that are 0 are left out. */
export function scoreParts(board: Board, { parts }: Pick<Unit, 'parts'>, demand: Demand): ScorePart[] {
  const sums = new Map<string, { value: number; readonly weight: number }>();
  const add = (name: string, weight: number, value: number): void => {
    const sum = sums.get(name) ?? { value: 0, weight };
    sum.value += value / parts.length;
    sums.set(name, sum);
  };
  for (const part of parts) {
    const node = board.fleet.nodes[part.node] as NodeSnapshot;
    for (const { name, weight, of } of NODE_SCORES) add(name, weight, of(node, demand.wanted));
    const view = standingView(board, part, demand);
    for (const { name, weight, of } of PART_SCORES) add(name, weight, of(view));
  }
  return [...sums].flatMap(([name, { value, weight }]) => (value === 0 ? [] : [{ name, value, weight }]));
}
