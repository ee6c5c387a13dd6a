/**
 * One answer while it streams: which of its chunks carry text, when they came, and what went wrong in it. A stream may
 * fail inside an HTTP 200, so the status alone proves nothing.
 */
import type { LoadSink } from './figures.ts';

interface Chunk {
  readonly error?: { readonly code?: unknown; readonly type?: unknown } | null;
  readonly choices?: readonly {
    readonly text?: unknown;
    readonly delta?: Readonly<Record<string, unknown>>;
    readonly finish_reason?: unknown;
  }[];
  readonly usage?: { readonly completion_tokens?: unknown } | null;
}

/** Ends that nobody asked for: the engine gave the sequence up. */
const BAD_FINISH: readonly unknown[] = ['abort', 'error'];
/** Parts of a chat delta that are of the answer; the role alone is not. */
const DELTA_TEXT = ['content', 'reasoning_content', 'reasoning', 'tool_calls'] as const;

const MAX_WORD_CHARS = 64;

/** The word by which an error body is counted: its code, else its type. */
export function errorWord(error: { readonly code?: unknown; readonly type?: unknown }): string {
  for (const word of [error.code, error.type])
    if ((typeof word === 'string' && word !== '') || typeof word === 'number')
      return String(word).slice(0, MAX_WORD_CHARS);
  return 'error';
}

function hasText(chunk: Chunk): boolean {
  return (chunk.choices ?? []).some(({ text, delta }) => {
    if (typeof text === 'string') return text !== '';
    return DELTA_TEXT.some((part) => {
      const value = delta?.[part];
      return Array.isArray(value) ? value.length > 0 : typeof value === 'string' && value !== '';
    });
  });
}

export class Answer {
  readonly #sink: LoadSink;
  #pending = 0;
  #events = 0;
  #counted: number | undefined;
  #lastMs: number | undefined;
  firstMs: number | undefined;
  /** Absent while nothing is wrong. */
  fault: string | undefined;
  /** A finish reason, or the end of an answer that was not streamed. */
  finished = false;

  constructor(sink: LoadSink) {
    this.#sink = sink;
  }

  /** As the server counts them, else as many chunks with text as came. */
  get tokens(): number {
    return this.#counted ?? this.#events;
  }

  /** Takes the JSON of one chunk, or of a whole answer. */
  take(json: Uint8Array): void {
    let chunk: Chunk | null;
    try {
      chunk = JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString('utf8')) as Chunk | null;
    } catch {
      this.fault ??= 'bad_json';
      return;
    }
    if (typeof chunk !== 'object' || chunk === null) {
      this.fault ??= 'bad_json';
      return;
    }
    if (chunk.error !== undefined && chunk.error !== null) this.fault ??= `stream_${errorWord(chunk.error)}`;
    if (hasText(chunk)) this.#pending++;
    for (const { finish_reason: reason } of chunk.choices ?? []) {
      if (reason === undefined || reason === null) continue;
      this.finished = true;
      if (typeof reason === 'string' && BAD_FINISH.includes(reason)) this.fault ??= `finish_${reason}`;
    }
    const counted = chunk.usage?.completion_tokens;
    if (typeof counted === 'number') this.#counted = counted;
  }

  /** All chunks of one read were taken. */
  readEnd(nowMs: number): void {
    if (this.#pending === 0) return;
    const tokens = this.#pending;
    this.#pending = 0;
    this.#events += tokens;
    this.firstMs ??= nowMs;
    this.#sink.arrived(tokens, nowMs, this.#lastMs === undefined ? undefined : nowMs - this.#lastMs);
    this.#lastMs = nowMs;
  }
}
