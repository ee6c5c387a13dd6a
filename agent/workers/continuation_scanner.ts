/**
 * Stands in for the event scanner while an answer is continued: the engine speaks completions, the client gets what it
 * had before. Each chunk is parsed and written anew, which costs a few microseconds a token; only cut answers pay it.
 */
import { CodedError } from '../../lib/errors.ts';
import { createSseSplitter, formatSseEvent, type SseSplitter } from '../../lib/sse.ts';
import type { LaneUsage } from '../../proto/codec.ts';
import type { ContinuedAnswer } from '../core/continued_chunk.ts';
import type { TokensSink } from './event_scanner.ts';

/** What a request needs of the one that reads its stream. */
export interface StreamScanner {
  push(buffer: Buffer, start: number, end: number): void;
  flush(): void;
  readonly cutShort: boolean;
  readonly sawDone: boolean;
  readonly finishReason: string | undefined;
  readonly usage: LaneUsage | undefined;
  readonly errorText: string | undefined;
  /** The answer is whole although its engine would go on. */
  readonly stopped: boolean;
}

export class ContinuationScanner implements StreamScanner {
  readonly #answer: ContinuedAnswer;
  readonly #promptTokens: number;
  readonly #splitter: SseSplitter;
  readonly #sink: TokensSink;
  #out = '';
  #ids: number[] = [];
  sawDone = false;
  errorText: string | undefined;

  constructor(answer: ContinuedAnswer, promptTokens: number, maxEventBytes: number, sink: TokensSink) {
    this.#answer = answer;
    this.#promptTokens = promptTokens;
    this.#splitter = createSseSplitter({ maxEventBytes });
    this.#sink = sink;
  }

  get cutShort(): boolean {
    return this.#splitter.pendingBytes > 0;
  }

  get finishReason(): string | undefined {
    return this.#answer.finishReason;
  }

  get usage(): LaneUsage | undefined {
    return this.#answer.usage;
  }

  get stopped(): boolean {
    return this.#answer.stopped;
  }

  /** @throws CodedError engine_garbage when an event exceeds the bound or is no chunk */
  push(buffer: Buffer, start: number, end: number): void {
    for (const payload of this.#splitter.push(buffer.subarray(start, end))) {
      if (this.stopped) return;
      this.#event(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8'));
    }
  }

  #event(text: string): void {
    if (text === '[DONE]') {
      this.sawDone = true;
      return;
    }
    let chunk: unknown;
    try {
      chunk = JSON.parse(text);
    } catch (cause) {
      throw new CodedError('engine_garbage', 'The stream of the engine holds an event that is not a chunk.', { cause });
    }
    if (typeof chunk === 'object' && chunk !== null && 'error' in chunk) {
      this.errorText ??= text;
      return;
    }
    const { json, ids } = this.#answer.take(chunk);
    for (const id of ids) this.#ids.push(id);
    if (json !== undefined) this.#out += formatSseEvent(json);
    if (!this.stopped) return;
    // The engine goes on without knowing of the end, so its own usage never comes.
    const usage = this.#answer.endUsage(this.#promptTokens);
    if (usage !== undefined) this.#out += formatSseEvent(usage);
    this.sawDone = true;
  }

  flush(): void {
    if (this.#out === '' && this.#ids.length === 0) return;
    const bytes = Buffer.from(this.#out);
    const ids = this.#ids;
    this.#out = '';
    this.#ids = [];
    this.#sink(bytes, 0, bytes.length, ids);
  }
}
