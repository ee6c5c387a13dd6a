/**
 * The client's end of a direct call: takes the frames that otherwise go to a scheduler on a lane, and makes of them what
 * the scheduler's HTTP door would have: the same head, the same events, the same errors. The engine is held back when the
 * client does not read, by the same credit; a client that goes away ends the engine's work at once.
 */
import type { ServerResponse } from 'node:http';
import { CodedError, ERRORS, type ErrorCode } from '../../lib/errors.ts';
import { errorHeaders, errorJson } from '../../lib/http_errors.ts';
import { chunkErrorEvent } from '../../lib/openai.ts';
import { SSE_DONE } from '../../lib/sse.ts';
import { decodeJson, FLAG, FRAME, type LaneDone, type LaneFailure, type LaneUsage } from '../../proto/codec.ts';
import type { RelayedRequest } from './relayed_request.ts';
import type { FrameFields, FrameSink } from './request_outlet.ts';

const PING = ': ping\n\n';
const JSON_TYPE = 'application/json; charset=utf-8';

export interface AnswerHooks {
  onFirstToken(answer: DirectAnswer): void;
  /** Called once: the end was written, or the client is gone (`cancelled`). */
  onEnded(answer: DirectAnswer, outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void;
  /** Called once, last: the response is over and takes no frames any more. */
  onClosed(answer: DirectAnswer): void;
}

/** The headers of every answer. */
export function answerHeaders(requestId: string): Record<string, string> {
  return { 'x-request-id': requestId, 'x-content-type-options': 'nosniff' };
}

/**
 * Sends an error on a response that has not begun. The call is never to be repeated as it is: its ticket is spent, or
 * does not open.
 */
export function sendRefusal(response: ServerResponse, requestId: string, error: CodedError, close: boolean): void {
  const body = Buffer.from(errorJson(error));
  response.writeHead(error.spec.http, {
    ...answerHeaders(requestId),
    ...errorHeaders(error),
    'x-should-retry': 'false',
    ...(close ? { connection: 'close' } : {}),
    'content-length': body.length,
  });
  response.end(body);
}

function toError({ code, message, param }: LaneFailure): CodedError {
  const known = Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'engine_failed';
  return new CodedError(known, message, param === undefined ? {} : { param });
}

export class DirectAnswer implements FrameSink {
  readonly requestId: string;
  blocked = false;
  /** Monotonic milliseconds; when the client last took something, or the answer began. */
  takenAtMs: number;
  readonly #response: ServerResponse;
  readonly #stream: boolean;
  readonly #windowBytes: number;
  readonly #hooks: AnswerHooks;
  #request: RelayedRequest | undefined;
  #ended = false;
  #tokenFrames = 0;
  #firstTold = false;
  #silent = false;
  /** Bytes that the client has taken and that are not granted again yet. */
  #owedBytes = 0;
  #granting = false;

  constructor(
    response: ServerResponse,
    order: { readonly requestId: string; readonly stream: boolean; readonly windowBytes: number },
    hooks: AnswerHooks,
  ) {
    this.requestId = order.requestId;
    this.takenAtMs = performance.now();
    this.#response = response;
    this.#stream = order.stream;
    this.#windowBytes = order.windowBytes;
    this.#hooks = hooks;
    response.on('drain', () => this.#onDrain());
    response.on('close', () => {
      this.#end('cancelled', undefined);
      this.#hooks.onClosed(this);
    });
  }

  attach(request: RelayedRequest): void {
    this.#request = request;
  }

  /** Takes a frame; what it holds is valid during the call only. */
  frame(kind: number, fields: FrameFields, payload: Uint8Array, ids: ArrayLike<number>): void {
    if (this.#ended) return;
    switch (kind) {
      case FRAME.HEAD:
        if (this.#stream) this.#beginStream();
        return;
      case FRAME.TOKENS:
        this.#write(payload);
        this.#noteTokens(ids.length);
        return;
      case FRAME.BODY:
        this.#body(payload, (fields.flags & FLAG.LAST) !== 0);
        return;
      case FRAME.DONE:
        this.#done(decodeJson<LaneDone>(Buffer.from(payload)));
        return;
      default:
        this.fail(toError(decodeJson<LaneFailure>(Buffer.from(payload))));
    }
  }

  #beginStream(): void {
    this.#response.writeHead(200, {
      ...answerHeaders(this.requestId),
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    this.#response.flushHeaders();
  }

  /** An engine that tells no ids is taken at its second frame, for the first is the role. */
  #noteTokens(ids: number): void {
    this.#tokenFrames += 1;
    if (this.#firstTold || (ids === 0 && this.#tokenFrames < 2)) return;
    this.#firstTold = true;
    this.#hooks.onFirstToken(this);
  }

  #body(payload: Uint8Array, last: boolean): void {
    if (!this.#response.headersSent) {
      const length = last ? { 'content-length': String(payload.length) } : {};
      const headers = { ...answerHeaders(this.requestId), 'content-type': JSON_TYPE, 'cache-control': 'no-store' };
      this.#response.writeHead(200, { ...headers, ...length });
    }
    this.#write(payload);
  }

  #done({ usage }: LaneDone): void {
    if (this.#stream) this.#response.end(SSE_DONE);
    else this.#response.end();
    this.#end('ok', usage);
  }

  /** Ends the answer with an error: by its status while nothing was said, else inside the stream. */
  fail(error: CodedError): void {
    if (this.#ended) return;
    if (!this.#response.headersSent) sendRefusal(this.#response, this.requestId, error, false);
    else if (this.#stream) this.#response.end(chunkErrorEvent(error));
    // A begun body cannot be taken back; a cut connection tells the client that it is not whole.
    else this.#response.destroy();
    this.#end(error.code, undefined);
  }

  /** Copies, because the bytes are the relay's to use again. */
  #write(payload: Uint8Array): void {
    this.#silent = false;
    if (payload.length === 0) return;
    this.#owedBytes += payload.length;
    if (!this.#response.write(Buffer.from(payload))) this.blocked = true;
    else this.#settle();
  }

  #onDrain(): void {
    this.blocked = false;
    this.takenAtMs = performance.now();
    this.#settle();
    this.#request?.balance();
  }

  /** Grants in halves of the window, and not from within a frame: what is granted may send the next one. */
  #settle(): void {
    if (this.blocked || this.#granting || this.#owedBytes * 2 < this.#windowBytes) return;
    this.#granting = true;
    setImmediate(() => {
      this.#granting = false;
      if (this.#ended || this.blocked) return;
      const bytes = this.#owedBytes;
      this.#owedBytes = 0;
      this.#request?.grant(bytes);
    });
  }

  /**
   * To be called once per ping period: a stream that was silent since the last call gets a comment, so that no balancer
   * cuts it, and a client that has taken nothing for too long is given up.
   */
  sweep(nowMs: number, stallTimeoutMs: number): void {
    if (this.#ended) return;
    if (this.blocked) {
      if (nowMs - this.takenAtMs >= stallTimeoutMs) this.#response.destroy();
      return;
    }
    this.takenAtMs = nowMs;
    if (this.#stream && this.#silent && this.#response.headersSent && !this.#response.write(PING)) this.blocked = true;
    this.#silent = true;
  }

  #end(outcome: 'ok' | ErrorCode, usage: LaneUsage | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#hooks.onEnded(this, outcome, usage);
  }
}
