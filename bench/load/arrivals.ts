/**
 * When requests are to be sent, decided before the first of them is: a schedule that does not know of answers cannot be
 * slowed down by them. Pure; chance is an argument.
 */
import type { RandomSource } from '../../lib/rng.ts';

/** One request that is to be sent. */
export interface Arrival {
  /** Milliseconds after the start of the run. */
  readonly atMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Ids of the blocks that the prompt begins with; equal ids are equal text. Absent: the prompt shares nothing. */
  readonly blocks?: readonly number[];
  /** Tokens of each such block. */
  readonly blockTokens?: number;
}

export interface PoissonPlan {
  readonly ratePerS: number;
  readonly seconds: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** Arrivals with exponential gaps, as independent callers make them. */
export function poissonArrivals(plan: PoissonPlan, random: RandomSource): Arrival[] {
  const { inputTokens, outputTokens } = plan;
  const meanGapMs = 1000 / plan.ratePerS;
  const arrivals: Arrival[] = [];
  for (let atMs = 0; ; ) {
    atMs += -Math.log(1 - random.next()) * meanGapMs;
    if (atMs >= plan.seconds * 1000) return arrivals;
    arrivals.push({ atMs, inputTokens, outputTokens });
  }
}

export interface ReplayPlan {
  /** How many times as fast as the trace was recorded. */
  readonly speed: number;
  /** Length of the run; what the trace holds after that is not sent. */
  readonly seconds: number;
}

/** A trace's own arrivals, from its first request on. */
export function replayArrivals(trace: readonly Arrival[], plan: ReplayPlan): Arrival[] {
  const sorted = trace.toSorted((a, b) => a.atMs - b.atMs);
  const firstMs = sorted[0]?.atMs ?? 0;
  return sorted
    .map((arrival) => ({ ...arrival, atMs: (arrival.atMs - firstMs) / plan.speed }))
    .filter((arrival) => arrival.atMs < plan.seconds * 1000);
}
