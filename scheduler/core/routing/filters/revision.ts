/** The engine's revision has passed its gates, or has nothing to pass: an unproven one gets no request of a client. */
import type { Filter } from './filter.ts';

export const revision: Filter = {
  by: 'revision_closed',
  strength: 'always',
  admits: (slot) => slot.mark?.closed !== true,
  clear: (slot) => slot.mark?.closed !== true,
  why: (slot) => ({
    by: 'revision_closed',
    detail: `It is of ${slot.mark?.label ?? ''}, which has not passed its gates.`,
  }),
};
