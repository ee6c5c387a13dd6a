/** Fewest requests: this scheduler's own, counted exactly, and those of others by the newest reading. */
import { ROW } from '../engine_rows.ts';
import type { EngineSlot } from '../engine_slot.ts';
import type { Policy, PolicyAsk } from './policy.ts';

/** Requests on an open engine. */
export const requestsOn = ({ rows, rowsAt }: PolicyAsk, at: number): number =>
  rows[(rowsAt[at] as number) + ROW.requests] as number;

export const leastRequests: Policy = {
  usesResidency: false,
  tolerance: 0,
  prefersWarm: false,
  score(ask, totals) {
    for (let i = 0; i < ask.count; i++) totals[i] = requestsOn(ask, i);
  },
  partNames: ['own requests', "others' requests"],
  parts({ open }, at, out, to) {
    const { reservedRequests, otherRequests } = open[at] as EngineSlot;
    out[to] = reservedRequests;
    out[to + 1] = otherRequests;
  },
};
