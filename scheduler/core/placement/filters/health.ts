/** The node is in a state in which it can start engines. A degraded one can, and costs. */
import type { NodeFilter } from './filter.ts';

export const health: NodeFilter = {
  by: 'health',
  refuses: (node) =>
    node.health === 'ready' || node.health === 'degraded' ? undefined : { by: 'health', health: node.health },
};
