/**
 * Who used what, read off each request as it ends. A request that the fleet gave up and a provider answered is one
 * request, of the provider; tokens that engines made for it count as theirs all the same.
 */
import type { ErrorCode } from '../../../lib/errors.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { AdmittedRequest, EndedRequest } from '../../ports.ts';
import { USAGE_PERIOD_MS, type UsageCounts, type UsageKey } from './contract.ts';
import type { UsageTally } from './tally.ts';

/** What a generator that asks providers tells of them. */
export interface ProviderUsage {
  /** A provider answers instead of the fleet, which has failed before or is told to stop after. */
  handedOver(request: AdmittedRequest): void;
  /** An answer of a provider that a client got has ended. */
  ended(request: AdmittedRequest, provider: string, outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void;
}

export interface UsageMeter extends ProviderUsage {
  fleetEnded(end: EndedRequest): void;
}

export interface UsageMeterOptions {
  readonly tally: UsageTally;
  readonly wallMs: () => number;
  /** There was no room for a sum of its own. */
  readonly crowded: () => void;
}

/** Whoever came with a token of an identity provider; no key has an id of this length. */
const TOKEN = 'token';

const NOTHING: UsageCounts = { requests: 0, untold: 0, promptTokens: 0, cachedTokens: 0, completionTokens: 0 };

function countsOf(usage: LaneUsage | undefined, completionTokens: number): UsageCounts {
  return {
    requests: 1,
    untold: usage?.promptTokens === undefined ? 1 : 0,
    promptTokens: usage?.promptTokens ?? 0,
    cachedTokens: usage?.cachedPromptTokens ?? 0,
    completionTokens,
  };
}

export function createUsageMeter({ tally, wallMs, crowded }: UsageMeterOptions): UsageMeter {
  const failed = new WeakMap<AdmittedRequest, { readonly key: UsageKey; readonly untold: number }>();
  const handed = new WeakSet<AdmittedRequest>();
  const add = (key: UsageKey, counts: UsageCounts): void => {
    if (!tally.add(key, counts)) crowded();
  };
  const keyOf = (request: AdmittedRequest, outcome: string, servedBy: string): UsageKey => {
    const nowMs = wallMs();
    return {
      periodMs: nowMs - (nowMs % USAGE_PERIOD_MS),
      tenant: request.tenant,
      key: request.identity.keyId ?? TOKEN,
      model: request.model,
      outcome,
      servedBy,
    };
  };
  return {
    fleetEnded({ request, outcome, usage, outputTokens }) {
      const key = keyOf(request, outcome, request.door === 'direct' ? 'direct' : 'fleet');
      const counts = countsOf(usage, outputTokens);
      if (handed.has(request)) {
        if (counts.promptTokens + counts.completionTokens > 0) add(key, { ...counts, requests: 0, untold: 0 });
        return;
      }
      add(key, counts);
      if (outcome !== 'ok') failed.set(request, { key, untold: counts.untold });
    },
    handedOver(request) {
      const before = failed.get(request);
      if (before === undefined) handed.add(request);
      // Counted already, perhaps on the disk already: taken back by a sum that is below nothing.
      else add(before.key, { ...NOTHING, requests: -1, untold: -before.untold });
      failed.delete(request);
    },
    ended(request, provider, outcome, usage) {
      add(keyOf(request, outcome, `provider:${provider}`), countsOf(usage, usage?.completionTokens ?? 0));
    },
  };
}
