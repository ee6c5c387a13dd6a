/** A client that calls the agent itself needs an agent that takes direct calls. */
import type { Filter } from './filter.ts';

export const NO_DIRECT_LISTENER = 'no_direct_listener';

export const directListener: Filter = {
  by: NO_DIRECT_LISTENER,
  strength: 'always',
  admits: (slot, ask) => ask.callable?.(slot.node) !== false,
  sparesAll: (_, ask) => ask.callable === undefined,
  why: (slot) => ({ by: NO_DIRECT_LISTENER, detail: `${slot.node} has no listener for direct calls.` }),
};
