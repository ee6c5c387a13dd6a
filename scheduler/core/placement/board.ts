/**
 * What is where while a plan is made: the free memory of each GPU, who is on it, and what each replica has. Every change is
 * undone by its opposite, so that a search may try and take back. Free memory is the smaller of two accounts: what is not
 * promised, and what is measured as free less what is promised and not yet taken.
 */
import type { FleetSnapshot, GpuSharing } from './contract.ts';
import { compileDemands, type Demand } from './demand.ts';
import { compileFleet, type Fleet } from './fleet.ts';

/** What a unit has on one node. GPUs are rows of the fleet, ascending. */
export interface Part {
  readonly node: number;
  readonly gpus: readonly number[];
  /** On each GPU. */
  readonly gpuBytes: number;
  readonly usedBytes: number;
  readonly spillBytes: number;
  /** With the spilled part. */
  readonly hostBytes: number;
}

/**
 * kept: runs and stays. leaving: runs, counts no more, and holds its memory until it has stopped. placed: this plan gives it a
 * place. waiting: it has none.
 */
export type UnitState = 'kept' | 'leaving' | 'placed' | 'waiting';

/** One replica. */
export interface Unit {
  readonly id: number;
  /** Undefined: of a deployment that is not wanted. */
  readonly demand: Demand | undefined;
  readonly deployment: string;
  readonly index: number;
  readonly priority: number;
  readonly tenant: string | undefined;
  readonly sharing: GpuSharing;
  readonly ports: readonly number[];
  /** Where it ran before the plan. */
  readonly home: readonly Part[];
  /** What it has on the board now. */
  parts: readonly Part[];
  state: UnitState;
  /** Who took its home; undefined: nobody. */
  preemptedBy: Unit | undefined;
  /** The replica that it stands in for, which is leaving. */
  readonly replaces: Unit | undefined;
}

export interface Board {
  readonly fleet: Fleet;
  readonly demands: readonly Demand[];
  readonly promiseFree: Float64Array;
  readonly measureFree: Float64Array;
  /** By GPU, the smaller of the two. */
  readonly free: Float64Array;
  /** Sum over the GPUs of a node, and the most on one that is sound. */
  readonly nodeFree: Float64Array;
  readonly mostFree: Float64Array;
  /** Infinity: not known, and not limited. */
  readonly hostFree: Float64Array;
  readonly engines: Int32Array;
  /** By GPU and by node; absent: nobody. */
  readonly onGpu: (Unit[] | undefined)[];
  readonly onNode: (Unit[] | undefined)[];
  /** Ports that something else than units listens on. */
  readonly otherPorts: readonly (ReadonlySet<number> | undefined)[];
  /** Units that run or will run, by demand. */
  readonly serving: Unit[][];
  /** Nodes in the order of their changes; whoever keeps figures of nodes reads on where they stopped. */
  readonly changed: number[];
}

export function createBoard(snapshot: FleetSnapshot): Board {
  const fleet = compileFleet(snapshot.nodes);
  return emptyBoard(fleet, compileDemands(fleet, snapshot.deployments));
}

/** @returns a board on which nothing runs */
export function emptyBoard(fleet: Fleet, demands: readonly Demand[]): Board {
  const promiseFree = fleet.totalBytes.map((total, g) => total - (fleet.otherPromisedBytes[g] as number));
  const measureFree = Float64Array.from(fleet.gpus, (gpu) => gpu.freeBytes ?? Infinity);
  const board: Board = {
    fleet,
    demands,
    promiseFree,
    measureFree,
    free: promiseFree.map((promise, g) => Math.min(promise, measureFree[g] as number)),
    nodeFree: new Float64Array(fleet.nodes.length),
    mostFree: new Float64Array(fleet.nodes.length),
    hostFree: Float64Array.from(fleet.nodes, ({ hostMemory: host }) =>
      host === undefined ? Infinity : Math.min(host.totalBytes - (host.promisedBytes ?? 0), host.freeBytes ?? Infinity),
    ),
    engines: new Int32Array(fleet.gpus.length),
    onGpu: new Array(fleet.gpus.length),
    onNode: new Array(fleet.nodes.length),
    otherPorts: fleet.nodes.map(({ portsInUse = [] }) => (portsInUse.length === 0 ? undefined : new Set(portsInUse))),
    serving: demands.map(() => []),
    changed: [],
  };
  for (let n = 0; n < fleet.nodes.length; n++) sumUp(board, n);
  return board;
}

export function freeBytes({ free }: Board, gpu: number): number {
  return free[gpu] as number;
}

function sumUp({ fleet, free, nodeFree, mostFree }: Board, node: number): void {
  let sum = 0;
  let most = -1;
  for (let g = fleet.gpuStart[node] as number; g < (fleet.gpuStart[node + 1] as number); g++) {
    const bytes = free[g] as number;
    if (bytes > 0) sum += bytes;
    if (bytes > most && fleet.usable[g] === 1) most = bytes;
  }
  nodeFree[node] = sum;
  mostFree[node] = most;
}

function change(board: Board, gpu: number, promise: number, measure: number): void {
  const promised = (board.promiseFree[gpu] as number) + promise;
  const measured = (board.measureFree[gpu] as number) + measure;
  board.promiseFree[gpu] = promised;
  board.measureFree[gpu] = measured;
  board.free[gpu] = promised < measured ? promised : measured;
}

/** What a running replica has taken is measured already: the account of measures begins as if it had taken nothing. */
export function creditUsed(board: Board, parts: readonly Part[]): void {
  for (const { node, gpus, usedBytes } of parts) {
    for (const g of gpus) change(board, g, 0, usedBytes);
    sumUp(board, node);
  }
}

/** Puts a unit that has nothing there. */
export function put(board: Board, unit: Unit, parts: readonly Part[], state: UnitState): void {
  unit.parts = parts;
  unit.state = state;
  for (const part of parts) {
    for (const g of part.gpus) {
      account(board, g, part, -1);
      board.engines[g] = (board.engines[g] as number) + 1;
      addTo(board.onGpu, g, unit);
    }
    addTo(board.onNode, part.node, unit);
    settle(board, part, -1);
  }
  if (unit.demand !== undefined && state !== 'leaving') (board.serving[unit.demand.id] as Unit[]).push(unit);
}

/** Takes a unit away from where it is. */
export function lift(board: Board, unit: Unit): void {
  for (const part of unit.parts) {
    for (const g of part.gpus) {
      account(board, g, part, 1);
      board.engines[g] = (board.engines[g] as number) - 1;
      removeFrom(board.onGpu[g] as Unit[], unit);
    }
    removeFrom(board.onNode[part.node] as Unit[], unit);
    settle(board, part, 1);
  }
  if (unit.demand !== undefined && unit.state !== 'leaving') removeFrom(board.serving[unit.demand.id] as Unit[], unit);
  unit.parts = [];
  unit.state = 'waiting';
}

function account(board: Board, gpu: number, { gpuBytes, usedBytes }: Part, sign: 1 | -1): void {
  change(board, gpu, sign * gpuBytes, sign * Math.max(gpuBytes, usedBytes));
}

function settle(board: Board, { node, hostBytes }: Part, sign: 1 | -1): void {
  board.hostFree[node] = (board.hostFree[node] as number) + sign * hostBytes;
  sumUp(board, node);
  board.changed.push(node);
}

function addTo(lists: (Unit[] | undefined)[], at: number, unit: Unit): void {
  const list = lists[at];
  if (list === undefined) lists[at] = [unit];
  else list.push(unit);
}

function removeFrom(list: Unit[], unit: Unit): void {
  const at = list.lastIndexOf(unit);
  list.splice(at, 1);
}

/** Whether a unit of the demand may be put on a GPU beside those that are there. */
export function admits(board: Board, gpu: number, { sharing, tenant }: Pick<Demand, 'sharing' | 'tenant'>): boolean {
  const engines = board.engines[gpu] as number;
  if (sharing === 'exclusive') return engines === 0 && board.fleet.otherPromisedBytes[gpu] === 0;
  if (engines >= (board.fleet.maxEngines[gpu] as number)) return false;
  if (engines === 0) return true;
  for (const other of board.onGpu[gpu] as Unit[]) {
    if (other.sharing === 'exclusive') return false;
    if ((sharing === 'tenant' || other.sharing === 'tenant') && other.tenant !== tenant) return false;
  }
  return true;
}

/** Those of the ports that somebody listens on, or will. */
export function takenPorts(board: Board, node: number, ports: readonly number[]): number[] {
  return ports.filter(
    (port) =>
      board.otherPorts[node]?.has(port) === true ||
      board.onNode[node]?.some((unit) => unit.ports.includes(port)) === true,
  );
}
