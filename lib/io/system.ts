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

/** A call into the system's source costs 12 us, which each request would pay for its id; so it is asked for more at once. */
const POOL_BYTES = 4096;
let pool = Buffer.alloc(0);
let poolAt = 0;

/** Random bytes that are given out once: what was taken is wiped in the pool, for it may become a key. */
function takeRandom(count: number): Buffer {
  if (count > POOL_BYTES / 4) return randomBytes(count);
  if (poolAt + count > pool.length) {
    pool = randomBytes(POOL_BYTES);
    poolAt = 0;
  }
  const from = poolAt;
  poolAt += count;
  const taken = Buffer.from(pool.subarray(from, poolAt));
  pool.fill(0, from, poolAt);
  return taken;
}

/** Cryptographically strong chance, of node:crypto. */
export const systemRandom: RandomSource = {
  next: () => takeRandom(6).readUIntBE(0, 6) / 2 ** 48,
  bytes: takeRandom,
};
