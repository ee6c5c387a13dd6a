/**
 * Time as a port: pure code takes `nowMs` as an argument, run loops take a Clock, so that tests and the simulator
 * drive both. The system's own clock is in lib/io/system.ts.
 */
export interface Clock {
  /** Wall-clock milliseconds since the epoch: for timestamps that leave the process, never for differences. */
  wallMs(): number;
  /** Monotonic milliseconds: for durations and deadlines. */
  monotonicMs(): number;
  /** Runs `task` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, task: () => void): () => void;
}

/** A beat this near is the one that is being played: a timer may ring a moment early. */
const SAME_BEAT_SHARE = 0.25;

/**
 * Milliseconds until the next whole multiple of `periodMs` on this clock. Periodic tasks that wait for such beats wake
 * the process together instead of one after the other, and most of what an idle process costs is being woken.
 */
export function untilNextBeatMs(nowMs: number, periodMs: number): number {
  const leftMs = periodMs - (nowMs % periodMs);
  return leftMs < SAME_BEAT_SHARE * periodMs ? leftMs + periodMs : leftMs;
}
