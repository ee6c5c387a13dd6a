/** The node is not being emptied. */
import type { NodeFilter } from './filter.ts';

export const draining: NodeFilter = {
  by: 'draining',
  refuses: (node) => (node.draining === true ? { by: 'draining' } : undefined),
};
