/** The model's files lie on the node's disk: minutes of fetching are saved. */
import type { NodeScore } from './score.ts';

export const modelOnDisk: NodeScore = {
  name: 'model_on_disk',
  weight: 1,
  byModel: true,
  of: (node, { model }) => (node.modelsOnDisk?.includes(model) === true ? 1 : 0),
};
