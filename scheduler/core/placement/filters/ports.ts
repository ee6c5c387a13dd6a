/** Nobody on the node has a port that the replica needs. */
import { takenPorts } from '../board.ts';
import type { RoomFilter } from './filter.ts';

export const ports: RoomFilter = {
  by: 'ports',
  refuses(board, node, demand) {
    const taken = takenPorts(board, node, demand.ports);
    return taken.length === 0 ? undefined : { by: 'ports', taken };
  },
};
