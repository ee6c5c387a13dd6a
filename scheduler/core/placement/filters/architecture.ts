/** The engine's build runs on the node's processor. */
import type { NodeFilter } from './filter.ts';

export const architecture: NodeFilter = {
  by: 'architecture',
  refuses: (node, { architectures }) =>
    architectures === undefined || architectures.includes(node.architecture)
      ? undefined
      : { by: 'architecture', wanted: architectures, found: node.architecture },
};
