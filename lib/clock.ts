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
