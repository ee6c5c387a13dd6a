/** All GPUs of a tensor-parallel replica reach each other over NVLink: its all-reduce does not go over PCIe. */
import type { PartScore } from './score.ts';

export const nvlink: PartScore = {
  name: 'nvlink',
  weight: 1,
  of: ({ gpus, oneIsland }) => (gpus > 1 && oneIsland ? 1 : 0),
};
