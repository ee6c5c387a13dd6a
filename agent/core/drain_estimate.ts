/** How long a drain still takes, from the rate at which its requests have ended so far. */

export interface DrainWatch {
  /** Monotonic milliseconds. */
  readonly sinceMs: number;
  /** Requests that ran when the drain began; more may have been on their way. */
  readonly most: number;
}

export const beginDrain = (nowMs: number, running: number): DrainWatch => ({ sinceMs: nowMs, most: running });

/**
 * Milliseconds until the last request ends, at most the time that the drain is given; undefined before any has ended.
 * With requests of similar length the rate is steady; a single long one makes the estimate end at the time limit.
 */
export function drainEtaMs(watch: DrainWatch, running: number, nowMs: number, limitMs: number): number | undefined {
  if (running === 0) return 0;
  const elapsed = nowMs - watch.sinceMs;
  const left = Math.max(0, Math.round(limitMs - elapsed));
  const ended = watch.most - running;
  if (ended <= 0 || elapsed <= 0) return undefined;
  return Math.min(left, Math.round((running / ended) * elapsed));
}
