/** Compiled kernels of the model are kept there: the start saves the compilation. */
import type { NodeScore } from './score.ts';

export const warmCache: NodeScore = {
  name: 'warm_cache',
  weight: 0.25,
  byModel: true,
  of: (node, { model }) => (node.warmCaches?.includes(model) === true ? 1 : 0),
};
