/**
 * One request on its way between a lane and an engine: it holds back the engine when the client gives no credit or the
 * lane is full, it fails with a code for each way in which an engine can go wrong, and it never says two endings.
 * A stream counts as whole only with a finish reason and `[DONE]`: vLLM can end a broken one without either.
 */
import { CodedError, type ErrorCode } from '../../lib/errors.ts';
import { encodeJson, FRAME, type LaneDone, type LaneFailure, type SubmitMeta } from '../../proto/codec.ts';
import type { ProgressTracker, TrackedRequest } from '../core/engine_progress.ts';
import { mapEngineError, mapStreamError, usageInTail } from './engine_answers.ts';
import { Continuation, type ContinuationOrder, type ContinuationStart } from './continuation.ts';
import { ContinuationScanner, type StreamScanner } from './continuation_scanner.ts';
import type { EngineRequest, Exchange, ExchangeSink } from './engine_connection.ts';
import { EventScanner } from './event_scanner.ts';
import type { HttpHead } from './http_reader.ts';
import type { AttachPlace, FrameSink, RequestOutlet } from './request_outlet.ts';

export interface RequestOrder {
  readonly incarnation: number;
  readonly meta: SubmitMeta;
  readonly body: Uint8Array;
  /** With `meta.resume`: the ids of the answer so far. */
  readonly resumeIds?: Uint32Array;
}

export interface RequestHooks {
  /** Called once: the engine does not work for the request any more. */
  onEngineDone(request: RelayedRequest): void;
  /** Called when the end went out on a lane; after a re-attach once more. */
  onDelivered(request: RelayedRequest): void;
  onStalled(): void;
}

/** Sends a request to the engine: a pool of connections, or what puts several calls into one. */
export type SendToEngine = (request: EngineRequest, sink: ExchangeSink) => Exchange;

const nowMs = (): number => performance.now();

const MAX_ERROR_BYTES = 64 * 1024;
const TAIL_BYTES = 16 * 1024;
const ABORTED = Buffer.from('"finish_reason":"abort"');
const UNASKED_ABORT: LaneFailure & { readonly code: ErrorCode } = {
  code: 'engine_aborted',
  message: 'The engine aborted the request without being asked to.',
};

export class RelayedRequest implements ExchangeSink {
  readonly order: RequestOrder;
  readonly outlet: RequestOutlet;
  readonly #hooks: RequestHooks;
  readonly #tracker: ProgressTracker;
  readonly #tracked: TrackedRequest;
  readonly #maxEventBytes: number;
  #scanner: StreamScanner;
  #exchange: Exchange | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #paused = false;
  #engineDone = false;
  #over = false;
  #status = 0;
  #retryAfter: string | undefined;
  /** The body of an error. */
  readonly #error: Buffer[] = [];
  #errorBytes = 0;
  /** The last bytes of a plain answer, where its usage stands. */
  #tail: Buffer = Buffer.alloc(0);

  constructor(
    order: RequestOrder,
    maxEventBytes: number,
    outlet: RequestOutlet,
    tracker: ProgressTracker,
    hooks: RequestHooks,
  ) {
    this.order = order;
    this.outlet = outlet;
    this.#hooks = hooks;
    this.#tracker = tracker;
    this.#tracked = tracker.opened(order.body.length, order.meta.stream, performance.now());
    this.#maxEventBytes = maxEventBytes;
    const { wantUsage, wantTokenIds } = order.meta;
    this.#scanner = new EventScanner({ wantUsage, wantTokenIds, maxEventBytes }, (buffer, start, end, ids) =>
      this.#sendTokens(buffer, start, end, ids),
    );
  }

  /** Sends the request to the engine. */
  start(send: SendToEngine): void {
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
    this.#exchange = this.#begin(send, { method: 'POST', path: meta.path, headers, body });
    this.balance();
  }

  #begin(send: SendToEngine, request: EngineRequest): Exchange {
    const { meta, body, resumeIds: ids } = this.order;
    if (meta.resume === undefined || ids === undefined) return send(request, this);
    const order = { meta, body, ids } as ContinuationOrder;
    const continuation = new Continuation(send, order, request.headers, this, (start) => this.#continueAt(start));
    continuation.start();
    return continuation;
  }

  #continueAt({ kept, promptTokens, answer }: ContinuationStart): void {
    this.outlet.resumeAt(kept);
    this.#scanner = new ContinuationScanner(answer, promptTokens, this.#maxEventBytes, (buffer, start, end, ids) =>
      this.#sendTokens(buffer, start, end, ids),
    );
  }

  /** The client has taken bytes: as many may follow. */
  grant(bytes: number): void {
    if (this.#over) return;
    this.outlet.grant(bytes);
    this.#noteDelivery();
    this.balance();
  }

  /** Lets the engine's socket run exactly when the client and the lane can take more. */
  balance(): void {
    if (this.#engineDone || this.#exchange === undefined) return;
    const { hold } = this.outlet;
    if (hold === this.#paused) return;
    this.#paused = hold;
    this.#tracker.stalled(this.#tracked, hold);
    if (hold) {
      if (this.outlet.outOfCredit) this.#hooks.onStalled();
      this.#exchange.pause();
    } else this.#exchange.resume();
  }

  /** The lane is lost; the request runs on until somebody comes back or cancel(). */
  detach(): void {
    this.outlet.detach();
    this.balance();
  }

  /** A scheduler goes on with the request on another lane; the outlet has said that it can. */
  attach(sink: FrameSink, place: AttachPlace): void {
    this.outlet.attach(sink, place);
    this.#noteDelivery();
    this.balance();
  }

  /** Ends without a word to the scheduler: it cancelled, or nobody came back. */
  cancel(): void {
    this.#over = true;
    clearTimeout(this.#deadline);
    this.#stopEngine();
    this.outlet.dispose();
  }

  /** Ends with a coded failure; the engine's work is aborted. After an end that was sent, nothing. */
  fail(failure: LaneFailure & { readonly code: ErrorCode }, status = 0): void {
    if (this.#over || this.outlet.delivered || (this.outlet.ended && !this.outlet.attached)) return;
    this.#end(FRAME.FAILED, encodeJson(failure), status);
  }

  #end(kind: number, payload: Uint8Array, aux: number): void {
    this.#stopEngine();
    this.outlet.end(kind, payload, aux);
    this.#noteDelivery();
  }

  #stopEngine(): void {
    if (this.#engineDone) return;
    this.#engineDone = true;
    this.#exchange?.abort();
    this.#tracker.ended(this.#tracked);
    this.#hooks.onEngineDone(this);
  }

  #noteDelivery(): void {
    if (!this.outlet.delivered) return;
    clearTimeout(this.#deadline);
    this.#hooks.onDelivered(this);
  }

  /** Ends with a failure that says something about the engine, too. */
  #fault(failure: LaneFailure & { readonly code: ErrorCode }, status = 0): void {
    this.#tracker.fault();
    this.fail(failure, status);
  }

  onFailed({ code, message }: CodedError): void {
    // What came in the same read before the garbage is as good as if it had come alone.
    if (code === 'engine_garbage' && this.#status === 200 && !this.#engineDone) this.#scanner.flush();
    // Before its head an engine has begun nothing that could be cut.
    if (this.#status === 200 || code === 'engine_garbage') this.#fault({ code, message });
    else this.fail({ code, message });
  }

  onHead(head: HttpHead): void {
    this.#status = head.status;
    this.#retryAfter = head.headers.get('retry-after');
    if (head.status !== 200) return;
    const isEventStream = (head.headers.get('content-type') ?? '').startsWith('text/event-stream');
    if (this.order.meta.stream !== isEventStream) {
      const what = isEventStream ? 'a stream where none was asked for' : 'no stream where one was asked for';
      throw new CodedError('engine_garbage', `The engine sent ${what}.`);
    }
    this.outlet.head();
  }

  onBody(buffer: Buffer, start: number, end: number): void {
    if (this.#engineDone) return;
    if (this.#status === 200) {
      if (this.order.meta.stream) this.#scanner.push(buffer, start, end);
      else this.#takeBody(buffer.subarray(start, end));
      return;
    }
    if (this.#errorBytes > MAX_ERROR_BYTES) return;
    this.#error.push(Buffer.from(buffer.subarray(start, end)));
    this.#errorBytes += end - start;
  }

  #takeBody(piece: Buffer): void {
    this.#tail = Buffer.concat([this.#tail, piece.subarray(-TAIL_BYTES)]).subarray(-TAIL_BYTES);
    this.outlet.body(piece);
  }

  onReadEnd(): void {
    if (this.#engineDone || this.#status !== 200) return;
    if (!this.order.meta.stream) {
      this.balance();
      return;
    }
    this.#scanner.flush();
    if (this.#scanner.stopped) {
      this.#completeStream();
      return;
    }
    const { errorText } = this.#scanner;
    if (errorText === undefined) return;
    const { failure, status } = mapStreamError(errorText);
    const coded = failure as LaneFailure & { code: ErrorCode };
    // What the engine says of the request is no fault of the engine.
    if (coded.code === 'engine_failed') this.#fault(coded, status);
    else this.fail(coded, status);
  }

  #sendTokens(buffer: Buffer, start: number, end: number, ids: readonly number[]): void {
    if (this.#engineDone) return;
    this.outlet.tokens(buffer.subarray(start, end), ids, this.#scanner.finishReason !== undefined);
    this.#tracker.tokens(this.#tracked, ids.length, nowMs);
    if (this.outlet.hold) this.balance();
  }

  onComplete(): void {
    if (this.#engineDone) return;
    if (this.#status !== 200) {
      const { failure, status } = mapEngineError(
        this.#status,
        Buffer.concat(this.#error).toString('utf8'),
        this.#retryAfter,
      );
      this.fail(failure as LaneFailure & { code: ErrorCode }, status);
    } else if (this.order.meta.stream) this.#completeStream();
    else if (this.#aborted()) this.#fault(UNASKED_ABORT);
    else {
      const usage = usageInTail(this.#tail);
      this.#done(usage === undefined ? {} : { usage });
    }
  }

  #aborted(): boolean {
    const whole = this.outlet.wholeBody;
    return whole !== undefined && Buffer.from(whole.buffer, whole.byteOffset, whole.length).includes(ABORTED);
  }

  #completeStream(): void {
    const { sawDone, finishReason, usage, cutShort } = this.#scanner;
    if (!sawDone || finishReason === undefined || cutShort)
      this.#fault({ code: 'engine_died', message: 'The engine ended its stream before it was whole.' });
    else if (finishReason === 'abort') this.#fault(UNASKED_ABORT);
    else this.#done({ finishReason, ...(usage === undefined ? {} : { usage }) });
  }

  #done(done: LaneDone): void {
    this.#end(FRAME.DONE, encodeJson(done), 0);
  }
}
