/**
 * How far a fetch is and how long it still takes. The rate is an exponentially weighted mean over time, so that it follows
 * a source that becomes slower within seconds and yet does not jump with each chunk.
 */

export interface Rate {
  /** Bytes per second; 0 before the first reading. */
  readonly bytesPerSecond: number;
  readonly atMs: number;
  readonly totalBytes: number;
}

/** A reading of this age counts half. */
const HALF_LIFE_MS = 4000;

export const noRate = (nowMs: number, totalBytes = 0): Rate => ({ bytesPerSecond: 0, atMs: nowMs, totalBytes });

/** @param totalBytes fetched so far, ever rising */
export function stepRate(rate: Rate, totalBytes: number, nowMs: number): Rate {
  const dtMs = nowMs - rate.atMs;
  if (dtMs <= 0) return rate;
  const now = ((totalBytes - rate.totalBytes) / dtMs) * 1000;
  const keep = rate.bytesPerSecond === 0 ? 0 : 0.5 ** (dtMs / HALF_LIFE_MS);
  return { bytesPerSecond: keep * rate.bytesPerSecond + (1 - keep) * Math.max(0, now), atMs: nowMs, totalBytes };
}

export interface FetchProgress {
  readonly presentBytes: number;
  /** Absent: not known yet. */
  readonly totalBytes?: number;
  readonly bytesPerSecond: number;
}

/** 0 to 1; a fetch that is not over is never said to be complete. */
export const ratioOf = ({ presentBytes, totalBytes }: FetchProgress): number =>
  totalBytes === undefined || totalBytes === 0 ? 0 : Math.min(0.999, presentBytes / totalBytes);

/** Milliseconds; undefined while nothing moves. */
export function etaMsOf({ presentBytes, totalBytes, bytesPerSecond }: FetchProgress): number | undefined {
  if (totalBytes === undefined || bytesPerSecond < 1) return undefined;
  return Math.round((Math.max(0, totalBytes - presentBytes) / bytesPerSecond) * 1000);
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** Such as 2.1 GiB. */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

function timeText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

/** Such as `model 34 %, 2.1 GiB/s, ETA 40 s`. */
export function progressText(progress: FetchProgress): string {
  const eta = etaMsOf(progress);
  const parts = [`model ${Math.floor(ratioOf(progress) * 100)} %`, `${sizeText(progress.bytesPerSecond)}/s`];
  return [...parts, ...(eta === undefined ? [] : [`ETA ${timeText(eta)}`])].join(', ');
}
