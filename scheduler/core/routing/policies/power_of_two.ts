/** Two engines by chance, and of them the one with fewer requests; the others are not looked at. */
import { requestsOn } from './least_requests.ts';
import type { Policy } from './policy.ts';

export const powerOfTwo: Policy = {
  usesResidency: false,
  tolerance: 0,
  prefersWarm: false,
  score(ask, totals) {
    const { count, random } = ask;
    totals.fill(Infinity, 0, count);
    const first = Math.floor(random.next() * count);
    // The second is drawn among the others.
    const second = count < 2 ? first : (first + 1 + Math.floor(random.next() * (count - 1))) % count;
    for (const at of [first, second]) totals[at] = requestsOn(ask, at);
  },
  partNames: ['requests'],
  parts(ask, at, out, to) {
    out[to] = requestsOn(ask, at);
  },
};
