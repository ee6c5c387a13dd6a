/** What lies in Grace memory is read over NVLink-C2C, several times slower than HBM. */
import type { PartScore } from './score.ts';

export const graceSpill: PartScore = {
  name: 'grace_spill',
  weight: 2,
  of: ({ spilledShare }) => -spilledShare,
};
