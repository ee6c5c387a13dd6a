/**
 * A limit on bytes per second as a token bucket that may go into debt: what arrived is counted, and whoever made the debt
 * waits until it is paid. So chunks of any size pass, the mean holds, and a pause is never longer than one chunk takes.
 */

export interface TokenBucket {
  /** Bytes per second. */
  readonly rate: number;
  /** Bytes that may come at once; negative: debt. */
  readonly tokens: number;
  /** Monotonic milliseconds of the last look. */
  readonly atMs: number;
}

/** A tenth of a second's worth may come at once. */
const BURST_S = 0.1;

export const fullBucket = (rate: number, nowMs: number): TokenBucket => ({ rate, tokens: rate * BURST_S, atMs: nowMs });

/** Counts `bytes`, and says how long to wait before the next ones, in milliseconds. */
export function takeBytes(
  bucket: TokenBucket,
  bytes: number,
  nowMs: number,
): { readonly bucket: TokenBucket; readonly waitMs: number } {
  const { rate } = bucket;
  const earned = (Math.max(0, nowMs - bucket.atMs) / 1000) * rate;
  const tokens = Math.min(rate * BURST_S, bucket.tokens + earned) - bytes;
  return { bucket: { rate, tokens, atMs: nowMs }, waitMs: tokens >= 0 ? 0 : (-tokens / rate) * 1000 };
}
