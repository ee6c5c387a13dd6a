/**
 * How the end of a request is counted, the same for every door: its outcome, its duration, its first token and the pace
 * after it. A name that a client made up never becomes a label.
 */
import { type ErrorCode, outcomeOf } from '../errors.ts';
import type { Metrics } from './metrics.ts';

const UNKNOWN_MODEL = 'unknown';

export interface ChatEnd {
  readonly model: string;
  readonly door: string;
  readonly code: 'ok' | ErrorCode;
  /** Monotonic milliseconds. */
  readonly startedAtMs: number;
  /** Absent when no token left. */
  readonly firstTokenAtMs: number | undefined;
  readonly endedAtMs: number;
  readonly outputTokens: number;
}

/** Counts a request that was refused before it ran. */
export function recordChatRefusal(metrics: Metrics, model: string, door: string, code: ErrorCode): void {
  const label = code === 'model_not_found' ? UNKNOWN_MODEL : model;
  metrics.chatRequestsTotal.inc({ model: label, outcome: outcomeOf(code), code, door });
}

/** Counts a request that has ended. */
export function recordChatEnd(metrics: Metrics, end: ChatEnd): void {
  const { model, door, code, startedAtMs, firstTokenAtMs, endedAtMs, outputTokens } = end;
  if (code === 'model_not_found') {
    recordChatRefusal(metrics, model, door, code);
    return;
  }
  metrics.chatRequestsTotal.inc({ model, outcome: outcomeOf(code), code, door });
  metrics.chatRequestDurationSeconds.observe({ model, door }, (endedAtMs - startedAtMs) / 1000);
  if (firstTokenAtMs === undefined) return;
  metrics.histogram('chat_time_to_first_token_seconds').observe({ model, door }, (firstTokenAtMs - startedAtMs) / 1000);
  if (outputTokens <= 1) return;
  const meanMs = (endedAtMs - firstTokenAtMs) / (outputTokens - 1);
  metrics.histogram('chat_inter_token_seconds').observe({ model }, meanMs / 1000);
}
