/** The node is in a region that the deployment names. */
import type { NodeFilter } from './filter.ts';

export const region: NodeFilter = {
  by: 'region',
  refuses: (node, { regions }) =>
    regions === undefined || regions.includes(node.region)
      ? undefined
      : { by: 'region', wanted: regions, found: node.region },
};
