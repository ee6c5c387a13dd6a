/**
 * One request of a GenerateMany stream: the sink of its generation, and its own flow control. Two ledgers are kept. The
 * client's credit counts entry bytes and decides what may be sent; the agent's window counts SSE bytes and bounds what
 * waits here for that credit. Per token nothing is allocated as long as the client has credit.
 */
import type { CodedError } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import { inferenceMessages } from '../../../proto/load.ts';
import { ENTRY } from '../../../proto/many_codec.ts';
import { encodeStatus } from '../../../proto/status.ts';
import type { QueuePlace } from '../../core/queue/contract.ts';
import type { Generation, GenerationSink } from '../../ports.ts';
import { AnswerBuffer } from './inference_answer.ts';
import { lineEnd, payloadStart } from './inference_chunks.ts';

const NOTHING = Buffer.alloc(0);
/** Credit adds up to at most this, so that no sequence of grants leaves the exact integers. */
const MAX_CREDIT_BYTES = 2 ** 40;
/** A client with a tiny credit still gets a window worth a lane frame; what exceeds its credit waits here. */
const MIN_WINDOW_BYTES = 4096;

/** What a request needs of the stream that carries it. */
export interface ManyOutlet {
  /** The client does not read: nothing is granted until `unblocked` is called. */
  readonly blocked: boolean;
  append(stream: number, kind: number, payload: Uint8Array, start?: number, end?: number): void;
  /** Asks for one call of `request.settle()` when the client reads again. */
  settleLater(request: ManyRequest): void;
  /** The request has appended its last entry. */
  finished(request: ManyRequest): void;
}

export interface ManyRequestOptions {
  readonly stream: number;
  readonly id: RequestId;
  /** Undefined: no limit of its own. */
  readonly creditBytes: number | undefined;
  readonly windowBytes: number;
  readonly maxAnswerBytes: number;
  readonly wantTokenIds: boolean;
  readonly tellQueue: boolean;
  /** Whose request it is when its id is an idempotency key; undefined: it ends with its stream. */
  readonly keyOwner: TenantId | undefined;
}

/** Bytes that came while the client had no credit; `at` is how far they have been sent. */
interface Waiting {
  readonly sse: Buffer;
  at: number;
  ids: Buffer;
}

export class ManyRequest implements GenerationSink {
  readonly stream: number;
  readonly id: RequestId;
  readonly keyOwner: TenantId | undefined;
  /** How many bytes the agent may send before the first grant. */
  readonly windowBytes: number;
  readonly #outlet: ManyOutlet;
  readonly #wantTokenIds: boolean;
  readonly #tellQueue: boolean;
  readonly #hasCredit: boolean;
  readonly #answer: AnswerBuffer;
  #creditBytes: number;
  #owedBytes = 0;
  #waiting: Waiting[] = [];
  #generation: Generation | undefined;
  #stopTimer: (() => void) | undefined;
  /** What ends the request once everything that waits was sent. */
  #ending: (() => void) | undefined;
  #ended = false;

  constructor(outlet: ManyOutlet, options: ManyRequestOptions) {
    this.#outlet = outlet;
    this.stream = options.stream;
    this.id = options.id;
    this.keyOwner = options.keyOwner;
    this.#wantTokenIds = options.wantTokenIds;
    this.#tellQueue = options.tellQueue;
    this.#hasCredit = options.creditBytes !== undefined;
    this.#creditBytes = options.creditBytes ?? Infinity;
    this.windowBytes = Math.min(options.windowBytes, Math.max(MIN_WINDOW_BYTES, this.#creditBytes));
    this.#answer = new AnswerBuffer(options.maxAnswerBytes);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Ties the request to its generation; one that ended while it was being started is cancelled. */
  attach(generation: Generation): void {
    if (this.#ended) generation.cancel('ended while starting');
    else this.#generation = generation;
  }

  /** @param stopTimer stops the timer that calls `fail` at the deadline */
  limit(stopTimer: () => void): void {
    this.#stopTimer = stopTimer;
  }

  onHead(): void {
    // Nothing to commit: entries of many requests share one stream that is already open.
  }

  onQueued(place: QueuePlace): boolean {
    if (this.#tellQueue && !this.#ended && !this.#outlet.blocked) {
      this.#outlet.append(this.stream, ENTRY.QUEUED, inferenceMessages.Queued.serialize(place));
    }
    return false;
  }

  onTokens(sse: Buffer, idBytes: Buffer): void {
    if (this.#ended) return;
    const ids = this.#wantTokenIds ? idBytes : NOTHING;
    if (this.#waiting.length > 0 || this.#creditBytes <= 0) {
      this.#waiting.push({ sse: Buffer.from(sse), at: 0, ids: Buffer.from(ids) });
      return;
    }
    const at = this.#send(sse, 0, ids);
    if (at < sse.length) this.#waiting.push({ sse: Buffer.from(sse.subarray(at)), at: 0, ids: NOTHING });
    this.#owe(Math.min(at, sse.length));
  }

  onBody(bytes: Buffer, last: boolean): void {
    if (this.#ended) return;
    if (!this.#answer.append(bytes)) {
      this.fail(this.#answer.tooLarge());
      return;
    }
    this.#owe(bytes.length);
    if (!last) return;
    const answer = this.#answer.take();
    this.#endWith(() => this.#outlet.append(this.stream, ENTRY.CHUNK, answer), this.#creditBytes <= 0);
  }

  onDone(usage: LaneUsage | undefined): void {
    if (this.#ended) return;
    this.#endWith(() => {
      if (usage !== undefined) {
        this.#outlet.append(this.stream, ENTRY.USAGE, inferenceMessages.Usage.serialize(usage));
      }
      this.#outlet.append(this.stream, ENTRY.END, NOTHING);
      this.#finish();
    });
  }

  /** The engine failed: what came before is sent before. */
  onError(error: CodedError): void {
    if (this.#ended) return;
    this.#endWith(() => this.#appendError(error));
  }

  /** Ends the request at once, from this side: what waits is dropped, the engine is told. */
  fail(error: CodedError): void {
    if (this.#ended) return;
    this.#generation?.cancel(error.code);
    this.#appendError(error);
  }

  /** The stream is gone: the engine is told, and nothing more is appended. */
  abandon(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stopTimer?.();
    this.#waiting = [];
    this.#generation?.cancel(reason);
  }

  /** The client grants `bytes` more; false when this request has no limit of its own. */
  credit(bytes: number): boolean {
    if (!this.#hasCredit) return false;
    this.#creditBytes = Math.min(MAX_CREDIT_BYTES, this.#creditBytes + bytes);
    this.#drainWaiting();
    return true;
  }

  /** Grants what is owed to the agent, in halves of the window: a grant costs a frame. */
  settle(): void {
    if (this.#owedBytes * 2 < this.windowBytes || this.#ended) return;
    if (this.#outlet.blocked) {
      this.#outlet.settleLater(this);
      return;
    }
    const bytes = this.#owedBytes;
    this.#owedBytes = 0;
    this.#generation?.grant(bytes);
  }

  #owe(bytes: number): void {
    this.#owedBytes += bytes;
    this.settle();
  }

  /** Appends entries for the events from `at` on while there is credit; gives the place where it stopped. */
  #send(sse: Buffer, from: number, ids: Buffer): number {
    if (ids.length > 0) {
      this.#outlet.append(this.stream, ENTRY.TOKEN_IDS, ids);
      this.#creditBytes -= ids.length;
    }
    let at = from;
    while (at < sse.length && this.#creditBytes > 0) {
      const end = lineEnd(sse, at);
      const start = payloadStart(sse, at);
      if (start !== -1) {
        this.#outlet.append(this.stream, ENTRY.CHUNK, sse, start, end);
        this.#creditBytes -= end - start;
      }
      at = end + 1;
    }
    return at;
  }

  #drainWaiting(): void {
    let sentBytes = 0;
    let done = 0;
    for (const waiting of this.#waiting) {
      if (this.#creditBytes <= 0) break;
      const at = this.#send(waiting.sse, waiting.at, waiting.ids);
      sentBytes += Math.min(at, waiting.sse.length) - waiting.at;
      waiting.ids = NOTHING;
      waiting.at = at;
      if (at < waiting.sse.length) break;
      done += 1;
    }
    if (done > 0) this.#waiting.splice(0, done);
    this.#owe(sentBytes);
    if (this.#waiting.length === 0 && this.#creditBytes > 0) this.#runEnding();
  }

  /** Runs `step` once everything that waits was sent; several steps run in order. */
  #endWith(step: () => void, waitForCredit = false): void {
    const before = this.#ending;
    this.#ending = before === undefined ? step : () => (before(), step());
    if (this.#waiting.length === 0 && before === undefined && !waitForCredit) this.#runEnding();
  }

  #runEnding(): void {
    const ending = this.#ending;
    this.#ending = undefined;
    ending?.();
  }

  #appendError(error: CodedError): void {
    this.#outlet.append(this.stream, ENTRY.ERROR, encodeStatus(error, this.id));
    this.#finish();
  }

  #finish(): void {
    this.#ended = true;
    this.#stopTimer?.();
    this.#waiting = [];
    this.#outlet.finished(this);
  }
}
