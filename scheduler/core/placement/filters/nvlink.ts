/** Enough of the GPUs with room are of one NVLink island, where the deployment insists. */
import { censuses } from '../census.ts';
import type { RoomFilter } from './filter.ts';

export const nvlink: RoomFilter = {
  by: 'nvlink',
  refuses(board, node, demand) {
    if (demand.nvlink !== 'required' || demand.gpus < 2) return undefined;
    let largestIsland = 0;
    for (const { fitting } of censuses(board, node, demand)) {
      const sizes = new Map<number, number>();
      for (const row of fitting) {
        const island = board.fleet.island[row] as number;
        if (island >= 0) sizes.set(island, (sizes.get(island) ?? 0) + 1);
      }
      largestIsland = Math.max(largestIsland, ...sizes.values());
    }
    return largestIsland >= demand.gpus ? undefined : { by: 'nvlink', needGpus: demand.gpus, largestIsland };
  },
};
