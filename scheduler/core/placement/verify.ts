/**
 * A plan checked again against what is known now, before anything of it is carried out: between the plan and its commit a node
 * may have been cordoned, a GPU quarantined, another plan carried out. As Nomad's plan applier does, it keeps the part that
 * still holds and says why the rest does not; whoever planned then plans again for what is left.
 */
import { admits, type Board, freeBytes, lift, type Part, put, type Unit } from './board.ts';
import { fitsHome } from './choices.ts';
import type {
  Assignment,
  FleetSnapshot,
  NodeSnapshot,
  PlacementPlan,
  Preemption,
  ReplicaId,
  Stop,
} from './contract.ts';
import type { Demand } from './demand.ts';
import { NODE_FILTERS, ROOM_FILTERS } from './filters.ts';
import { gpuRow } from './fleet.ts';
import { partOf } from './fit.ts';
import type { Reason } from './reasons.ts';
import { createSituation, whyUnusable } from './units.ts';

/** Why a part of a plan does not hold any more. */
export type StaleReason =
  | Reason
  | { readonly by: 'not_wanted' }
  | { readonly by: 'deployment_changed'; readonly plannedVersion: number; readonly version: number }
  /** It runs, or was started by another plan. */
  | { readonly by: 'already_placed' }
  | { readonly by: 'wrong_shape' }
  /** A GPU of the assignment is not there, not sound, or cannot be shared any more. */
  | { readonly by: 'gpu'; readonly gpu: number; readonly why: string }
  /** Whom it would preempt is gone, is not below it any more, or does not have to go. */
  | { readonly by: 'victim'; readonly victim: ReplicaId; readonly why: 'gone' | 'priority' | 'not_needed' }
  /** What it depends on was refused. */
  | { readonly by: 'depends_on'; readonly replica: ReplicaId };

export interface Refusal {
  readonly replica: ReplicaId;
  readonly node?: string;
  readonly reasons: readonly StaleReason[];
}

/** What is checked of a plan. */
export type CheckedPlan = Pick<PlacementPlan, 'assignments' | 'preemptions' | 'stops'>;

export interface Verification {
  /** What may be carried out. Its `basedOn` is the state's version. */
  readonly accepted: Pick<PlacementPlan, 'basedOn' | 'assignments' | 'preemptions' | 'stops'>;
  readonly refused: readonly Refusal[];
}

const keyOf = ({ deployment, index }: ReplicaId): string => `${index}/${deployment}`;
const idOf = ({ deployment, index }: ReplicaId): ReplicaId => ({ deployment, index });

/**
 * @param state the newest snapshot; it may be the very one of the plan
 * @returns the assignments that can all be carried out together, in the plan's order, with the preemptions that they need
 */
export function verifyPlan(plan: CheckedPlan, state: FleetSnapshot): Verification {
  const { check, spare } = createCheck(plan, state);
  const accepted = new Map<Assignment, readonly Preemption[]>();
  const refused: Refusal[] = [];
  const victimsOf = new Map<string, Preemption[]>();
  for (const each of plan.preemptions) victimsOf.set(keyOf(each.by), [...(victimsOf.get(keyOf(each.by)) ?? []), each]);
  const stopped = new Set<string>();
  // Whoever takes what another's victim leaves comes after that other; else the order is the plan's.
  for (const assignment of inOrder(plan.assignments, plan.preemptions)) {
    const victims = victimsOf.get(keyOf(assignment)) ?? [];
    const found = check(assignment, victims);
    if (found.length > 0) {
      refused.push(...found);
      continue;
    }
    accepted.set(assignment, victims);
    for (const victim of victims) stopped.add(keyOf(victim));
  }
  const spared = new Set<string>();
  for (const victim of spare()) {
    spared.add(keyOf(victim));
    refused.push({ replica: victim, reasons: [{ by: 'victim', victim, why: 'not_needed' }] });
  }
  const assignments = plan.assignments.filter((each) => accepted.has(each) && !spared.has(keyOf(each)));
  const preemptions = plan.preemptions.filter((each) => stopped.has(keyOf(each)) && !spared.has(keyOf(each)));
  const stops = plan.stops.filter((stop) => stillSurplus(stop, state));
  return { accepted: { basedOn: state.version, assignments, preemptions, stops }, refused };
}

/** Each assignment after those that preempt whom it waits for, and a preempted replica after its own preemptor. */
function inOrder(assignments: readonly Assignment[], preemptions: readonly Preemption[]): Assignment[] {
  const preemptor = new Map(preemptions.map((each) => [keyOf(each), keyOf(each.by)]));
  const known = new Map(assignments.map((each) => [keyOf(each), each]));
  const ordered = new Set<Assignment>();
  const visiting = new Set<Assignment>();
  const visit = (assignment: Assignment): void => {
    if (ordered.has(assignment) || visiting.has(assignment)) return;
    visiting.add(assignment);
    for (const victim of [...assignment.waitsFor, assignment]) {
      const before = known.get(preemptor.get(keyOf(victim)) ?? '');
      if (before !== undefined && before !== assignment) visit(before);
    }
    ordered.add(assignment);
  };
  for (const assignment of assignments) visit(assignment);
  return [...ordered];
}

function stillSurplus({ deployment, index }: Stop, { deployments, placements }: FleetSnapshot): boolean {
  const running = placements.filter((each) => each.deployment === deployment);
  const wanted = deployments.find((each) => each.name === deployment)?.replicas ?? 0;
  return running.length > wanted && running.some((each) => each.index === index);
}

interface Check {
  check(assignment: Assignment, victims: readonly Preemption[]): Refusal[];
  /** Victims of what was accepted who need not go. */
  spare(): ReplicaId[];
}

function createCheck(plan: CheckedPlan, state: FleetSnapshot): Check {
  const { board, units } = createSituation(state);
  const running = new Map<string, Unit>();
  const open = new Map<string, Unit>();
  for (const unit of units) (unit.state === 'waiting' ? open : running).set(keyOf(unit), unit);
  const planned = new Set(plan.preemptions.map(keyOf));
  const byName = new Map(board.demands.map((demand) => [demand.wanted.name, demand]));
  const driven: Unit[] = [];
  const check: Check['check'] = (assignment, preemptions) => {
    const replica = idOf(assignment);
    const refuse = (reasons: readonly StaleReason[]): Refusal[] => [{ replica, reasons }];
    const demand = byName.get(assignment.deployment);
    const changed = demandTrouble(assignment, demand);
    if (demand === undefined || changed !== undefined) return refuse([changed ?? { by: 'not_wanted' }]);
    const unit = open.get(keyOf(assignment));
    // A preempted replica can be placed anew only once its preemption holds.
    if (unit === undefined)
      return refuse([planned.has(keyOf(assignment)) ? { by: 'depends_on', replica } : { by: 'already_placed' }]);
    const victims = preemptions.map((each) => running.get(keyOf(each)));
    const wrong = preemptions.flatMap((each, i) => victimTrouble(each, victims[i], unit));
    if (wrong.length > 0) return refuse(wrong);
    const gone = victims as Unit[];
    for (const victim of gone) lift(board, victim);
    const troubles = assignment.parts.flatMap((part) => partTrouble(board, state, replica, demand, part));
    const shape = troubles.length === 0 ? shapeTrouble(board, demand, assignment) : [];
    if (troubles.length === 0 && shape.length === 0) {
      put(board, unit, partsOf(board, demand, assignment), 'placed');
      for (const victim of gone) open.set(keyOf(victim), victim);
      open.delete(keyOf(assignment));
      driven.push(...gone);
      return [];
    }
    for (const victim of gone) put(board, victim, victim.home, 'kept');
    return shape.length > 0 ? refuse(shape) : troubles;
  };
  return { check, spare: () => driven.filter((victim) => isSpared(board, victim)).map(idOf) };
}

/** Whether a victim can stay where it is beside all that was accepted; then it does. */
function isSpared(board: Board, victim: Unit): boolean {
  const { parts, state } = victim;
  if (state === 'placed') lift(board, victim);
  if (fitsHome(board, victim)) {
    put(board, victim, victim.home, 'kept');
    return true;
  }
  if (state === 'placed') put(board, victim, parts, 'placed');
  return false;
}

function demandTrouble({ deploymentVersion }: Assignment, demand: Demand | undefined): StaleReason | undefined {
  if (demand === undefined) return { by: 'not_wanted' };
  const { version = 0 } = demand.wanted;
  return version === deploymentVersion
    ? undefined
    : { by: 'deployment_changed', plannedVersion: deploymentVersion, version };
}

function victimTrouble(preemption: Preemption, victim: Unit | undefined, by: Unit): StaleReason[] {
  const id = idOf(preemption);
  if (victim?.state !== 'kept') return [{ by: 'victim', victim: id, why: 'gone' }];
  return victim.priority < by.priority ? [] : [{ by: 'victim', victim: id, why: 'priority' }];
}

/** What speaks against one host of an assignment now. */
function partTrouble(
  board: Board,
  state: FleetSnapshot,
  replica: ReplicaId,
  demand: Demand,
  part: Assignment['parts'][number],
): Refusal[] {
  const { node: name } = part;
  const node = board.fleet.indexOf.get(name);
  if (node === undefined) return [{ replica, node: name, reasons: [{ by: 'node_unknown' }] }];
  const at = board.fleet.nodes[node] as NodeSnapshot;
  const reasons: StaleReason[] = [];
  for (const filter of NODE_FILTERS) {
    const reason = filter.refuses(at, demand.wanted, state);
    if (reason !== undefined) reasons.push(reason);
  }
  const asked = { ...demand, hostBytes: part.hostMemoryBytes };
  for (const filter of ROOM_FILTERS) {
    const reason = filter.refuses(board, node, asked);
    if (reason !== undefined) reasons.push(reason);
  }
  for (const index of part.gpus) reasons.push(...gpuTrouble(board, demand, node, index, part.gpuMemoryBytes));
  if (demand.nvlink === 'required' && demand.gpus > 1) {
    const largestIsland = largestIslandOf(board, node, part.gpus);
    if (largestIsland < part.gpus.length) reasons.push({ by: 'nvlink', needGpus: demand.gpus, largestIsland });
  }
  return reasons.length === 0 ? [] : [{ replica, node: name, reasons }];
}

function gpuTrouble(board: Board, demand: Demand, node: number, index: number, needBytes: number): StaleReason[] {
  const row = gpuRow(board.fleet, node, index);
  if (row < 0) return [{ by: 'gpu', gpu: index, why: 'gone' }];
  if (board.fleet.usable[row] === 0) return [{ by: 'gpu', gpu: index, why: whyUnusable(board, row) }];
  if (demand.allowsModel?.[board.fleet.modelId[row] as number] === 0) return [{ by: 'gpu', gpu: index, why: 'model' }];
  if (!admits(board, row, demand)) return [{ by: 'gpu', gpu: index, why: 'sharing' }];
  const free = freeBytes(board, row);
  if (free >= needBytes) return [];
  const limit = (board.measureFree[row] as number) < (board.promiseFree[row] as number) ? 'measured' : 'promised';
  const largestGpuBytes = board.fleet.totalBytes[row] as number;
  const known = {
    needBytes,
    freeBytes: Math.max(0, free),
    needGpus: 1,
    fittingGpus: 0,
    limit,
    largestGpuBytes,
  } as const;
  return [{ by: 'gpu_memory', ...known }];
}

function partsOf(board: Board, demand: Demand, { parts }: Assignment): Part[] {
  return parts.map(({ node: name, gpus, graceSpillBytes }) => {
    const node = board.fleet.indexOf.get(name) as number;
    const rows = gpus.map((index) => gpuRow(board.fleet, node, index)).sort((a, b) => a - b);
    return partOf(node, rows, demand, graceSpillBytes > 0);
  });
}

/** All or nothing, one GPU model, one region: whatever plan it came from. */
function shapeTrouble(board: Board, demand: Demand, assignment: Assignment): StaleReason[] {
  const { fleet } = board;
  const parts = partsOf(board, demand, assignment);
  const same = <Item>(items: readonly Item[]): boolean => new Set(items).size <= 1;
  const rows = parts.flatMap((part) => part.gpus);
  const isRight =
    parts.length === demand.hosts &&
    new Set(parts.map((part) => part.node)).size === demand.hosts &&
    parts.every(({ gpus }) => new Set(gpus).size === demand.gpus && gpus.length === demand.gpus) &&
    assignment.parts.every((part, i) => part.gpuMemoryBytes === parts[i]?.gpuBytes) &&
    assignment.parts.every((part, i) => part.hostMemoryBytes === parts[i]?.hostBytes) &&
    assignment.parts.every((part, i) => part.graceSpillBytes === parts[i]?.spillBytes) &&
    parts.every(({ spillBytes, gpus }) => spillBytes === 0 || gpus.every((g) => fleet.coherent[g] === 1)) &&
    same(rows.map((g) => fleet.modelId[g])) &&
    same(parts.map(({ node }) => fleet.nodes[node]?.region)) &&
    same(parts.map(({ node }) => demand.gangDomains?.of[node]));
  return isRight ? [] : [{ by: 'wrong_shape' }];
}

/** How many of these GPUs one NVLink island has at most. */
function largestIslandOf({ fleet }: Board, node: number, gpus: readonly number[]): number {
  const sizes = new Map<number, number>();
  for (const index of gpus) {
    const island = fleet.island[gpuRow(fleet, node, index)] ?? -1;
    if (island >= 0) sizes.set(island, (sizes.get(island) ?? 0) + 1);
  }
  return Math.max(0, ...sizes.values());
}
