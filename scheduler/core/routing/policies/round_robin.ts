/** Each engine in its turn: the one that was picked longest ago. */
import type { EngineSlot } from '../engine_slot.ts';
import type { Policy } from './policy.ts';

export const roundRobin: Policy = {
  usesResidency: false,
  tolerance: 0,
  prefersWarm: false,
  score({ open, count }, totals) {
    for (let i = 0; i < count; i++) totals[i] = (open[i] as EngineSlot).pickOrder;
  },
  partNames: ['picked last as number'],
  parts({ open }, at, out, to) {
    out[to] = (open[at] as EngineSlot).pickOrder;
  },
};
