/** A degraded node serves, but is the last choice among equals. */
import type { NodeScore } from './score.ts';

export const degradedNode: NodeScore = {
  name: 'degraded_node',
  weight: 1,
  of: (node) => (node.health === 'degraded' ? -1 : 0),
};
