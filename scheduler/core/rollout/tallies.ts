/** Differences of tallies: what came since a moment, where a counter may have begun anew in between. */
import type { Counters, RevisionTally } from './contract.ts';

export const NO_COUNTS: Counters = { started: 0, spoken: 0, ended: 0, failures: 0, rejections: 0, ttftCount: 0 };
export const NO_TALLY: RevisionTally = { ...NO_COUNTS, ttftMs: [] };

/** The counters alone: what is kept of a tally in the state. */
export function countersOf({ started, spoken, ended, failures, rejections, ttftCount }: Counters): Counters {
  return { started, spoken, ended, failures, rejections, ttftCount };
}

/**
 * The tally since `before`. A tally that is behind `before` has begun anew: another scheduler counts, or this one was started
 * again, and all of it is later than `before`.
 */
export function since(tally: RevisionTally, before: Counters): RevisionTally {
  if (tally.started < before.started || tally.ended < before.ended) return tally;
  return {
    started: tally.started - before.started,
    spoken: tally.spoken - before.spoken,
    ended: tally.ended - before.ended,
    failures: tally.failures - before.failures,
    rejections: tally.rejections - before.rejections,
    ttftCount: tally.ttftCount - before.ttftCount,
    ttftMs: tally.ttftMs,
  };
}
