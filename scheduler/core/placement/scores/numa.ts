/** All GPUs of the replica hang on one socket. */
import type { PartScore } from './score.ts';

export const numa: PartScore = {
  name: 'numa',
  weight: 0.1,
  of: ({ gpus, oneNuma }) => (gpus > 1 && oneNuma ? 1 : 0),
};
