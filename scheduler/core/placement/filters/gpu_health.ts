/** Enough of its GPUs are sound and not in quarantine. */
import { censuses, closest } from '../census.ts';
import { badGpu } from '../units.ts';
import type { RoomFilter } from './filter.ts';

export const gpuHealth: RoomFilter = {
  by: 'gpu_health',
  refuses(board, node, demand) {
    const best = closest(censuses(board, node, demand), 'sound');
    const soundGpus = best?.sound.length ?? 0;
    if (soundGpus >= demand.gpus) return undefined;
    const bad = (best?.all ?? [])
      .filter((row) => board.fleet.usable[row] === 0)
      .map((row) => badGpu(board, board.fleet.gpus[row]?.index ?? -1, row));
    return { by: 'gpu_health', needGpus: demand.gpus, soundGpus, bad };
  },
};
