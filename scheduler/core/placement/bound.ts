/**
 * What a node can be worth at most to a replica, from a few numbers: so quick that every node may be asked for every replica of
 * a large fleet, and close enough that hardly any has to be looked at by fit.ts, which is exact.
 */
import type { Board } from './board.ts';
import type { Demand } from './demand.ts';
import { NO_FIT } from './fit.ts';
import type { Fleet } from './fleet.ts';
import { numa } from './scores/numa.ts';
import { nvlink } from './scores/nvlink.ts';

/**
 * @param enough what the part scores must exceed to be of any use
 * @returns NO_FIT: there is surely no room, or not enough to be gained; else no less than the part scores that fit.ts would find
 */
export function mostPartScore(board: Board, node: number, demand: Demand, enough = NO_FIT): number {
  const { gpus, gpuBytes, spillBytes, isPacked } = demand;
  if (gpus === 0) return 1;
  const least = gpuBytes - spillBytes;
  const mostFree = board.mostFree[node] as number;
  if (mostFree < least) return NO_FIT;
  const { fleet } = board;
  const extra = gpus === 1 ? 0 : together(fleet, node, gpus);
  // Without a look at the GPUs: one is full afterwards, or the emptiest is taken.
  const rough = isPacked ? packed(board, node, demand, gpuBytes) : spread(board, node, demand, mostFree);
  if (rough + extra < enough) return NO_FIT;
  const isAlone = demand.sharing === 'exclusive';
  let open = 0;
  let leastFree = Infinity;
  for (let g = fleet.gpuStart[node] as number; g < (fleet.gpuStart[node + 1] as number); g++) {
    const free = board.free[g] as number;
    if (free < least || (isAlone && board.engines[g] !== 0)) continue;
    open += 1;
    if (free < leastFree) leastFree = free;
  }
  if (open < gpus) return NO_FIT;
  return isPacked ? packed(board, node, demand, leastFree) + extra : rough + extra;
}

/** The most that NVLink and NUMA can add. */
function together({ largestIsland, largestNuma }: Fleet, node: number, gpus: number): number {
  const islands = (largestIsland[node] as number) >= gpus ? nvlink.weight : 0;
  return islands + ((largestNuma[node] as number) >= gpus ? numa.weight : 0);
}

function packed(
  { fleet, nodeFree }: Board,
  node: number,
  { gpus, gpuBytes, spillBytes }: Demand,
  free: number,
): number {
  // A GPU that has less free than the whole need takes it with the spill, and is full then at most.
  const left = spillBytes > 0 ? 0 : Math.max(0, free - gpuBytes);
  const gpuFill = 1 - left / (fleet.largestGpu[node] as number);
  const nodeFill = 1 - ((nodeFree[node] as number) - gpus * gpuBytes) / (fleet.nodeBytes[node] as number);
  return (gpuFill + nodeFill) / 2;
}

function spread(
  { fleet, nodeFree }: Board,
  node: number,
  { gpus, gpuBytes, spillBytes }: Demand,
  free: number,
): number {
  const need = gpuBytes - spillBytes;
  const gpuFree = (free - need) / (fleet.smallestGpu[node] as number);
  const whole = ((nodeFree[node] as number) - gpus * need) / (fleet.nodeBytes[node] as number);
  return (gpuFree + whole) / 2;
}
