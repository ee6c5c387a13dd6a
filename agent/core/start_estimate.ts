/**
 * How long a start still takes: from the milestones of the start-up log and from how long the same engine took before.
 * Without a history there is a bar, but no time is promised.
 */

/** One start that reached `ready`. Times are milliseconds since the launch. */
export interface PastStart {
  readonly totalMs: number;
  /** When each milestone was seen, by its share of a typical start as text. */
  readonly marks: Readonly<Record<string, number>>;
}

/** Past starts by key, newest last. */
export type StartHistory = Readonly<Record<string, readonly PastStart[]>>;

const MAX_KEYS = 128;
const MAX_STARTS = 8;

/** Adds a start; old ones of the same key and the oldest keys go. */
export function recordStart(history: StartHistory, key: string, start: PastStart): StartHistory {
  const { [key]: before = [], ...others } = history;
  const kept = Object.entries(others).slice(-(MAX_KEYS - 1));
  return Object.fromEntries([...kept, [key, [...before, start].slice(-MAX_STARTS)]]);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] as number;
}

export interface StartNow {
  readonly elapsedMs: number;
  /** The furthest milestone and when it was seen; absent before the first. */
  readonly milestone?: { readonly ratio: number; readonly atMs: number };
}

export interface StartEstimate {
  /** 0 to 1; below 1 until the engine is ready. */
  readonly ratio: number;
  /** Milliseconds; absent: not known. */
  readonly etaMs?: number;
}

/** A start that is late is nearly done as far as anybody knows, but never done before it is. */
const MOST_RATIO = 0.99;

export function estimateStart(now: StartNow, past: readonly PastStart[]): StartEstimate {
  const { milestone, elapsedMs } = now;
  const byLog = Math.min(MOST_RATIO, milestone?.ratio ?? 0);
  if (past.length === 0) return { ratio: byLog };
  const mark = milestone === undefined ? undefined : String(milestone.ratio);
  const remaining = past.flatMap((start) => {
    const seen = mark === undefined ? 0 : start.marks[mark];
    return seen === undefined ? [] : [Math.max(0, start.totalMs - seen)];
  });
  const since = milestone === undefined || remaining.length === 0 ? 0 : milestone.atMs;
  const expected = remaining.length > 0 ? median(remaining) : median(past.map((start) => start.totalMs));
  const etaMs = Math.max(0, Math.round(since + expected - elapsedMs));
  const ratio = elapsedMs + etaMs === 0 ? 0 : elapsedMs / (elapsedMs + etaMs);
  return { ratio: Math.min(MOST_RATIO, Math.max(0, ratio)), etaMs };
}
