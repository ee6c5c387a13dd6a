/** The share of the replica's GPUs that are degraded. */
import type { PartScore } from './score.ts';

export const degradedGpu: PartScore = {
  name: 'degraded_gpu',
  weight: 1,
  of: ({ degradedShare }) => -degradedShare,
};
