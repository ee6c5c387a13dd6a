/** Hosts of a gang share the value of a label, so a node without it can be none of them. */
import { valueOf } from '../requirements.ts';
import type { NodeFilter } from './filter.ts';

export const gangTopology: NodeFilter = {
  by: 'gang_topology',
  refuses: (node, { hosts = 1, gangTopologyKey }) =>
    hosts === 1 || gangTopologyKey === undefined || valueOf(node, gangTopologyKey) !== undefined
      ? undefined
      : { by: 'gang_topology', key: gangTopologyKey },
};
