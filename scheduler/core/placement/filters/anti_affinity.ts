/** No replica that may not be beside this one is in the node's domain. */
import { conflictOn } from '../affinity.ts';
import type { RoomFilter } from './filter.ts';

export const antiAffinity: RoomFilter = {
  by: 'anti_affinity',
  refuses(board, node, demand) {
    const conflict = conflictOn(board, node, demand);
    if (conflict === undefined) return undefined;
    const { other, domains } = conflict;
    return {
      by: 'anti_affinity',
      deployment: board.demands[other]?.wanted.name ?? '',
      topologyKey: domains.topologyKey,
      domain: domains.names[domains.of[node] as number] ?? '',
    };
  },
};
