/**
 * Brakes on restarts. Of one engine: pauses that grow, and an end after so many in a window. Of the host: a token bucket
 * over all engines, because a fault of the host (a driver reset, a full disk) takes all of them down at once and their
 * restarts together would be a storm.
 */
import { backoffCeilingMs, backoffDelayMs, type BackoffPolicy } from '../../lib/backoff.ts';
import type { RandomSource } from '../../lib/rng.ts';

export interface RestartHistory {
  readonly restarts: number;
  readonly restartTimesMs: readonly number[];
}

export interface EngineBrakePolicy {
  readonly maxRestarts: number;
  readonly windowMs: number;
  readonly backoff: BackoffPolicy;
}

export type RestartVerdict =
  | { readonly kind: 'give_up'; readonly inWindow: number }
  | { readonly kind: 'after'; readonly delayMs: number; readonly history: RestartHistory };

/** Most times that are kept, whatever a specification allows. */
const MAX_TIMES = 1000;

/** Whether an engine may be started again after a failure, and after how long. */
export function judgeRestart(
  history: RestartHistory,
  policy: EngineBrakePolicy,
  nowMs: number,
  random: RandomSource,
): RestartVerdict {
  const recent = history.restartTimesMs.filter((time) => nowMs - time < policy.windowMs);
  if (recent.length >= policy.maxRestarts) return { kind: 'give_up', inWindow: recent.length };
  return {
    kind: 'after',
    delayMs: backoffDelayMs(recent.length, policy.backoff, random),
    history: { restarts: history.restarts + 1, restartTimesMs: [...recent, nowMs].slice(-MAX_TIMES) },
  };
}

/** The host's bucket: `tokens` restarts may come at once, then one each `periodMs`. */
export interface HostBrake {
  readonly tokens: number;
  /** Monotonic milliseconds at which `tokens` was right. */
  readonly atMs: number;
}

export interface HostBrakePolicy {
  readonly burst: number;
  readonly periodMs: number;
}

export const fullBrake = (policy: HostBrakePolicy, nowMs: number): HostBrake => ({ tokens: policy.burst, atMs: nowMs });

function refilled(brake: HostBrake, policy: HostBrakePolicy, nowMs: number): HostBrake {
  const earned = Math.max(0, nowMs - brake.atMs) / policy.periodMs;
  return { tokens: Math.min(policy.burst, brake.tokens + earned), atMs: Math.max(brake.atMs, nowMs) };
}

/** Milliseconds until the next restart may come; 0: now. Restarts that already wait have their tokens taken. */
export function brakeDelayMs(brake: HostBrake, policy: HostBrakePolicy, nowMs: number): number {
  const { tokens } = refilled(brake, policy, nowMs);
  return tokens >= 1 ? 0 : Math.ceil((1 - tokens) * policy.periodMs);
}

/** Takes one restart out of the bucket; it may go into debt by one burst, so that what waits stays bounded in time. */
export function takeRestart(brake: HostBrake, policy: HostBrakePolicy, nowMs: number): HostBrake {
  const full = refilled(brake, policy, nowMs);
  return { ...full, tokens: Math.max(-policy.burst, full.tokens - 1) };
}

const MAX_THREAD_DELAY_MS = 10_000;
/** A thread that ran this long has served: its crash is not its start's doing, and streams wait for the next one. */
const SERVED_MS = 2000;

/**
 * The pause before a crashed thread (of the relay, of the door for models) is started again, in milliseconds. It doubles with each crash in a row of threads
 * that never served; after one that did, the next comes as soon as after a first crash.
 * @param before crashes in a row so far, as the last call gave them
 */
export function judgeThreadRestart(
  before: number,
  livedMs: number,
  baseMs: number,
): { readonly crashes: number; readonly delayMs: number } {
  const crashes = livedMs > SERVED_MS ? 1 : before + 1;
  return { crashes, delayMs: backoffCeilingMs(crashes - 1, { baseMs, capMs: MAX_THREAD_DELAY_MS }) };
}
