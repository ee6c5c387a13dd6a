/**
 * Why a deployment is where it is, or is nowhere: for every node what speaks against it, or what it is worth, and what would
 * have to change. Computed for whoever asks, never while planning: a plan for thousands of replicas keeps no verdicts.
 */
import { surroundings } from './affinity.ts';
import { type Board, lift, type Part, put, type Unit } from './board.ts';
import { type Change, changeFor, preemptionChange } from './changes.ts';
import type { FleetSnapshot, NodeSnapshot, PlacementPlan, ReplicaId, ScorePart } from './contract.ts';
import type { Demand } from './demand.ts';
import { nodeWorth } from './eligible.ts';
import { fit, foundPart, NO_FIT } from './fit.ts';
import { GPU_FILTERS, NODE_FILTERS, ROOM_FILTERS } from './filters.ts';
import { partsOfAssignment } from './objective.ts';
import { gangKey, gangModels } from './pick.ts';
import { scoreParts } from './planner.ts';
import type { GangDomain, Reason } from './reasons.ts';
import { createSituation } from './units.ts';

export type Verdict =
  /** Replicas of the deployment run there, or this plan puts them there. */
  | {
      readonly kind: 'chosen';
      readonly node: string;
      readonly replicas: readonly number[];
      readonly score: readonly ScorePart[];
    }
  /** It would take one more. */
  | { readonly kind: 'feasible'; readonly node: string; readonly total: number; readonly score: readonly ScorePart[] }
  | {
      readonly kind: 'rejected';
      readonly node: string;
      /** The first reason's word and figures, and all of them. */
      readonly by: Reason['by'];
      readonly reasons: readonly Reason[];
      readonly changes: readonly Change[];
    };

export interface DeploymentExplanation {
  readonly deployment: string;
  readonly replicas: number;
  readonly running: number;
  readonly placed: number;
  readonly pending: number;
  /** One for each node, chosen ones first, then by their worth, then by name. */
  readonly verdicts: readonly Verdict[];
  /** Who preempts its replicas, or is preempted for them. */
  readonly preemptedBy: readonly { readonly replica: ReplicaId; readonly by: ReplicaId }[];
  readonly preempts: readonly ReplicaId[];
}

/**
 * @param plan what was decided for the snapshot: the room on nodes is what it leaves
 * @returns undefined: nobody wants a deployment of this name
 */
export function explainDeployment(
  snapshot: FleetSnapshot,
  plan: PlacementPlan,
  name: string,
): DeploymentExplanation | undefined {
  const { board, units } = createSituation(snapshot);
  const demand = board.demands.find((each) => each.wanted.name === name);
  if (demand === undefined) return undefined;
  carryOut(board, units, plan);
  const mine = units.filter((unit) => unit.deployment === name && unit.parts.length > 0 && unit.state !== 'leaving');
  const found = hostsByGroup(board, snapshot, demand);
  const verdicts = board.fleet.nodes.map((node, n) => {
    const here = mine.filter((unit) => unit.parts.some((part) => part.node === n));
    return here.length > 0 ? chosen(board, demand, node, n, here) : verdictOf(board, snapshot, demand, n, found);
  });
  const own = (each: ReplicaId): boolean => each.deployment === name;
  return {
    deployment: name,
    replicas: demand.wanted.replicas,
    running: mine.filter((unit) => unit.state === 'kept').length,
    placed: mine.filter((unit) => unit.state === 'placed').length,
    pending: plan.pending.filter(own).length,
    verdicts: verdicts.sort(byWorth),
    preemptedBy: plan.preemptions
      .filter(own)
      .map(({ deployment, index, by }) => ({ replica: { deployment, index }, by })),
    preempts: plan.preemptions.filter(({ by }) => own(by)).map(({ deployment, index }) => ({ deployment, index })),
  };
}

const ORDER: Readonly<Record<Verdict['kind'], number>> = { chosen: 0, feasible: 1, rejected: 2 };

function byWorth(left: Verdict, right: Verdict): number {
  const order = ORDER[left.kind] - ORDER[right.kind];
  if (order !== 0) return order;
  const worth = left.kind === 'feasible' && right.kind === 'feasible' ? right.total - left.total : 0;
  return worth || (left.node < right.node ? -1 : 1);
}

/** Puts the plan on the board. */
export function carryOut(board: Board, units: readonly Unit[], plan: PlacementPlan): void {
  const key = ({ deployment, index }: ReplicaId): string => `${index}/${deployment}`;
  const open = new Map<string, Unit>();
  const running = new Map<string, Unit>();
  for (const unit of units) (unit.state === 'waiting' ? open : running).set(key(unit), unit);
  for (const each of plan.preemptions) {
    const unit = running.get(key(each));
    if (unit === undefined) continue;
    lift(board, unit);
    open.set(key(each), unit);
  }
  for (const each of plan.assignments) {
    const unit = open.get(key(each));
    if (unit?.demand !== undefined) put(board, unit, partsOfAssignment(board, unit.demand, each.parts), 'placed');
  }
}

function chosen(board: Board, demand: Demand, { name }: NodeSnapshot, n: number, here: readonly Unit[]): Verdict {
  const parts = here.flatMap((unit) => unit.parts.filter((part) => part.node === n));
  const replicas = here.map((unit) => unit.index).sort((a, b) => a - b);
  return { kind: 'chosen', node: name, replicas, score: scoreParts(board, { parts }, demand) };
}

/** Of a gang: how many nodes of each group would take one of its hosts, by model of GPU, as a gang is of one. */
function hostsByGroup(board: Board, snapshot: FleetSnapshot, demand: Demand): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  if (demand.hosts === 1) return found;
  for (const n of board.fleet.nodes.keys()) {
    if (reasonsAgainst(board, snapshot, demand, n).length > 0) continue;
    for (const key of gangKeys(board, demand, n)) found.set(key, (found.get(key) ?? 0) + 1);
  }
  return found;
}

/** The groups, each of one model, that a node could be a host of. */
function gangKeys(board: Board, demand: Demand, n: number): string[] {
  return gangModels(board, demand)
    .filter((model) => fit(board, n, demand, model) !== NO_FIT)
    .map((model) => `${model} ${gangKey(board, n, demand)}`);
}

/** The domain in which a node may be a host of a gang; undefined: no label keeps the hosts together, or it lacks it. */
function gangDomain({ gangDomains }: Demand, n: number): GangDomain | undefined {
  const value = gangDomains?.names[gangDomains.of[n] as number];
  return gangDomains === undefined || value === undefined ? undefined : { key: gangDomains.topologyKey, value };
}

/** Everything that speaks against one more replica on a node; of the filters of GPUs the first that refuses. */
export function reasonsAgainst(board: Board, snapshot: FleetSnapshot, demand: Demand, n: number): Reason[] {
  const node = board.fleet.nodes[n] as NodeSnapshot;
  const reasons: Reason[] = [];
  const add = (reason: Reason | undefined): boolean => {
    if (reason !== undefined) reasons.push(reason);
    return reason !== undefined;
  };
  for (const filter of NODE_FILTERS) add(filter.refuses(node, demand.wanted, snapshot));
  if (!reasons.some(({ by }) => by === 'gpu_model'))
    for (const filter of GPU_FILTERS) if (add(filter.refuses(board, n, demand))) break;
  for (const filter of ROOM_FILTERS) add(filter.refuses(board, n, demand));
  return reasons;
}

function verdictOf(
  board: Board,
  snapshot: FleetSnapshot,
  demand: Demand,
  n: number,
  groups: ReadonlyMap<string, number>,
): Verdict {
  const node = board.fleet.nodes[n] as NodeSnapshot;
  const reasons = reasonsAgainst(board, snapshot, demand, n);
  if (reasons.length === 0 && demand.hosts > 1) {
    const foundHosts = Math.max(0, ...gangKeys(board, demand, n).map((key) => groups.get(key) ?? 0));
    const domain = gangDomain(demand, n);
    if (foundHosts < demand.hosts)
      reasons.push({ by: 'gang', needHosts: demand.hosts, foundHosts, ...(domain === undefined ? {} : { domain }) });
  }
  const first = reasons[0];
  if (first !== undefined) {
    const changes = [...reasons.map(changeFor), ...preemptionChange(board, demand, n)];
    return { kind: 'rejected', node: node.name, by: first.by, reasons, changes };
  }
  const score = fit(board, n, demand);
  const part = foundPart(n, demand);
  const total = nodeWorth(node, demand.wanted) + score + (surroundings(board, demand)?.at(n) ?? 0);
  return { kind: 'feasible', node: node.name, total, score: scoreIfPlaced(board, demand, part) };
}

function scoreIfPlaced(board: Board, demand: Demand, part: Part): ScorePart[] {
  const { priority, tenant, sharing, ports, wanted } = demand;
  const unit: Unit = {
    id: -1,
    demand,
    deployment: wanted.name,
    index: -1,
    priority,
    tenant,
    sharing,
    ports,
    home: [],
    parts: [],
    state: 'waiting',
    preemptedBy: undefined,
    replaces: undefined,
  };
  put(board, unit, [part], 'placed');
  const score = scoreParts(board, unit, demand);
  lift(board, unit);
  return score;
}
