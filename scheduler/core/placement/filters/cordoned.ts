/** Nobody has cordoned the node: what runs there stays, nothing new comes. */
import type { NodeFilter } from './filter.ts';

export const cordoned: NodeFilter = {
  by: 'cordoned',
  refuses: (node) => (node.cordoned === true ? { by: 'cordoned' } : undefined),
};
