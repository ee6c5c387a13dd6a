/**
 * How the providers are doing: their breakers (the very table of the engines), how many requests each has now, and until
 * when it asked to be left alone. Time is an argument.
 */
import {
  type Breaker,
  type BreakerVerdict,
  breakerAdmits,
  breakerAfter,
  breakerPicked,
  breakerSpoke,
  newBreaker,
} from '../routing/breaker.ts';
import type { ProviderSpec } from './contract.ts';
import type { ProviderRefusal } from './plan.ts';

interface Standing {
  readonly spec: ProviderSpec;
  breaker: Breaker;
  running: number;
  waitUntilMs: number;
}

/** One request at a provider. */
export interface ProviderTurn {
  /** The first token came. */
  spoke(nowMs: number): void;
  /**
   * It ended. Idempotent.
   * @param waitMs the provider asked not to be called for so long
   */
  ended(verdict: BreakerVerdict, nowMs: number, waitMs?: number): void;
}

export interface ProviderView {
  readonly provider: string;
  readonly breaker: Breaker;
  readonly running: number;
}

export interface ProviderBook {
  /** Takes a turn, or says why there is none now. */
  begin(provider: string, nowMs: number): ProviderTurn | ProviderRefusal;
  views(): readonly ProviderView[];
}

/** A service that asks for more is looked at again all the same. */
const LONGEST_WAIT_MS = 60_000;

function turnOf(standing: Standing, nowMs: number): ProviderTurn {
  const late = standing.breaker.state === 'closed';
  let isOver = false;
  standing.breaker = breakerPicked(standing.breaker, nowMs);
  standing.running += 1;
  return {
    spoke(atMs) {
      if (!late) standing.breaker = breakerSpoke(standing.breaker, atMs);
    },
    ended(verdict, atMs, waitMs = 0) {
      if (isOver) return;
      isOver = true;
      standing.running -= 1;
      standing.breaker = breakerAfter(standing.breaker, verdict, late, atMs);
      if (waitMs > 0) standing.waitUntilMs = atMs + Math.min(waitMs, LONGEST_WAIT_MS);
    },
  };
}

export function createProviderBook(specs: readonly ProviderSpec[]): ProviderBook {
  const standings = new Map<string, Standing>(
    specs.map((spec) => [spec.name, { spec, breaker: newBreaker(), running: 0, waitUntilMs: -Infinity }]),
  );
  return {
    begin(provider, nowMs) {
      const standing = standings.get(provider) as Standing;
      if (!breakerAdmits(standing.breaker, nowMs)) return 'breaker';
      if (standing.running >= standing.spec.maxRunningRequests) return 'busy';
      // A clock that stepped back must not hold a provider off for longer than it ever may be.
      const leftMs = standing.waitUntilMs - nowMs;
      if (leftMs > 0 && leftMs <= LONGEST_WAIT_MS) return 'told_to_wait';
      return turnOf(standing, nowMs);
    },
    views: () =>
      [...standings.values()].map(({ spec, breaker, running }) => ({ provider: spec.name, breaker, running })),
  };
}
