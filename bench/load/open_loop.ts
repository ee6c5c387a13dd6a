/**
 * Sends each request at the time that was intended for it, whatever became of those before: an open loop. A request that
 * could not be sent in time, because this process was busy or too many are open, keeps its intended time, and its latency
 * counts from there. A closed loop would send fewer requests to a server that stalls, and so measure the stall once
 * instead of once per caller (coordinated omission).
 */
import type { Arrival } from './arrivals.ts';

/** The clock of a run, so that a test can be its own. */
export interface LoopClock {
  nowMs(): number;
  /** Resolves at or after a time of this clock; gives way to input and output even when that has passed. */
  until(ms: number): Promise<void>;
}

export interface OpenLoopOptions {
  readonly arrivals: readonly Arrival[];
  /** Requests that may be open at a time; the next wait for one of them to end. */
  readonly maxInFlight: number;
  readonly clock: LoopClock;
  /** Asked before each request; true ends the run after what is open. */
  readonly stopped?: () => boolean;
  /** Makes a request before its time has come, because a long prompt takes long to write. */
  readonly prepare: (arrival: Arrival, index: number) => Send;
}

/** Runs a request to its end. Must not reject, and must end by itself: it has a time limit of its own. */
export type Send = (intendedMs: number) => Promise<void>;

/** The real clock. */
export const realClock: LoopClock = {
  nowMs: () => performance.now(),
  until: (ms) =>
    new Promise((resolve) => {
      // Timers cut off parts of a millisecond and count from the loop's last look at the time: one may be early.
      const wait = (): void => {
        const leftMs = ms - performance.now();
        if (leftMs > 0) setTimeout(wait, Math.ceil(leftMs));
        else resolve();
      };
      if (ms > performance.now()) wait();
      else setImmediate(resolve);
    }),
};

/** Runs all arrivals. @returns how many were sent, once all of them have ended */
export async function runOpenLoop(options: OpenLoopOptions): Promise<number> {
  const { arrivals, clock, maxInFlight, prepare } = options;
  const open = new Set<Promise<void>>();
  const startMs = clock.nowMs();
  let sent = 0;
  for (const [index, arrival] of arrivals.entries()) {
    const intendedMs = startMs + arrival.atMs;
    const send = prepare(arrival, index);
    await clock.until(intendedMs);
    while (open.size >= maxInFlight) await Promise.race(open);
    if (options.stopped?.() === true) break;
    const running = send(intendedMs).finally(() => open.delete(running));
    open.add(running);
    sent++;
  }
  await Promise.all(open);
  return sent;
}
