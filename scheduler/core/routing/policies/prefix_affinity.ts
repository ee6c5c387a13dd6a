/**
 * Prefix affinity with thresholds, as SMG's cache-aware policy has it, with the defaults of its command line: while the
 * load is balanced, the engine that holds the most of the prompt, if that is more than a part of it; else, and whenever
 * the load is not balanced, the fewest requests.
 */
import { requestsOn } from './least_requests.ts';
import type { Policy, PolicyAsk } from './policy.ts';

/** smg-project/smg: `--cache-threshold`, `--balance-abs-threshold`, `--balance-rel-threshold`. */
export const SMG_DEFAULTS = { matchRatio: 0.3, imbalanceRequests: 64, imbalanceRatio: 1.5 } as const;

/** Whether the holder of the prefix is asked at all, and for how many tokens it must hold. */
function leastMatch(ask: PolicyAsk): number {
  let least = Infinity;
  let most = 0;
  for (let i = 0; i < ask.count; i++) {
    const requests = requestsOn(ask, i);
    least = Math.min(least, requests);
    most = Math.max(most, requests);
  }
  const { matchRatio, imbalanceRequests, imbalanceRatio } = SMG_DEFAULTS;
  const imbalanced = most - least > imbalanceRequests && most > imbalanceRatio * least;
  return imbalanced ? Infinity : matchRatio * ask.shape.promptTokens;
}

export const prefixAffinity: Policy = {
  usesResidency: true,
  tolerance: 0,
  prefersWarm: false,
  score(ask, totals) {
    const { count, cachedTokens } = ask;
    const threshold = leastMatch(ask);
    let longest = 0;
    for (let i = 0; i < count; i++) longest = Math.max(longest, cachedTokens[i] as number);
    const byMatch = longest > threshold;
    for (let i = 0; i < count; i++)
      totals[i] = byMatch && (cachedTokens[i] as number) < longest ? Infinity : requestsOn(ask, i);
  },
  partNames: ['requests', 'cached tokens'],
  parts(ask, at, out, to) {
    out[to] = requestsOn(ask, at);
    out[to + 1] = ask.cachedTokens[at] as number;
  },
};
