/**
 * Which GPUs of a node a replica would get, and what that is worth. It is the hot part of planning: it looks at numbers only
 * and allocates nothing. A replica's GPUs on a node are of one model; of several it gets those of one NVLink island or of one
 * socket where that scores best. Whatever fits fits wholly into HBM, or with its whole spill in Grace memory.
 */
import { admits, type Board, freeBytes, type Part, takenPorts } from './board.ts';
import type { Demand } from './demand.ts';
import { partScore } from './scores.ts';

export const NO_FIT = -Infinity;

/** GPUs of a node at most; compileFleet refuses more. */
const MOST_GPUS = 64;

/** The answer of the last call, to be read before the next. */
export interface Fit {
  readonly rows: Int32Array;
  count: number;
  isSpilled: boolean;
}

export const fitFound: Fit = { rows: new Int32Array(MOST_GPUS), count: 0, isSpilled: false };

/** What is written while several choices are compared; the open GPUs of the node and their free memory. */
const open = new Int32Array(MOST_GPUS);
const openFree = new Float64Array(MOST_GPUS);
const group = new Int32Array(MOST_GPUS);

const view = {
  isPacked: true,
  gpus: 0,
  gpuFill: 0,
  nodeFill: 0,
  oneIsland: false,
  oneNuma: false,
  spilledShare: 0,
  degradedShare: 0,
};

/**
 * @param model the only GPU model that may be used; -1: any that the demand allows
 * @returns the weighted part scores of the best GPUs, which are in `fitFound`; NO_FIT: there is no room. Node filters and
 *   affinity are not asked.
 */
export function fit(board: Board, node: number, demand: Demand, model = -1): number {
  if (demand.ports.length > 0 && takenPorts(board, node, demand.ports).length > 0) return NO_FIT;
  if (demand.gpus === 0) return fitWithoutGpu(board, node, demand);
  let best = NO_FIT;
  if ((board.hostFree[node] as number) >= demand.hostBytes) best = fitGpus(board, node, demand, model, false, best);
  const spilledHost = demand.hostBytes + demand.gpus * demand.spillBytes;
  if (demand.spillBytes > 0 && (board.hostFree[node] as number) >= spilledHost)
    best = fitGpus(board, node, demand, model, true, best);
  return best;
}

function fitWithoutGpu(board: Board, node: number, demand: Demand): number {
  const free = board.hostFree[node] as number;
  if (free < demand.hostBytes) return NO_FIT;
  fitFound.count = 0;
  fitFound.isSpilled = false;
  return scoreOf(board, node, demand, fitFound.rows, 0, demand.hostBytes, false);
}

function fitGpus(board: Board, node: number, demand: Demand, only: number, spilled: boolean, floor: number): number {
  const { gpuStart, usable, modelId, coherent } = board.fleet;
  const { allowsModel } = demand;
  const need = demand.gpuBytes - (spilled ? demand.spillBytes : 0);
  const from = gpuStart[node] as number;
  const to = gpuStart[node + 1] as number;
  if (to - from < demand.gpus) return floor;
  let count = 0;
  for (let g = from; g < to; g++) {
    const id = modelId[g] as number;
    if (usable[g] === 0 || (only >= 0 && id !== only) || (allowsModel !== undefined && allowsModel[id] === 0)) continue;
    if (spilled && coherent[g] === 0) continue;
    const free = freeBytes(board, g);
    if (free < need || !admits(board, g, demand)) continue;
    open[count] = g;
    openFree[count++] = free;
  }
  if (count < demand.gpus) return floor;
  return demand.gpus === 1
    ? pickOne(board, node, demand, count, need, spilled, floor)
    : pickSeveral(board, node, demand, count, need, spilled, floor);
}

/** All scores but the fill and the state of the GPU are alike, so each is scored. */
function pickOne(
  board: Board,
  node: number,
  demand: Demand,
  count: number,
  need: number,
  spilled: boolean,
  floor: number,
): number {
  let best = floor;
  for (let i = 0; i < count; i++) {
    group[0] = open[i] as number;
    const score = scoreOf(board, node, demand, group, 1, need, spilled);
    if (score > best) {
      best = score;
      take(1, spilled);
    }
  }
  return best;
}

function take(count: number, spilled: boolean): void {
  for (let i = 0; i < count; i++) fitFound.rows[i] = group[i] as number;
  fitFound.count = count;
  fitFound.isSpilled = spilled;
}

/** Sets of GPUs that are compared, as a test on two GPUs; each is tried from every GPU that begins it. */
const TOGETHER: readonly ((board: Board, a: number, b: number) => boolean)[] = [
  ({ fleet }, a, b) => fleet.island[a] === fleet.island[b] && (fleet.island[a] as number) >= 0,
  ({ fleet }, a, b) => fleet.numa[a] === fleet.numa[b] && (fleet.numa[a] as number) >= 0,
  ({ fleet }, a, b) =>
    fleet.island[a] === fleet.island[b] &&
    (fleet.island[a] as number) >= 0 &&
    fleet.numa[a] === fleet.numa[b] &&
    (fleet.numa[a] as number) >= 0,
  () => true,
];

function pickSeveral(
  board: Board,
  node: number,
  demand: Demand,
  count: number,
  need: number,
  spilled: boolean,
  floor: number,
): number {
  sortOpen(board, count, demand.isPacked);
  const { modelId } = board.fleet;
  const tests = demand.nvlink === 'required' ? TOGETHER.slice(0, 1) : TOGETHER;
  let best = floor;
  for (const together of tests) {
    for (let first = 0; first + demand.gpus <= count; first++) {
      const a = open[first] as number;
      if (wasBegun(board, first, together)) continue;
      let size = 0;
      for (let i = first; i < count && size < demand.gpus; i++) {
        const b = open[i] as number;
        if (modelId[a] === modelId[b] && (i === first || together(board, a, b))) group[size++] = b;
      }
      if (size < demand.gpus) continue;
      const score = scoreOf(board, node, demand, group, size, need, spilled);
      if (score > best) {
        best = score;
        take(size, spilled);
      }
    }
  }
  return best;
}

/** Whether an earlier GPU began the same set: the earlier ones are better. */
function wasBegun(board: Board, first: number, together: (board: Board, a: number, b: number) => boolean): boolean {
  const { modelId } = board.fleet;
  const b = open[first] as number;
  for (let i = 0; i < first; i++) {
    const a = open[i] as number;
    if (modelId[a] === modelId[b] && together(board, a, b)) return true;
  }
  return false;
}

/** Sound GPUs first; among them the fullest for packing, the emptiest for spreading. Insertion sort: there are few. */
function sortOpen({ fleet }: Board, count: number, isPacked: boolean): void {
  for (let i = 1; i < count; i++) {
    const row = open[i] as number;
    const free = openFree[i] as number;
    let to = i;
    for (; to > 0; to--) {
      const before = open[to - 1] as number;
      const worse = (fleet.degraded[before] as number) - (fleet.degraded[row] as number);
      const order = worse === 0 ? (isPacked ? 1 : -1) * ((openFree[to - 1] as number) - free) : worse;
      if (order <= 0) break;
      open[to] = before;
      openFree[to] = openFree[to - 1] as number;
    }
    open[to] = row;
    openFree[to] = free;
  }
}

/** The weighted part scores of a choice that has not been put on the board yet. */
function scoreOf(
  board: Board,
  node: number,
  demand: Demand,
  rows: Int32Array,
  count: number,
  need: number,
  spilled: boolean,
): number {
  const { fleet } = board;
  let taken = 0;
  let degraded = 0;
  for (let i = 0; i < count; i++) {
    const g = rows[i] as number;
    const total = fleet.totalBytes[g] as number;
    taken += total === 0 ? 1 : 1 - (freeBytes(board, g) - need) / total;
    degraded += fleet.degraded[g] as number;
  }
  view.isPacked = demand.isPacked;
  view.gpus = count;
  view.gpuFill = count === 0 ? hostFill(board, node, need) : taken / count;
  view.nodeFill = count === 0 ? view.gpuFill : nodeFill(board, node, count * need);
  view.oneIsland = isOne(fleet.island, rows, count);
  view.oneNuma = isOne(fleet.numa, rows, count);
  view.spilledShare = spilled && demand.gpuBytes > 0 ? demand.spillBytes / demand.gpuBytes : 0;
  view.degradedShare = count === 0 ? 0 : degraded / count;
  return partScore(view);
}

function nodeFill(board: Board, node: number, more: number): number {
  const total = board.fleet.nodeBytes[node] as number;
  return total === 0 ? 1 : 1 - ((board.nodeFree[node] as number) - more) / total;
}

/** Share of a host's memory that is taken, for replicas without a GPU; 0 where it is not known. */
function hostFill({ fleet, hostFree }: Board, node: number, more: number): number {
  const total = fleet.nodes[node]?.hostMemory?.totalBytes ?? 0;
  return total === 0 ? 0 : Math.min(1, Math.max(0, 1 - ((hostFree[node] as number) - more) / total));
}

function isOne(ids: Int32Array, rows: Int32Array | readonly number[], count: number): boolean {
  const first = count === 0 ? -1 : (ids[rows[0] as number] as number);
  if (first < 0) return false;
  for (let i = 1; i < count; i++) if (ids[rows[i] as number] !== first) return false;
  return true;
}

/** The part that `fitFound` describes. */
export function foundPart(node: number, demand: Demand): Part {
  const rows = [...fitFound.rows.subarray(0, fitFound.count)].sort((a, b) => a - b);
  return partOf(node, rows, demand, fitFound.isSpilled);
}

export function partOf(node: number, gpus: readonly number[], demand: Demand, isSpilled: boolean): Part {
  const spillBytes = isSpilled ? demand.spillBytes : 0;
  return {
    node,
    gpus,
    gpuBytes: gpus.length === 0 ? 0 : demand.gpuBytes - spillBytes,
    usedBytes: 0,
    spillBytes,
    hostBytes: demand.hostBytes + gpus.length * spillBytes,
  };
}

const rowsOfPart = new Int32Array(MOST_GPUS);

/** The weighted part scores of what a unit has on the board. */
export function standingScore(board: Board, { node, gpus, spillBytes }: Part, demand: Demand): number {
  for (const [i, row] of gpus.entries()) rowsOfPart[i] = row;
  return scoreOf(board, node, demand, rowsOfPart, gpus.length, 0, spillBytes > 0);
}

/** The same, score by score. */
export function standingView(board: Board, part: Part, demand: Demand): typeof view {
  standingScore(board, part, demand);
  return { ...view };
}
