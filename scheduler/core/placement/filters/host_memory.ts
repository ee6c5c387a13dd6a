/** The host has the memory free that the replica asks for. Spilling is asked about where the GPUs are. */
import type { RoomFilter } from './filter.ts';

export const hostMemory: RoomFilter = {
  by: 'host_memory',
  refuses(board, node, demand) {
    const freeBytes = Math.max(0, board.hostFree[node] as number);
    if (demand.hostBytes <= freeBytes) return undefined;
    return { by: 'host_memory', needBytes: demand.hostBytes, freeBytes };
  },
};
