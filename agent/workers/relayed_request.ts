/**
 * One request on its way between a lane and an engine: it holds back the engine when the client gives no credit or the
 * lane is full, it fails with a code for each way in which an engine can go wrong, and it never says two endings.
 * A stream counts as whole only with a finish reason and `[DONE]`: vLLM can end a broken one without either.
 */
import { CodedError, type ErrorCode } from '../../lib/errors.ts';
import { encodeJson, FLAG, FRAME, type LaneDone, type LaneFailure, type SubmitMeta } from '../../proto/codec.ts';
import { mapEngineError, mapStreamError, usageInTail } from './engine_answers.ts';
import type { EnginePool, Exchange } from './engine_connection.ts';
import { EventScanner } from './event_scanner.ts';
import type { HttpHead } from './http_reader.ts';

/** The way out: frames of one stream on one lane. */
export interface FrameSink {
  /** `urgent`: not to be held for company. */
  frame(kind: number, fields: FrameFields, payload: Uint8Array, ids: readonly number[], urgent: boolean): void;
  readonly blocked: boolean;
}

export interface FrameFields {
  kind: number;
  readonly stream: number;
  readonly attempt: number;
  readonly incarnation: number;
  index: number;
  flags: number;
  aux: number;
}

export interface RequestOrder {
  readonly stream: number;
  readonly attempt: number;
  readonly incarnation: number;
  readonly credit: number;
  readonly meta: SubmitMeta;
  readonly body: Uint8Array;
}

export interface RequestHooks {
  /** Called once, after the last frame. */
  onEnded(request: RelayedRequest): void;
  onStalled(): void;
  onTokens(count: number): void;
}

const MAX_BODY_FRAME_BYTES = 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;
const TAIL_BYTES = 16 * 1024;
const NO_IDS: readonly number[] = Object.freeze([]);
const NO_BYTES = new Uint8Array(0);
const ABORTED = Buffer.from('"finish_reason":"abort"');

export class RelayedRequest {
  readonly order: RequestOrder;
  readonly #sink: FrameSink;
  readonly #hooks: RequestHooks;
  readonly #fields: FrameFields;
  readonly #scanner: EventScanner;
  #exchange: Exchange | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #credit: number;
  #paused = false;
  #ended = false;
  #sentTokens = false;
  #index = 0;
  #status = 0;
  #retryAfter: string | undefined;
  /** Body bytes of a plain answer or of an error, not yet sent. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #bodyComplete = false;
  #tail: Buffer = Buffer.alloc(0);

  constructor(order: RequestOrder, maxEventBytes: number, sink: FrameSink, hooks: RequestHooks) {
    this.order = order;
    this.#sink = sink;
    this.#hooks = hooks;
    this.#credit = order.credit;
    this.#fields = {
      kind: 0,
      stream: order.stream,
      attempt: order.attempt,
      incarnation: order.incarnation,
      index: 0,
      flags: 0,
      aux: 0,
    };
    const { wantUsage, wantTokenIds } = order.meta;
    this.#scanner = new EventScanner({ wantUsage, wantTokenIds, maxEventBytes }, (buffer, start, end, ids) =>
      this.#sendTokens(buffer, start, end, ids),
    );
  }

  /** Sends the request to the engine. */
  start(pool: EnginePool): void {
    const { meta, body } = this.order;
    if (meta.deadlineMs !== undefined) {
      const text = 'The deadline of the request passed.';
      this.#deadline = setTimeout(
        () => this.fail({ code: 'deadline_exceeded', message: text }),
        Math.max(0, meta.deadlineMs),
      );
    }
    const headers: [string, string][] = [['x-request-id', meta.requestId]];
    if (meta.traceparent !== undefined) headers.push(['traceparent', meta.traceparent]);
    this.#exchange = pool.send(
      { method: 'POST', path: meta.path, headers, body },
      {
        onHead: (head) => this.#onHead(head),
        onBody: (buffer, start, end) => this.#onBody(buffer, start, end),
        onReadEnd: () => this.#onReadEnd(),
        onComplete: () => this.#onComplete(),
        onFailed: (error) => this.fail({ code: error.code, message: error.message }),
      },
    );
    this.balance();
  }

  /** The client has taken bytes: as many may follow. */
  grant(bytes: number): void {
    this.#credit += bytes;
    if (this.#bodyComplete) this.#sendBody();
    this.balance();
  }

  /** Lets the engine's socket run exactly when the client and the lane can take more. */
  balance(): void {
    if (this.#ended || this.#exchange === undefined) return;
    const hold = this.#credit <= 0 || this.#sink.blocked;
    if (hold === this.#paused) return;
    this.#paused = hold;
    if (hold) {
      if (this.#credit <= 0) this.#hooks.onStalled();
      this.#exchange.pause();
    } else this.#exchange.resume();
  }

  /** Ends without a word to the scheduler: it cancelled, or its lane is gone. */
  cancel(): void {
    if (this.#ended) return;
    this.#exchange?.abort();
    this.#end();
  }

  /** Ends with a coded failure; the engine's work is aborted. */
  fail(failure: LaneFailure & { readonly code: ErrorCode }, status = 0): void {
    if (this.#ended) return;
    this.#exchange?.abort();
    this.#fields.aux = status;
    this.#fields.index = this.#index;
    this.#sink.frame(FRAME.FAILED, this.#fields, encodeJson(failure), NO_IDS, true);
    this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.#held = [];
    clearTimeout(this.#deadline);
    this.#hooks.onEnded(this);
  }

  #onHead(head: HttpHead): void {
    this.#status = head.status;
    this.#retryAfter = head.headers.get('retry-after');
    if (head.status !== 200) return;
    const isEventStream = (head.headers.get('content-type') ?? '').startsWith('text/event-stream');
    if (this.order.meta.stream !== isEventStream) {
      const what = isEventStream ? 'a stream where none was asked for' : 'no stream where one was asked for';
      throw new CodedError('engine_garbage', `The engine sent ${what}.`);
    }
    this.#fields.aux = 200;
    this.#sink.frame(FRAME.HEAD, this.#fields, NO_BYTES, NO_IDS, true);
    this.#fields.aux = 0;
  }

  #onBody(buffer: Buffer, start: number, end: number): void {
    if (this.#ended) return;
    if (this.#status === 200 && this.order.meta.stream) {
      this.#scanner.push(buffer, start, end);
      return;
    }
    if (this.#status !== 200 && this.#heldBytes > MAX_ERROR_BYTES) return;
    this.#held.push(Buffer.from(buffer.subarray(start, end)));
    this.#heldBytes += end - start;
  }

  #onReadEnd(): void {
    if (this.#ended || this.#status !== 200) return;
    if (!this.order.meta.stream) {
      // A short answer is held until it is whole, so that a cut one never reaches a client; a long one flows.
      if (this.#heldBytes > MAX_BODY_FRAME_BYTES) this.#sendBody();
      return;
    }
    this.#scanner.flush();
    if (this.#scanner.errorText !== undefined) {
      const { failure, status } = mapStreamError(this.#scanner.errorText);
      this.fail(failure as LaneFailure & { code: ErrorCode }, status);
    }
  }

  #sendTokens(buffer: Buffer, start: number, end: number, ids: readonly number[]): void {
    if (this.#ended) return;
    this.#fields.index = this.#index;
    // Nothing that holds the first token waits for company; the role chunk before it carries no id.
    const urgent = !this.#sentTokens;
    if (ids.length > 0) this.#sentTokens = true;
    this.#sink.frame(FRAME.TOKENS, this.#fields, buffer.subarray(start, end), ids, urgent);
    this.#index += ids.length;
    this.#hooks.onTokens(ids.length);
    this.#credit -= end - start;
    if (this.#credit <= 0) this.balance();
  }

  #onComplete(): void {
    if (this.#ended) return;
    if (this.#status !== 200) {
      const { failure, status } = mapEngineError(
        this.#status,
        Buffer.concat(this.#held).toString('utf8'),
        this.#retryAfter,
      );
      this.fail(failure as LaneFailure & { code: ErrorCode }, status);
    } else if (this.order.meta.stream) this.#completeStream();
    else {
      this.#bodyComplete = true;
      if (this.#aborted())
        this.fail({ code: 'engine_aborted', message: 'The engine aborted the request without being asked to.' });
      else this.#sendBody();
    }
  }

  /** Only a body that is still here as a whole can be looked at; a longer one has begun to flow. */
  #aborted(): boolean {
    // The words may be split over two reads.
    const whole = Buffer.concat(this.#held);
    this.#held = [whole];
    return whole.includes(ABORTED);
  }

  #completeStream(): void {
    const { sawDone, finishReason, usage, cutShort } = this.#scanner;
    if (!sawDone || finishReason === undefined || cutShort) {
      this.fail({ code: 'engine_died', message: 'The engine ended its stream before it was whole.' });
      return;
    }
    if (finishReason === 'abort') {
      this.fail({ code: 'engine_aborted', message: 'The engine aborted the request without being asked to.' });
      return;
    }
    this.#done({ finishReason, ...(usage === undefined ? {} : { usage }) });
  }

  #done(done: LaneDone): void {
    this.#fields.index = this.#index;
    this.#sink.frame(FRAME.DONE, this.#fields, encodeJson(done), NO_IDS, true);
    this.#end();
  }

  /** Sends what is held of a plain answer, as far as credit goes. */
  #sendBody(): void {
    if (this.#ended) return;
    const all = this.#held.length === 1 ? (this.#held[0] as Buffer) : Buffer.concat(this.#held);
    let at = 0;
    while (at < all.length && this.#credit > 0) {
      const piece = all.subarray(at, at + MAX_BODY_FRAME_BYTES);
      at += piece.length;
      const last = this.#bodyComplete && at === all.length;
      this.#fields.flags = last ? FLAG.LAST : 0;
      this.#sink.frame(FRAME.BODY, this.#fields, piece, NO_IDS, last);
      this.#fields.flags = 0;
      this.#credit -= piece.length;
      this.#tail = Buffer.concat([this.#tail, piece.subarray(-TAIL_BYTES)]).subarray(-TAIL_BYTES);
    }
    const rest = all.subarray(at);
    this.#held = rest.length === 0 ? [] : [rest];
    this.#heldBytes = rest.length;
    if (this.#bodyComplete && rest.length === 0) {
      const usage = usageInTail(this.#tail);
      this.#done(usage === undefined ? {} : { usage });
      return;
    }
    this.balance();
  }
}
