/**
 * A session stays on one engine: rendezvous hashing of the session over the engines' names, so that an engine that comes
 * or goes moves only the sessions that it has or had (Thaler and Ravishankar, 1998). A request without a session is held
 * together with those of the same beginning of the prompt; without either it goes where the fewest requests are.
 */
import { type EngineSlot, hashText } from '../engine_slot.ts';
import type { RequestShape } from '../contract.ts';
import { requestsOn } from './least_requests.ts';
import type { Policy } from './policy.ts';

/** MurmurHash3's finalizer: each bit of the two decides over each bit of the result. */
function mix(left: number, right: number): number {
  let hash = (left ^ Math.imul(right, 0x9e3779b1)) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function keyOf({ sessionKey, blocks }: RequestShape): number | undefined {
  if (sessionKey !== undefined) return hashText(sessionKey);
  return blocks?.hashes[1];
}

export const sessionSticky: Policy = {
  usesResidency: false,
  tolerance: 0,
  prefersWarm: false,
  score(ask, totals) {
    const key = keyOf(ask.shape);
    for (let i = 0; i < ask.count; i++)
      totals[i] = key === undefined ? requestsOn(ask, i) : mix((ask.open[i] as EngineSlot).nameHash, key);
  },
  partNames: ['requests', 'rendezvous hash'],
  parts(ask, at, out, to) {
    const key = keyOf(ask.shape);
    out[to] = requestsOn(ask, at);
    out[to + 1] = key === undefined ? 0 : mix((ask.open[at] as EngineSlot).nameHash, key);
  },
};
