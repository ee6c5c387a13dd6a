/** Fewest requests: this scheduler's own, counted exactly, and those of others by the newest reading. */
import type { EngineSlot } from '../engine_slot.ts';
import type { Policy } from './policy.ts';

export const requestsOn = (slot: EngineSlot): number => slot.reservedRequests + slot.otherRequests;

export const leastRequests: Policy = {
  usesResidency: false,
  tolerance: 0,
  prefersWarm: false,
  score({ open, count }, totals) {
    for (let i = 0; i < count; i++) totals[i] = requestsOn(open[i] as EngineSlot);
  },
  parts({ open }, at) {
    const { reservedRequests, otherRequests } = open[at] as EngineSlot;
    return [
      { name: 'own requests', value: reservedRequests },
      { name: "others' requests", value: otherRequests },
    ];
  },
};
