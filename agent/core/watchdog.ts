/**
 * Tells a busy engine from a wedged one. vLLM's /health stays 200 while its core is stopped, and with one GPU nobody
 * inside it ever notices, so progress is the only sign: tokens at the relay first, the engine's own counters as a second
 * witness (a request that is not streamed shows no token before its end). Queued requests are no sign of trouble as long
 * as others move, requests held back by their own clients never count, and a prefill gets time by its size, at the speed
 * that this engine has shown. Time in which the host gave the engine no CPU is not held against it. Pure: the run loop ticks
 * it.
 */
import type { EngineLoad, EngineProgress } from '../ports.ts';

export interface WatchdogPolicy {
  /** Least silence that can be called a wedge, in milliseconds. */
  readonly floorMs: number;
  /** Silence in units of the engine's own median time between tokens. */
  readonly interTokenFactor: number;
  /** The floor before any inter-token time is known, in milliseconds. */
  readonly uncalibratedFloorMs: number;
  /** Prefill of one byte of waiting requests before this engine has shown its own speed, in milliseconds. */
  readonly startMsPerByte: number;
  /** How much slower than seen a prefill may be. */
  readonly prefillFactor: number;
  /** The least that a byte of waiting requests adds, however fast the engine was, in milliseconds: a cache made it fast. */
  readonly leastMsPerByte: number;
  /** Longest wait for an answer of the engine's metrics that may put off a verdict, in milliseconds. */
  readonly witnessGraceMs: number;
  /** Least silence of an engine that has only plain requests and has not moved since they came: their prefill, of unknown size. */
  readonly plainFloorMs: number;
}

export const WATCHDOG: WatchdogPolicy = {
  floorMs: 2000,
  interTokenFactor: 20,
  uncalibratedFloorMs: 5000,
  // About 500 tokens a second at four bytes each: slower than any engine that is worth running.
  startMsPerByte: 0.5,
  prefillFactor: 4,
  // About 3,000 tokens a second at four bytes each.
  leastMsPerByte: 0.08,
  witnessGraceMs: 5000,
  plainFloorMs: 15_000,
};

export interface Watch {
  readonly incarnation: number;
  /** When the watchdog last ran: a gap means that the agent itself stood still. */
  readonly tickedAtMs?: number;
  /** Silence is counted from here at the earliest. */
  readonly notBeforeMs: number;
  /** Since when the engine has had requests without a pause: silence before that is idleness. */
  readonly busySinceMs?: number;
  /** When a question for its metrics was last left unanswered. */
  readonly unansweredAtMs?: number;
  /** The engine's counters when they last moved, and when that was. */
  readonly witness?: { readonly count: number; readonly movedAtMs: number; readonly readAtMs: number };
  /** Its threads' waits for a CPU at the first look of this silence, and how far the one that waited most has come since. */
  readonly starved?: { readonly first: ReadonlyMap<number, number>; readonly ms: number };
}

export interface WatchInput {
  readonly nowMs: number;
  readonly progress: EngineProgress | undefined;
  /** Whether a question for the metrics is under way, and since when. */
  readonly askingSinceMs?: number;
}

export type WatchVerdict =
  | { readonly kind: 'fine' }
  /** Silent, within its bound: the engine's own counters should be read. */
  | { readonly kind: 'ask' }
  | { readonly kind: 'wedged'; readonly silentMs: number; readonly boundMs: number; readonly message: string };

/** A pause of the agent of more than this makes all its figures old. */
const GAP_MS = 1500;
/** Most of a silence that is put down to lack of CPU: an engine that gets a quarter of one must still be found out. */
const MOST_STARVED_SHARE = 0.75;
/** Share of the bound after which the engine's counters are asked. */
const ASK_SHARE = 0.25;

export const beginWatch = (incarnation: number, nowMs: number): Watch => ({ incarnation, notBeforeMs: nowMs });

/**
 * Takes a reading of the engine's metrics: counters that moved are progress, whatever the relay sees. Where the relay saw
 * tokens since the reading before, these are the movement, and it was no later than they were.
 *
 * @param progressAtMs when the relay last saw a token of the engine
 */
export function withWitness(watch: Watch, load: EngineLoad | undefined, nowMs: number, progressAtMs?: number): Watch {
  const parts = [load?.generationTokensTotal, load?.iterationsTotal, load?.promptTokensTotal];
  const known = parts.filter((part) => part !== undefined);
  if (load === undefined) return { ...watch, unansweredAtMs: nowMs };
  if (known.length === 0) return watch;
  const count = known.reduce((sum, part) => sum + part, 0);
  const { witness } = watch;
  // The first reading says nothing about movement, but the engine answered with it.
  if (witness === undefined) return { ...watch, witness: { count, movedAtMs: watch.notBeforeMs, readAtMs: nowMs } };
  if (witness.count === count) return { ...watch, witness: { ...witness, readAtMs: nowMs } };
  const seen = progressAtMs !== undefined && progressAtMs >= witness.readAtMs ? progressAtMs : nowMs;
  return { ...watch, witness: { count, movedAtMs: seen, readAtMs: nowMs } };
}

/** Takes a reading of how long each of the engine's threads has waited for a CPU, in milliseconds, during a silence. */
export function withRunDelays(watch: Watch, delaysMs: ReadonlyMap<number, number>): Watch {
  const first = watch.starved?.first;
  if (first === undefined) return { ...watch, starved: { first: delaysMs, ms: 0 } };
  let ms = 0;
  for (const [thread, delayMs] of delaysMs) ms = Math.max(ms, delayMs - (first.get(thread) ?? delayMs));
  return { ...watch, starved: { first, ms } };
}

/** The longest silence that this engine may show now, in milliseconds. */
export function silenceBoundMs(watch: Watch, progress: EngineProgress, policy: WatchdogPolicy): number {
  const { interTokenP50Ms: median, open, plain = 0 } = progress;
  const floor = median === undefined ? policy.uncalibratedFloorMs : policy.floorMs;
  const base = Math.max(floor, policy.interTokenFactor * (median ?? 0));
  if (open === plain && (watch.witness?.movedAtMs ?? 0) <= (watch.busySinceMs ?? 0))
    return Math.max(base, policy.plainFloorMs);
  if (progress.waitingFirst === 0) return base;
  const { prefillMsPerByte: seen } = progress;
  const perByte =
    seen === undefined ? policy.startMsPerByte : Math.max(policy.leastMsPerByte, policy.prefillFactor * seen);
  return base + progress.waitingBytes * perByte;
}

function judge(watch: Watch, progress: EngineProgress, input: WatchInput, policy: WatchdogPolicy): WatchVerdict {
  const { plain = 0 } = progress;
  const decoding = progress.open - progress.waitingFirst - progress.stalled - plain;
  if (decoding <= 0 && progress.waitingFirst <= 0 && plain <= 0) return { kind: 'fine' };
  const lastMs = Math.max(
    progress.lastProgressAtMs ?? 0,
    progress.oldestWaitingSinceMs !== undefined && decoding <= 0 ? progress.oldestWaitingSinceMs : 0,
    watch.witness?.movedAtMs ?? 0,
    watch.busySinceMs ?? 0,
    watch.notBeforeMs,
  );
  const allMs = input.nowMs - lastMs;
  const starvedMs = Math.min(watch.starved?.ms ?? 0, allMs * MOST_STARVED_SHARE);
  const silentMs = allMs - starvedMs;
  const boundMs = silenceBoundMs(watch, progress, policy);
  // Whether it is looked at goes by the whole silence: `fine` says that the engine moved.
  if (silentMs <= boundMs) return allMs > boundMs * ASK_SHARE ? { kind: 'ask' } : { kind: 'fine' };
  if (decoding <= 0) {
    // Nothing was streaming: a long answer that is not streamed looks the same, so the engine itself must have told.
    if (watch.witness === undefined) return { kind: 'ask' };
    const asked = input.askingSinceMs;
    if (asked !== undefined && input.nowMs - asked < policy.witnessGraceMs) return { kind: 'ask' };
    // A reading from before the silence says nothing of it.
    const heardAtMs = Math.max(watch.witness.readAtMs, watch.unansweredAtMs ?? 0);
    if (asked === undefined && heardAtMs <= lastMs + boundMs * ASK_SHARE) return { kind: 'ask' };
  }
  const without = starvedMs >= 1 ? `, beside ${Math.round(starvedMs)} ms without a CPU` : '';
  const waits = `${progress.open} requests were open, ${progress.waitingFirst} of them before their first token`;
  const message = `No progress for ${Math.round(silentMs)} ms, where ${Math.round(boundMs)} ms is the most for this engine${without}; ${waits}.`;
  return { kind: 'wedged', silentMs, boundMs, message };
}

/** One tick: what is learned, and whether the engine is wedged. */
export function tickWatch(
  watch: Watch,
  input: WatchInput,
  policy: WatchdogPolicy = WATCHDOG,
): { readonly watch: Watch; readonly verdict: WatchVerdict } {
  const { nowMs, progress } = input;
  const gap = watch.tickedAtMs !== undefined && nowMs - watch.tickedAtMs > GAP_MS;
  // Whatever stood still (the agent, the machine), the engine is not to blame for it.
  const awake: Watch = { ...watch, tickedAtMs: nowMs, ...(gap ? { notBeforeMs: nowMs } : {}) };
  if (progress === undefined || progress.incarnation !== watch.incarnation || progress.open === 0) {
    const { busySinceMs: _busy, starved: _starved, ...idle } = awake;
    return { watch: idle, verdict: { kind: 'fine' } };
  }
  const busy: Watch = { ...awake, busySinceMs: awake.busySinceMs ?? nowMs };
  const verdict = judge(busy, progress, input, policy);
  const { starved: _over, ...moving } = busy;
  return { watch: verdict.kind === 'fine' ? moving : busy, verdict };
}

/** Faults of one life: streams that the engine broke although its process lives. */
export interface FaultRecord {
  readonly seen: number;
  /** When the newest ones were, monotonic milliseconds. */
  readonly timesMs: readonly number[];
}

export const noFaults: FaultRecord = { seen: 0, timesMs: [] };
const FAULT_WINDOW_MS = 60_000;
const FAULTS_THAT_TELL = 3;

/** Takes the relay's count: how many are new, and whether they are so many that /health must be believed at once. */
export function countFaults(
  record: FaultRecord,
  total: number,
  nowMs: number,
): { readonly record: FaultRecord; readonly fresh: number; readonly suspicious: boolean } {
  // A relay thread that was started again counts from 0.
  const fresh = total >= record.seen ? total - record.seen : total;
  const recent = record.timesMs.filter((time) => nowMs - time < FAULT_WINDOW_MS);
  for (let i = 0; i < Math.min(fresh, FAULTS_THAT_TELL); i++) recent.push(nowMs);
  const timesMs = recent.slice(-FAULTS_THAT_TELL);
  return { record: { seen: total, timesMs }, fresh, suspicious: timesMs.length >= FAULTS_THAT_TELL };
}
