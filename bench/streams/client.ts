/**
 * One stream of the chaos run, read to its end: its text, when each piece of it came, and, where the scheduler itself is
 * struck, the way back: the same request with the same idempotency key, after the events that have come already.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ask } from './prompts.ts';

export interface StreamResult {
  /** Id of the request in the fleet, as its chunks name it. */
  readonly id: string;
  readonly text: string;
  readonly ok: boolean;
  /** How it ended when it did not end well. */
  readonly why: string;
  /** When pieces came, milliseconds since the epoch, in order. */
  readonly timesMs: readonly number[];
  readonly reconnects: number;
}

export interface Target {
  readonly url: string;
  readonly key: string;
}

export interface StreamOptions {
  /** Sent as Idempotency-Key; with it a cut connection is taken up again. */
  readonly idempotencyKey?: string;
  readonly limitMs: number;
}

interface Seen {
  id: string;
  text: string;
  events: number;
  finished: boolean;
  error: string;
  timesMs: number[];
}

const RECONNECT_MS = 100;

function take(seen: Seen, event: string): void {
  if (!event.startsWith('data: ')) return;
  if (event === 'data: [DONE]') {
    seen.finished = true;
    return;
  }
  seen.events += 1;
  const chunk = JSON.parse(event.slice(6)) as {
    id?: string;
    error?: { code?: string; message?: string };
    choices?: { delta?: { content?: string }; text?: string }[];
  };
  if (chunk.error !== undefined) seen.error = `${chunk.error.code}: ${chunk.error.message}`;
  seen.id ||= chunk.id ?? '';
  for (const choice of chunk.choices ?? []) seen.text += choice.delta?.content ?? choice.text ?? '';
}

/** One connection. Resolves when it ended; @throws when it was cut. */
async function readOnce(target: Target, ask: Ask, seen: Seen, headers: Record<string, string>, signal: AbortSignal) {
  const response = await fetch(`${target.url}${ask.path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${target.key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(ask.body),
    signal,
  });
  if (response.status !== 200) {
    seen.error = `status ${response.status}: ${(await response.text()).slice(0, 300)}`;
    return;
  }
  const decoder = new TextDecoder();
  let rest = '';
  for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
    const events = (rest + decoder.decode(bytes, { stream: true })).split('\n\n');
    rest = events.pop() ?? '';
    for (const event of events) take(seen, event);
    if (events.length > 0) seen.timesMs.push(Date.now());
  }
}

/** Errors that say "not now" while a scheduler is away or comes back. */
const NOT_NOW = /^status 50[34]/;

/** Reads one stream to its end; never rejects. */
export async function readStream(target: Target, ask: Ask, options: StreamOptions): Promise<StreamResult> {
  const seen: Seen = { id: '', text: '', events: 0, finished: false, error: '', timesMs: [] };
  const { idempotencyKey, limitMs } = options;
  const signal = AbortSignal.timeout(limitMs);
  const endMs = Date.now() + limitMs;
  let reconnects = 0;
  let why = '';
  while (!seen.finished) {
    const headers: Record<string, string> =
      idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey, 'x-resume-after': String(seen.events) };
    seen.error = '';
    try {
      await readOnce(target, ask, seen, headers, signal);
      why = seen.error || 'ended without [DONE]';
    } catch (error) {
      why = String((error as Error).cause ?? error);
    }
    const again = idempotencyKey !== undefined && (seen.error === '' || NOT_NOW.test(seen.error));
    if (seen.finished || !again || Date.now() > endMs) break;
    reconnects += 1;
    await sleep(RECONNECT_MS);
  }
  const ok = seen.finished && seen.error === '';
  return { id: seen.id, text: seen.text, ok, why: ok ? '' : why, timesMs: seen.timesMs, reconnects };
}
