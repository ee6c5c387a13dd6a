/**
 * What can be said of the store from how its calls end, as a table and a fold. The request path never asks the store;
 * whoever wants to change something is told the state in words.
 */
import type { HeadProblem } from './head.ts';

export const STORE_STATES = ['up', 'slow', 'down', 'read_only', 'full', 'behind'] as const;
export type StoreState = (typeof STORE_STATES)[number];

/** How one call ended. */
export type StoreObservation =
  | { readonly kind: 'ok'; readonly tookMs: number; readonly wrote: boolean }
  | { readonly kind: 'unreachable' | 'timeout' | 'read_only' | 'full'; readonly message: string }
  | { readonly kind: 'head'; readonly problem: HeadProblem | undefined };

export interface StoreHealth {
  readonly state: StoreState;
  /** Monotonic milliseconds at which the state began. */
  readonly sinceMs: number;
  /** Why, in words; empty while up. */
  readonly reason: string;
  /** Set while the log is not the one that was known, whatever else holds. */
  readonly gap?: HeadProblem;
}

/** Calls slower than this make the store slow, until one is faster than half of it. */
export const SLOW_MS = 1_000;

export const newStoreHealth = (nowMs: number): StoreHealth => ({
  state: 'down',
  sinceMs: nowMs,
  reason: 'not reached yet',
});

const STATE_OF = { unreachable: 'down', timeout: 'slow', read_only: 'read_only', full: 'full' } as const;

/** States that only a write that succeeds ends: reads go on in both. */
const NEEDS_WRITE: ReadonlySet<StoreState> = new Set(['read_only', 'full']);

function move(health: StoreHealth, state: StoreState, reason: string, nowMs: number): StoreHealth {
  const gap = health.gap === undefined ? {} : { gap: health.gap };
  if (health.state === state) return { ...health, reason };
  return { state, reason, sinceMs: nowMs, ...gap };
}

/** The state after one more observation; `nowMs` is monotonic. */
export function observeStore(health: StoreHealth, seen: StoreObservation, nowMs: number): StoreHealth {
  switch (seen.kind) {
    case 'head': {
      const { gap: _gap, ...rest } = health;
      if (seen.problem !== undefined)
        return {
          ...move(rest, 'behind', `the log is not as it was known: ${seen.problem.kind}`, nowMs),
          gap: seen.problem,
        };
      return rest.state === 'behind' ? move(rest, 'up', '', nowMs) : rest;
    }
    case 'ok': {
      if (health.gap !== undefined)
        return move(health, 'behind', `the log is not as it was known: ${health.gap.kind}`, nowMs);
      if (NEEDS_WRITE.has(health.state) && !seen.wrote) return health;
      if (seen.tookMs > SLOW_MS) return move(health, 'slow', `a call took ${Math.round(seen.tookMs)} ms`, nowMs);
      if (health.state === 'slow' && seen.tookMs > SLOW_MS / 2) return health;
      return move(health, 'up', '', nowMs);
    }
    default:
      return move(health, STATE_OF[seen.kind], seen.message, nowMs);
  }
}
