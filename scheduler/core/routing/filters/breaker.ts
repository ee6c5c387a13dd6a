/** The engine's circuit breaker lets requests through. */
import { breakerAdmits } from '../breaker.ts';
import type { Filter } from './filter.ts';

export const breaker: Filter = {
  by: 'breaker',
  strength: 'ejected',
  admits: (slot, ask) => slot.breaker.state === 'closed' || breakerAdmits(slot.breaker, ask.nowMs),
  clear: (slot) => slot.breaker.state === 'closed',
  why: ({ breaker: { state, dueAtMs } }, ask) => ({
    by: 'breaker',
    detail:
      state === 'open'
        ? `Faults in a row opened its breaker; ${Math.max(0, Math.round(dueAtMs - ask.nowMs))} ms are left.`
        : 'Its breaker waits for one generation to show whether it works.',
  }),
};
