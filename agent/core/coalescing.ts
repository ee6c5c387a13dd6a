/**
 * When the frames of a lane leave. Measured: with one message an event-loop turn a lane costs a third less than with one
 * a token, and two tokens a write cost a third less again (`npm run bench -- micro-relay`). But a held token is a late
 * token, so nothing is held while there is nothing to gain: an idle thread sends at the end of its turn.
 */

export interface HoldFacts {
  /** The frame holds a first token or an end: it never waits. */
  readonly urgent: boolean;
  /** Longest hold by configuration; 0: none. */
  readonly maxHoldMs: number;
  /** Part of the newest period in which the thread was busy, 0 to 1. */
  readonly utilization: number;
  /** Bytes given to the transport that it has not taken: the receiver does not keep up. */
  readonly unsentBytes: number;
  readonly sinceLastSendMs: number;
}

/** Below this the thread has time for a message of its own per turn. */
const IDLE_UTILIZATION = 0.5;
/** From here on the whole hold is used. */
const BUSY_UTILIZATION = 0.85;
/** A receiver with this much on its way gains nothing from another small message. */
const BEHIND_BYTES = 256 * 1024;

/**
 * Longest wait for the rest of a step, in milliseconds: many engines write the tokens of a step one by one, a hundred of
 * them over some milliseconds, and a reader cannot see so short a wait beside a step of 10 to 50 ms.
 */
const STEP_HOLD_MS = 4;

/** How long the first tokens of a step may wait for the others; 0 where holds are turned off. */
export const stepHoldMs = (maxHoldMs: number): number => Math.min(STEP_HOLD_MS, maxHoldMs);

/**
 * How long a frame may wait for company on a busy thread or before a slow receiver, in milliseconds; 0: not for
 * that. Between idle and busy the hold grows evenly, since holding lowers the load that it is measured by and a step would swing.
 */
export function holdMs(facts: HoldFacts): number {
  const { urgent, maxHoldMs, utilization, unsentBytes, sinceLastSendMs } = facts;
  if (urgent || maxHoldMs === 0) return 0;
  const share = (utilization - IDLE_UTILIZATION) / (BUSY_UTILIZATION - IDLE_UTILIZATION);
  const bound = unsentBytes >= BEHIND_BYTES ? maxHoldMs : maxHoldMs * Math.min(1, Math.max(0, share));
  return Math.max(0, bound - sinceLastSendMs);
}
