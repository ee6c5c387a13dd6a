/**
 * The replicas of a snapshot: those that run and stay, those that run where they cannot stay, those that are too many, and
 * those that are missing.
 */
import { type Board, createBoard, creditUsed, lift, type Part, put, type Unit } from './board.ts';
import type { FleetSnapshot, Placement, Stop, Taint } from './contract.ts';
import type { Demand } from './demand.ts';
import { gpuRow } from './fleet.ts';
import type { BadGpu, Reason } from './reasons.ts';
import { tolerates } from './requirements.ts';

export interface Situation {
  readonly board: Board;
  /** Every unit; its id is its place. */
  readonly units: readonly Unit[];
  /** Units that want a place. */
  readonly open: readonly Unit[];
  readonly stops: readonly Stop[];
  /** Why a unit is leaving, by its id. */
  readonly leaving: ReadonlyMap<number, readonly Reason[]>;
}

export function createSituation(snapshot: FleetSnapshot): Situation {
  const board = createBoard(snapshot);
  const units: Unit[] = [];
  const byName = new Map(board.demands.map((demand) => [demand.wanted.name, demand]));
  const running = new Map<Demand, Unit[]>();
  const stops: Stop[] = [];
  const leaving = new Map<number, readonly Reason[]>();
  for (const placement of snapshot.placements) {
    const demand = byName.get(placement.deployment);
    const unit = runningUnit(board, placement, demand, units.length);
    units.push(unit);
    const parts = unit.home;
    if (demand === undefined) stops.push(stopOf(placement, 'not_wanted'));
    else (running.get(demand) ?? running.set(demand, []).get(demand))?.push(unit);
    creditUsed(board, parts);
    const reasons = reasonsToLeave(board, placement, unit);
    if (reasons.length > 0) leaving.set(unit.id, reasons);
    put(board, unit, parts, demand === undefined || reasons.length > 0 ? 'leaving' : 'kept');
  }
  const open: Unit[] = [];
  for (const demand of board.demands) {
    const mine = running.get(demand) ?? [];
    stops.push(...surplus(board, demand, mine));
    open.push(...missing(demand, mine, units));
  }
  return { board, units, open, stops, leaving };
}

function runningUnit(board: Board, placement: Placement, demand: Demand | undefined, id: number): Unit {
  const { deployment, index, tenant, sharing, ports = [] } = placement;
  const home = partsOf(board, placement);
  return {
    id,
    demand,
    deployment,
    index,
    // What is wanted now counts, also for what was started under another priority.
    priority: demand?.priority ?? placement.priority,
    tenant,
    sharing,
    ports,
    home,
    parts: [],
    state: 'waiting',
    preemptedBy: undefined,
    replaces: undefined,
  };
}

/** What is on nodes and GPUs that are not there any more is left out. */
export function partsOf({ fleet }: Board, { parts }: Pick<Placement, 'parts'>): Part[] {
  return parts.flatMap((part) => {
    const node = fleet.indexOf.get(part.node);
    if (node === undefined) return [];
    const gpus = part.gpus.map((index) => gpuRow(fleet, node, index)).filter((row) => row >= 0);
    const { gpuMemoryBytes: gpuBytes, usedBytes = 0, hostMemoryBytes: hostBytes = 0 } = part;
    return [{ node, gpus: gpus.toSorted((a, b) => a - b), gpuBytes, usedBytes, spillBytes: 0, hostBytes }];
  });
}

const HARD: ReadonlySet<Taint['effect']> = new Set(['NoExecute']);

/** Why a running replica cannot stay where it is; none: it stays. */
function reasonsToLeave(board: Board, placement: Placement, { demand }: Unit): Reason[] {
  const reasons: Reason[] = [];
  for (const part of placement.parts) {
    const at = board.fleet.indexOf.get(part.node);
    const node = at === undefined ? undefined : board.fleet.nodes[at];
    if (at === undefined || node === undefined) {
      reasons.push({ by: 'node_unknown' });
      continue;
    }
    if (node.draining === true) reasons.push({ by: 'draining' });
    if (node.quarantine !== undefined) reasons.push({ by: 'quarantine', ...node.quarantine });
    if (node.health === 'lost') reasons.push({ by: 'health', health: node.health });
    const tolerations = demand?.wanted.tolerations ?? [];
    const taint = node.taints?.find((each) => HARD.has(each.effect) && !tolerates(tolerations, each));
    if (taint !== undefined) reasons.push({ by: 'taint', taint });
    const bad = part.gpus.flatMap((gpu): BadGpu[] => {
      const row = gpuRow(board.fleet, at, gpu);
      if (row < 0) return [{ gpu, why: 'gone' }];
      return board.fleet.usable[row] === 1 ? [] : [badGpu(board, gpu, row)];
    });
    const needGpus = part.gpus.length;
    if (bad.length > 0) reasons.push({ by: 'gpu_health', needGpus, soundGpus: needGpus - bad.length, bad });
  }
  return reasons;
}

export function whyUnusable({ fleet }: Board, row: number): string {
  return fleet.gpus[row]?.quarantine ?? fleet.gpus[row]?.health ?? 'gone';
}

/** What is wrong with a GPU that cannot be used. */
export function badGpu(board: Board, gpu: number, row: number): BadGpu {
  const names = board.fleet.gpus[row]?.quarantinedBy;
  return { gpu, why: whyUnusable(board, row), ...(names === undefined ? {} : { names }) };
}

/** Of too many replicas those that leave anyway go first, then those with the highest index. */
function surplus(board: Board, demand: Demand, mine: Unit[]): Stop[] {
  mine.sort(
    (left, right) => Number(left.state === 'leaving') - Number(right.state === 'leaving') || left.index - right.index,
  );
  const stops: Stop[] = [];
  while (mine.length > demand.wanted.replicas) {
    const unit = mine.pop() as Unit;
    const { home } = unit;
    if (unit.state === 'kept') {
      lift(board, unit);
      put(board, unit, home, 'leaving');
    }
    const from = home.map((part) => (board.fleet.nodes[part.node] as { name: string }).name);
    stops.push({ deployment: unit.deployment, index: unit.index, from, because: 'scaled_down' });
  }
  return stops;
}

function stopOf({ deployment, index, parts }: Placement, because: Stop['because']): Stop {
  return { deployment, index, from: parts.map((part) => part.node), because };
}

/** One unit for each replica that is to be started; whoever stands in for a leaving one bears its index. */
function missing(demand: Demand, mine: readonly Unit[], units: Unit[]): Unit[] {
  const open: Unit[] = [];
  const taken = new Set(mine.map((unit) => unit.index));
  const add = (index: number, replaces: Unit | undefined): void => {
    const { wanted, priority, tenant, sharing, ports } = demand;
    const unit: Unit = {
      id: units.length,
      demand,
      deployment: wanted.name,
      index,
      priority,
      tenant,
      sharing,
      ports,
      home: [],
      parts: [],
      state: 'waiting',
      preemptedBy: undefined,
      replaces,
    };
    units.push(unit);
    open.push(unit);
  };
  for (const unit of mine) if (unit.state === 'leaving') add(unit.index, unit);
  for (let index = 0, left = demand.wanted.replicas - mine.length; left > 0; index++) {
    if (taken.has(index)) continue;
    add(index, undefined);
    left -= 1;
  }
  return open;
}
