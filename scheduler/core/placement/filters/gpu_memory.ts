/** Enough of its GPUs have the memory free, as measured and as promised; what may spill to Grace is left out where it can. */
import { freeBytes } from '../board.ts';
import { censuses, closest, leastNeed } from '../census.ts';
import type { RoomFilter } from './filter.ts';

export const gpuMemory: RoomFilter = {
  by: 'gpu_memory',
  refuses(board, node, demand) {
    const { gpus: needGpus } = demand;
    const list = censuses(board, node, demand).filter(({ open }) => open.length >= needGpus);
    const best = closest(list, 'fitting');
    if (needGpus === 0 || best === undefined || best.fitting.length >= needGpus) return undefined;
    const byFree = best.open.toSorted((a, b) => freeBytes(board, b) - freeBytes(board, a));
    // The last GPU that it would need is the one that has to have more.
    const row = byFree[needGpus - 1] as number;
    const isMeasured = (board.measureFree[row] as number) < (board.promiseFree[row] as number);
    return {
      by: 'gpu_memory',
      needBytes: leastNeed(board, node, demand)(row),
      freeBytes: Math.max(0, freeBytes(board, row)),
      needGpus,
      fittingGpus: best.fitting.length,
      limit: isMeasured ? 'measured' : 'promised',
      largestGpuBytes: Math.max(...best.open.map((g) => board.fleet.totalBytes[g] as number)),
    };
  },
};
