/**
 * The real clock and the real source of chance behind the ports of lib/clock.ts and lib/rng.ts. Only mains and wires
 * take them; everything below gets them as arguments.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../clock.ts';
import type { RandomSource } from '../rng.ts';

/** The longest delay that Node's timers take; a longer one would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, Math.min(Math.max(0, delayMs), LONGEST_TIMER_MS));
    return () => clearTimeout(timer);
  },
};

/** Cryptographically strong chance, of node:crypto. */
export const systemRandom: RandomSource = {
  next: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
  bytes: (count) => randomBytes(count),
};
