/** Enough of its GPUs are empty, or hold only replicas that may be shared with, and have a place for one more engine. */
import { censuses, closest } from '../census.ts';
import type { RoomFilter } from './filter.ts';

export const gpuSharing: RoomFilter = {
  by: 'gpu_sharing',
  refuses(board, node, demand) {
    const openGpus = closest(censuses(board, node, demand), 'open')?.open.length ?? 0;
    const { sharing, gpus: needGpus } = demand;
    return openGpus >= needGpus ? undefined : { by: 'gpu_sharing', sharing, needGpus, openGpus };
  },
};
