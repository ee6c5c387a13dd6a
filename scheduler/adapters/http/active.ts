/**
 * The answers that are being written: flushes them together, pings the silent ones, gives up on clients that do not
 * read, counts them, and tells when none is left. One timer looks after all of them, so that an answer costs no timers
 * of its own.
 */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../../../lib/clock.ts';
import { ERRORS, type ErrorCode } from '../../../lib/errors.ts';
import { recordChatEnd } from '../../../lib/io/chat_record.ts';
import type { Metrics } from '../../../lib/io/metrics.ts';
import type { Door } from '../../ports.ts';
import { EventStream, type EventStreamHost, type StreamEnd } from './event_stream.ts';
import type { PlainAnswer, PlainAnswerHost } from './plain_answer.ts';

export type Answer = EventStream | PlainAnswer;

export interface ActiveOptions {
  readonly windowBytes: number;
  readonly coalesceMs: number;
  readonly pingIntervalMs: number;
  readonly stallTimeoutMs: number;
}

export interface ActiveAnswers extends EventStreamHost, PlainAnswerHost {
  add(answer: Answer, response: ServerResponse, model: string, startedAtMs: number): void;
  readonly count: number;
  /** Resolves when no answer is left. */
  idle(): Promise<void>;
  /** Cancels what is left and stops the timer. */
  close(): void;
}

interface Entry {
  readonly response: ServerResponse;
  readonly model: string;
}

/** A ping comes between half an interval and a whole one after the last write. */
const SWEEPS_PER_PING = 2;

/** What the HTTP and WebSocket doors call an end that has no error code. */
const CODE_OF_END: Readonly<Record<string, ErrorCode>> = {
  client_gone: 'cancelled',
  client_stalled: 'cancelled',
  shutdown: 'draining',
};

function codeOfEnd(outcome: string): 'ok' | ErrorCode {
  if (outcome === 'ok' || outcome in ERRORS) return outcome as 'ok' | ErrorCode;
  return CODE_OF_END[outcome] ?? 'internal';
}

/** Records what a door knows of one ended request; used by the HTTP and the WebSocket door. */
export function recordEnd(
  metrics: Metrics,
  request: { model: string; door: Door; startedAtMs: number; firstTokenAtMs: number; endedAtMs: number },
  end: StreamEnd,
): void {
  recordChatEnd(metrics, {
    ...request,
    code: codeOfEnd(end.outcome),
    firstTokenAtMs: request.firstTokenAtMs === 0 ? undefined : request.firstTokenAtMs,
    outputTokens: end.usage?.completionTokens ?? 0,
  });
}

/** Responses whose answer is over, but whose last bytes the client has not taken: cut after `maxSweeps` looks. */
function createLingering(maxSweeps: number) {
  const lingering = new Map<ServerResponse, number>();
  return {
    add(response: ServerResponse): void {
      if ((response.socket?.writableLength ?? 0) > 0) lingering.set(response, 0);
    },
    sweep(): void {
      for (const [response, sweeps] of [...lingering]) {
        if (response.writableFinished || response.destroyed) lingering.delete(response);
        else if (sweeps >= maxSweeps) response.destroy();
        else lingering.set(response, sweeps + 1);
      }
    },
    close(): void {
      for (const response of lingering.keys()) response.destroy();
    },
  };
}

function sweepAnswer(answer: Answer, maxStalledSweeps: number): void {
  if (answer.stalled) {
    answer.stalledSweeps += 1;
    if (answer.stalledSweeps > maxStalledSweeps) answer.abort('client_stalled');
    return;
  }
  if (!(answer instanceof EventStream)) return;
  if (answer.silent) answer.ping();
  answer.silent = true;
}

/** Looks after the answers of one door until `close()`. */
export function createActiveAnswers(options: ActiveOptions, clock: Clock, metrics: Metrics): ActiveAnswers {
  const entries = new Map<Answer, Entry>();
  const gauge = metrics.gauge('chat_requests_active');
  const sweepMs = Math.max(1, options.pingIntervalMs / SWEEPS_PER_PING);
  const maxStalledSweeps = Math.max(1, Math.ceil(options.stallTimeoutMs / sweepMs));
  const lingering = createLingering(maxStalledSweeps);
  let due: EventStream[] = [];
  let waiting: (() => void)[] = [];
  let isClosed = false;

  const flushDue = (): void => {
    const streams = due;
    due = [];
    for (const stream of streams) stream.flush();
  };
  const sweep = (): void => {
    for (const answer of [...entries.keys()]) sweepAnswer(answer, maxStalledSweeps);
    lingering.sweep();
    if (!isClosed) stopTimer = clock.after(sweepMs, sweep);
  };
  let stopTimer = clock.after(sweepMs, sweep);

  return {
    windowBytes: options.windowBytes,
    due(stream) {
      due.push(stream);
      if (due.length > 1) return;
      if (options.coalesceMs === 0) setImmediate(flushDue);
      else clock.after(options.coalesceMs, flushDue);
    },
    firstToken(stream) {
      stream.firstTokenAtMs = clock.monotonicMs();
    },
    add(answer, response, model, startedAtMs) {
      answer.startedAtMs = startedAtMs;
      entries.set(answer, { response, model });
      gauge.inc({ door: 'http' });
    },
    ended(sink, end) {
      const answer = sink as Answer;
      const entry = entries.get(answer);
      if (entry === undefined) return;
      entries.delete(answer);
      gauge.dec({ door: 'http' });
      const firstTokenAtMs = answer instanceof EventStream ? answer.firstTokenAtMs : 0;
      const { startedAtMs } = answer;
      const times = { startedAtMs, firstTokenAtMs, endedAtMs: clock.monotonicMs() };
      recordEnd(metrics, { model: entry.model, door: 'http', ...times }, end);
      lingering.add(entry.response);
      if (entries.size > 0) return;
      for (const resolve of waiting) resolve();
      waiting = [];
    },
    get count() {
      return entries.size;
    },
    idle() {
      if (entries.size === 0) return Promise.resolve();
      return new Promise((resolve) => waiting.push(resolve));
    },
    close() {
      isClosed = true;
      stopTimer();
      for (const answer of [...entries.keys()]) answer.abort('shutdown');
      lingering.close();
    },
  };
}
