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

/** Bounds for one demand, to be asked for every node. */
export interface Bound {
  /** From a few numbers of the node; NO_FIT: there is surely no room. */
  rough(node: number): number;
  /**
   * The first node from `from` on whose worth with the rough bound is not below `enough`; the number of nodes: there is none.
   * It is the loop that runs for every node and every replica.
   */
  next(from: number, worths: Float64Array, enough: number): number;
  /** With a look at its GPUs: closer, and never below what fit.ts would find. */
  close(node: number): number;
}

export function createBound(board: Board, demand: Demand): Bound {
  const { gpus, gpuBytes, spillBytes, isPacked } = demand;
  if (gpus === 0) return { rough: () => 1, next: nextOfAll, close: () => 1 };
  const { fleet, mostFree, nodeFree, free, engines } = board;
  const { gpuStart, nodeBytes, smallestGpu, largestGpu } = fleet;
  const least = gpuBytes - spillBytes;
  const isAlone = demand.sharing === 'exclusive';
  /** How full the node would be at most. */
  const nodeFill = (node: number): number =>
    1 - ((nodeFree[node] as number) - gpus * gpuBytes) / (nodeBytes[node] as number);
  const extra = (node: number): number => (gpus === 1 ? 0 : together(fleet, node, gpus));
  const rough = (node: number): number => {
    const most = mostFree[node] as number;
    if (most < least) return NO_FIT;
    if (isPacked) return (1 + nodeFill(node)) / 2 + extra(node);
    // The emptiest GPU and the emptiest node, with the replica in HBM as little as it may be.
    const whole = ((nodeFree[node] as number) - gpus * least) / (nodeBytes[node] as number);
    return ((most - least) / (smallestGpu[node] as number) + whole) / 2 + extra(node);
  };
  const most = gpus === 1 ? 0 : nvlink.weight + numa.weight;
  return {
    rough,
    next(from, worths, enough) {
      for (let n = from; n < worths.length; n++) {
        const freest = mostFree[n] as number;
        if (freest < least) continue;
        const whole = ((nodeFree[n] as number) - gpus * (isPacked ? gpuBytes : least)) / (nodeBytes[n] as number);
        const fill = isPacked ? 2 - whole : (freest - least) / (smallestGpu[n] as number) + whole;
        if ((worths[n] as number) + fill / 2 + most >= enough) return n;
      }
      return worths.length;
    },
    close(node) {
      let open = 0;
      const to = gpuStart[node + 1] as number;
      for (let g = gpuStart[node] as number; g < to; g++) {
        const bytes = free[g] as number;
        if (bytes >= least && (!isAlone || engines[g] === 0)) opened[open++] = bytes;
      }
      if (open < gpus) return NO_FIT;
      const sum = extremeSum(open, gpus, isPacked);
      if (!isPacked) {
        const whole = ((nodeFree[node] as number) - gpus * least) / (nodeBytes[node] as number);
        return ((sum / gpus - least) / (smallestGpu[node] as number) + whole) / 2 + extra(node);
      }
      // GPUs that have less free than the whole need take it with the spill, and are full then at most.
      const left = spillBytes > 0 ? 0 : sum / gpus - gpuBytes;
      return (1 - left / (largestGpu[node] as number) + nodeFill(node)) / 2 + extra(node);
    },
  };
}

/** Free memory of the GPUs of one node that are open. */
const opened = new Float64Array(64);

/** The sum of the smallest or of the largest `take` of the first `count` figures in `opened`. */
function extremeSum(count: number, take: number, smallest: boolean): number {
  let sum = 0;
  for (let i = 0; i < take; i++) {
    let at = i;
    for (let k = i + 1; k < count; k++) {
      if (smallest ? (opened[k] as number) < (opened[at] as number) : (opened[k] as number) > (opened[at] as number))
        at = k;
    }
    const found = opened[at] as number;
    opened[at] = opened[i] as number;
    opened[i] = found;
    sum += found;
  }
  return sum;
}

function nextOfAll(from: number, worths: Float64Array, enough: number): number {
  let n = from;
  while (n < worths.length && (worths[n] as number) + 1 < enough) n += 1;
  return n;
}

/** The most that NVLink and NUMA can add. */
function together({ largestIsland, largestNuma }: Fleet, node: number, gpus: number): number {
  const islands = (largestIsland[node] as number) >= gpus ? nvlink.weight : 0;
  return islands + ((largestNuma[node] as number) >= gpus ? numa.weight : 0);
}
