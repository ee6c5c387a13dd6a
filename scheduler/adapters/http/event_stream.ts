/**
 * Writes one streamed answer to its client. This is the door's hot path: it runs for every token of every client.
 *
 * The head and the end of the answer go through Node's response, which keeps its books of the connection; what is
 * between is framed here and written to the socket as one buffer, because Node's response makes four writes and a
 * writev of each chunk. Tokens that arrive within one turn of the event loop leave in one write; the first token of an
 * answer leaves with all that came in its message: the head before it and, of a short answer, the end.
 *
 * Measured on Node 20, chunks of 200 bytes, CPU microseconds per token of the serving process (medians; user part in
 * brackets), for response.write / own framing at once / own framing once per turn:
 *   256 streams x 50 tokens/s             15.1 (5.6) / 11.2 (3.4) / 12.0 (3.3)
 *   the same, four tokens in each turn     4.5 (2.6) /  7.8 (2.0) /  2.8 (1.0)
 * What is left is the kernel's send; only fewer writes (coalescing, GenerateMany) lower it.
 *
 * Memory is bounded by credit: the client's window is granted again only when the socket took the bytes. A socket that
 * does not take them holds at most one window (and one frame, for frames are never split).
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { CodedError } from '../../../lib/errors.ts';
import { chunkErrorEvent } from '../../../lib/openai.ts';
import { SSE_DONE } from '../../../lib/sse.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import { DEGRADED_HEADER } from '../../core/providers/modes.ts';
import type { QueuePlace } from '../../core/queue/contract.ts';
import type { Generation, GenerationSink } from '../../ports.ts';
import { sendError } from './answers.ts';

/** Room before the bytes for a chunk's length: 8 hex digits and CRLF; and CRLF after them. */
const HEAD_ROOM = 10;
const TAIL_ROOM = 2;
const CR = 0x0d;
const LF = 0x0a;
const HEX = Buffer.from('0123456789abcdef');

const PING = Buffer.from(': ping\n\n');
const DONE = Buffer.from(SSE_DONE);
const NOTHING = Buffer.alloc(0);

const flushNow = (stream: EventStream): void => stream.flush();

/** What happened to an answer, told once. */
export interface StreamEnd {
  /** `ok`, an error code, or `client_gone`. */
  readonly outcome: string;
  readonly usage?: LaneUsage;
}

export interface EventStreamHost {
  readonly windowBytes: number;
  /** Asks for `flush()` at the end of this turn, or within the coalescing time. */
  due(stream: EventStream): void;
  /** The first token is here. */
  firstToken(stream: EventStream): void;
  ended(answer: GenerationSink, end: StreamEnd): void;
}

export class EventStream implements GenerationSink {
  /** The sweep has seen silence since it last looked. */
  silent = false;
  /** Sweeps in a row that found the client not reading. */
  stalledSweeps = 0;
  startedAtMs = 0;
  firstTokenAtMs = 0;
  readonly #host: EventStreamHost;
  readonly #response: ServerResponse;
  #headers: Record<string, unknown>;
  #socket: Socket | null = null;
  #generation: Generation | undefined;
  #headSent = false;
  #tokensArrived = false;
  #ended = false;
  /** Why it was cancelled, in case that came before the running request was known. */
  #cancelled: string | undefined;
  #due = false;
  #stalled = false;
  /** Framing room, then bytes that wait for the flush; `#pendingEnd` is where they end, 0: none wait. */
  #pending: Buffer = NOTHING;
  #pendingEnd = 0;
  /** Bytes that the socket took and that are not granted again yet. */
  #taken = 0;
  /** Bytes handed to a socket that said "enough". */
  #held = 0;

  constructor(host: EventStreamHost, response: ServerResponse, headers: Record<string, unknown>) {
    this.#host = host;
    this.#response = response;
    this.#headers = headers;
    response.on('close', this.#onClose);
  }

  /** Gives the running request, so that credit and cancellation reach it. */
  attach(generation: Generation): void {
    this.#generation = generation;
    if (this.#cancelled !== undefined) generation.cancel(this.#cancelled);
  }

  get stalled(): boolean {
    return this.#stalled;
  }

  get open(): boolean {
    return this.#headSent && !this.#ended;
  }

  onHead(): void {
    if (this.#ended) return;
    this.#ask();
  }

  /** Commits the 200, so that neither client nor balancer gives up: from now on an error is an event of the stream. */
  onQueued(place: QueuePlace): boolean {
    if (this.#ended || this.#stalled) return true;
    this.#append(Buffer.from(queuedComment(place)));
    this.flush(0);
    return true;
  }

  /** In the head; once that has left, in a comment. */
  onDegraded(mode: string): void {
    if (this.#ended) return;
    this.#headers = { ...this.#headers, [DEGRADED_HEADER]: mode };
    if (!this.#headSent) return;
    this.#append(Buffer.from(`: degraded mode=${mode}\n\n`));
    this.flush(0);
  }

  onTokens(sse: Buffer): void {
    if (this.#ended) return;
    this.#append(sse);
    if (this.#tokensArrived) {
      this.#ask();
      return;
    }
    this.#tokensArrived = true;
    this.#host.firstToken(this);
    // Once all frames of this message are read, for the end of a short answer is among them.
    process.nextTick(flushNow, this);
  }

  /** An engine that answers a streamed request with a plain body is not expected; its bytes are passed on all the same. */
  onBody(bytes: Buffer): void {
    this.onTokens(bytes);
  }

  onDone(usage: LaneUsage | undefined): void {
    if (this.#ended) return;
    this.#append(DONE);
    this.#finish(usage === undefined ? { outcome: 'ok' } : { outcome: 'ok', usage });
  }

  onError(error: CodedError): void {
    if (this.#ended) return;
    if (!this.#headSent && !this.#tokensArrived) {
      this.#ended = true;
      this.#response.off('close', this.#onClose);
      sendError(this.#response, this.#headers, error);
      this.#host.ended(this, { outcome: error.code });
      return;
    }
    this.#append(Buffer.from(chunkErrorEvent(error)));
    this.#finish({ outcome: error.code });
  }

  /** A comment keeps balancers from cutting a silent stream; only between events, only after the head. */
  ping(): void {
    if (!this.open || this.#stalled || this.#pendingEnd !== 0) return;
    this.#append(PING);
    this.flush(0);
  }

  /** Writes what waits. `credited` is how many of the bytes count against the window. */
  flush(credited = this.#pendingEnd === 0 ? 0 : this.#pendingEnd - HEAD_ROOM): void {
    this.#due = false;
    if (this.#ended) return;
    const socket = this.#response.socket;
    if (this.#headSent) {
      this.#writePending(credited);
      return;
    }
    socket?.cork();
    this.#sendHead();
    this.#writePending(credited);
    socket?.uncork();
  }

  /** Ends it from this side: the request is cancelled and the connection is cut. */
  abort(reason: string): void {
    if (this.#ended) return;
    this.#cancel(reason);
    this.#response.destroy();
  }

  #cancel(reason: string): void {
    this.#cancelled = reason;
    this.#end({ outcome: reason });
    this.#generation?.cancel(reason);
  }

  #ask(): void {
    if (this.#due) return;
    this.#due = true;
    this.#host.due(this);
  }

  #append(bytes: Buffer): void {
    const start = this.#pendingEnd === 0 ? HEAD_ROOM : this.#pendingEnd;
    const end = start + bytes.length;
    if (end + TAIL_ROOM > this.#pending.length || this.#pendingEnd === 0) {
      const grown = Buffer.allocUnsafe(this.#pendingEnd === 0 ? end + TAIL_ROOM : (end + TAIL_ROOM) * 2);
      if (this.#pendingEnd !== 0) this.#pending.copy(grown, HEAD_ROOM, HEAD_ROOM, this.#pendingEnd);
      this.#pending = grown;
    }
    this.#pending.set(bytes, start);
    this.#pendingEnd = end;
  }

  #sendHead(): void {
    this.#headSent = true;
    const response = this.#response;
    response.writeHead(200, {
      ...(this.#headers as Record<string, string>),
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      // nginx buffers answers unless it is told not to.
      'x-accel-buffering': 'no',
    });
    response.flushHeaders();
    // No socket yet: the client pipelined and an earlier answer is still running. Not chunked: HTTP/1.0.
    if (response.socket !== null && response.chunkedEncoding) {
      this.#socket = response.socket;
      this.#socket.on('drain', this.#onDrain);
    } else {
      response.on('drain', this.#onDrain);
    }
  }

  #writePending(credited: number): void {
    const end = this.#pendingEnd;
    if (end === 0) return;
    this.#pendingEnd = 0;
    this.silent = false;
    const bytes = this.#pending;
    this.#pending = NOTHING;
    const socket = this.#socket;
    const took =
      socket === null ? this.#response.write(bytes.subarray(HEAD_ROOM, end)) : socket.write(frame(bytes, end));
    if (!took) this.#stalled = true;
    if (this.#stalled) this.#held += credited;
    else this.#credit(credited);
  }

  /** Grants in large steps: a grant per token would cost a frame per token on the lane. */
  #credit(bytes: number): void {
    this.#taken += bytes;
    if (this.#taken * 2 < this.#host.windowBytes || this.#generation === undefined) return;
    const granted = this.#taken;
    this.#taken = 0;
    this.#generation.grant(granted);
  }

  #finish(end: StreamEnd): void {
    const { socket } = this.#response;
    socket?.cork();
    this.flush();
    this.#end(end);
    // Node's end() writes the last chunk and uncorks the socket, so the last event and the end leave together.
    this.#response.end();
  }

  #end(end: StreamEnd): void {
    this.#ended = true;
    this.#pending = NOTHING;
    this.#pendingEnd = 0;
    this.#response.off('close', this.#onClose);
    this.#response.off('drain', this.#onDrain);
    this.#socket?.off('drain', this.#onDrain);
    this.#host.ended(this, end);
  }

  readonly #onDrain = (): void => {
    this.#stalled = false;
    this.stalledSweeps = 0;
    const held = this.#held;
    this.#held = 0;
    this.#credit(held);
  };

  readonly #onClose = (): void => {
    if (!this.#ended) this.#cancel('client_gone');
  };
}

/** A comment, which clients pass over and people can read: `: queued position=3 eta=4s`. */
function queuedComment({ position, etaMs }: QueuePlace): string {
  const eta = etaMs === undefined ? 'unknown' : `${Math.ceil(etaMs / 1000)}s`;
  return `: queued position=${position} eta=${eta}\n\n`;
}

/** Puts a chunk's length and line ends around `bytes[HEAD_ROOM, end)`, in place. */
function frame(bytes: Buffer, end: number): Buffer {
  let at = HEAD_ROOM;
  bytes[--at] = LF;
  bytes[--at] = CR;
  for (let size = end - HEAD_ROOM; size > 0; size >>>= 4) bytes[--at] = HEX[size & 15] as number;
  bytes[end] = CR;
  bytes[end + 1] = LF;
  return bytes.subarray(at, end + TAIL_ROOM);
}
