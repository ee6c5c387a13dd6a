/** The engine serves: its agent is connected, it is ready, and a lane leads there. */
import type { Filter } from './filter.ts';

export const state: Filter = {
  by: 'state',
  strength: 'always',
  admits: (slot) => slot.refusal === undefined,
  clear: (slot) => slot.refusal === undefined,
  why: (slot) => slot.refusal ?? { by: 'state', detail: '' },
};
