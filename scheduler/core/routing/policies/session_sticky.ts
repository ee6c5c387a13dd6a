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
  return blocks === undefined || blocks.hashes.length === 0 ? undefined : (blocks.hashes[1] as number);
}

export const sessionSticky: Policy = {
  usesResidency: false,
  tolerance: 0,
  prefersWarm: false,
  score({ shape, open, count }, totals) {
    const key = keyOf(shape);
    for (let i = 0; i < count; i++) {
      const slot = open[i] as EngineSlot;
      totals[i] = key === undefined ? requestsOn(slot) : mix(slot.nameHash, key);
    }
  },
  parts: ({ shape, open }, at) => {
    const slot = open[at] as EngineSlot;
    const key = keyOf(shape);
    if (key === undefined) return [{ name: 'requests', value: requestsOn(slot) }];
    return [{ name: 'rendezvous hash', value: mix(slot.nameHash, key) }];
  },
};
