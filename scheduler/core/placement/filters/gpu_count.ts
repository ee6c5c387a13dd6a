/** The node has enough GPUs of one model, in whatever state. */
import { censuses, closest } from '../census.ts';
import type { RoomFilter } from './filter.ts';

export const gpuCount: RoomFilter = {
  by: 'gpu_count',
  refuses(board, node, demand) {
    const foundGpus = closest(censuses(board, node, demand), 'all')?.all.length ?? 0;
    return foundGpus >= demand.gpus ? undefined : { by: 'gpu_count', needGpus: demand.gpus, foundGpus };
  },
};
