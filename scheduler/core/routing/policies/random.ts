/** Any engine with the same chance. */
import type { Policy } from './policy.ts';

export const random: Policy = {
  usesResidency: false,
  tolerance: 0,
  prefersWarm: false,
  score({ count }, totals) {
    totals.fill(0, 0, count);
  },
  partNames: [],
  parts: () => undefined,
};
