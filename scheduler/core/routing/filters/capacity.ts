/** The engine has fewer requests than its specification allows. */
import type { Filter } from './filter.ts';

export const capacity: Filter = {
  by: 'at_capacity',
  strength: 'always',
  admits: (slot) => slot.reservedRequests < slot.maxRequests,
  clear: (slot) => slot.reservedRequests < slot.maxRequests,
  why: (slot) => ({
    by: 'at_capacity',
    detail: `It has ${slot.reservedRequests} of at most ${slot.maxRequests} requests.`,
  }),
};
