/** The engine's agent has spoken lately: a host that fell silent may hang, and hears nothing of a request. */
import type { Filter } from './filter.ts';

export const stale: Filter = {
  by: 'stale_telemetry',
  strength: 'unless_last',
  admits: (slot, ask) => !(ask.nowMs - slot.lastSeenAtMs > ask.staleAfterMs),
  sparesAll: (pool, ask) => !(ask.nowMs - pool.seenSinceMs > ask.staleAfterMs),
  why: (slot, ask) => ({
    by: 'stale_telemetry',
    detail: `${slot.node} has said nothing for ${Math.round(ask.nowMs - slot.lastSeenAtMs)} ms.`,
  }),
};
