/**
 * One chat on a WebSocket: turns the server-sent events that the fleet produces into messages, and the socket's own
 * backlog into credit.
 */
import type { CodedError } from '../../../lib/errors.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { QueuePlace } from '../../core/queue/contract.ts';
import type { Generation, GenerationSink } from '../../ports.ts';
import type { StreamEnd } from './event_stream.ts';
import { chunkPrefix, doneMessage, errorMessage, queuedMessage, startMessage } from './ws_messages.ts';

/** What a chat needs of its socket. */
export interface ChatSocket {
  /** Bytes that wait in this process to be written. */
  readonly backlogBytes: number;
  send(message: string | Buffer): void;
  /** Calls back when what was sent so far has left this process. */
  whenWritten(callback: () => void): void;
}

/** A backlog below this counts as "the client reads". */
const CALM_BACKLOG_BYTES = 16 * 1024;
const CLOSING_BRACE = Buffer.from('}');
const EVENT_START = Buffer.from('data: ');
const EVENT_END = Buffer.from('\n\n');

export class WsChat implements GenerationSink {
  readonly startedAtMs: number;
  firstTokenAtMs = 0;
  readonly #socket: ChatSocket;
  readonly #id: string;
  readonly #requestId: string;
  readonly #windowBytes: number;
  readonly #nowMs: () => number;
  readonly #ended: (chat: WsChat, end: StreamEnd) => void;
  readonly #prefix: Buffer;
  #generation: Generation | undefined;
  #body: Buffer[] = [];
  #taken = 0;
  #held = 0;
  #isWaiting = false;
  #isOver = false;
  #cancelled: string | undefined;
  #degraded: string | undefined;

  constructor(
    socket: ChatSocket,
    ids: { readonly id: string; readonly requestId: string },
    host: { readonly windowBytes: number; nowMs(): number; ended(chat: WsChat, end: StreamEnd): void },
  ) {
    this.#socket = socket;
    this.#id = ids.id;
    this.#requestId = ids.requestId;
    this.#windowBytes = host.windowBytes;
    this.#nowMs = host.nowMs;
    this.#ended = host.ended;
    this.#prefix = chunkPrefix(ids.id);
    this.startedAtMs = host.nowMs();
  }

  attach(generation: Generation): void {
    this.#generation = generation;
    if (this.#cancelled !== undefined) generation.cancel(this.#cancelled);
  }

  onHead(): void {
    if (!this.#isOver) this.#socket.send(startMessage(this.#id, this.#requestId, this.#degraded));
  }

  onDegraded(mode: string): void {
    this.#degraded = mode;
  }

  /** A message of its own commits nothing: an error is a message in any case. */
  onQueued(place: QueuePlace): boolean {
    if (!this.#isOver) this.#socket.send(queuedMessage(this.#id, place));
    return false;
  }

  onTokens(sse: Buffer): void {
    if (this.#isOver) return;
    if (this.firstTokenAtMs === 0) this.firstTokenAtMs = this.#nowMs();
    for (let at = 0; at < sse.length; ) {
      const found = sse.indexOf(EVENT_END, at);
      const end = found === -1 ? sse.length : found;
      this.#socket.send(Buffer.concat([this.#prefix, sse.subarray(at + EVENT_START.length, end), CLOSING_BRACE]));
      at = end + EVENT_END.length;
    }
    this.#account(sse.length);
  }

  /** A plain answer is one chunk; the agent bounds it, and so does the credit until it is whole. */
  onBody(bytes: Buffer, last: boolean): void {
    if (this.#isOver) return;
    this.#body.push(Buffer.from(bytes));
    if (last) {
      this.#socket.send(Buffer.concat([this.#prefix, ...this.#body, CLOSING_BRACE]));
      this.#body = [];
    }
    this.#account(bytes.length);
  }

  onDone(usage: LaneUsage | undefined): void {
    if (this.#isOver) return;
    this.#socket.send(doneMessage(this.#id, usage));
    this.#end(usage === undefined ? { outcome: 'ok' } : { outcome: 'ok', usage });
  }

  onError(error: CodedError): void {
    if (this.#isOver) return;
    this.#socket.send(errorMessage(error, this.#id));
    this.#end({ outcome: error.code });
  }

  /** Stops it from this side; the engine is told. */
  cancel(outcome: string): void {
    if (this.#isOver) return;
    this.#cancelled = outcome;
    this.#end({ outcome });
    this.#generation?.cancel(outcome);
  }

  #end(end: StreamEnd): void {
    this.#isOver = true;
    this.#body = [];
    this.#ended(this, end);
  }

  #account(bytes: number): void {
    if (this.#isWaiting) {
      this.#held += bytes;
      return;
    }
    if (this.#socket.backlogBytes <= CALM_BACKLOG_BYTES) {
      this.#credit(bytes);
      return;
    }
    this.#isWaiting = true;
    this.#held += bytes;
    this.#wait();
  }

  #wait(): void {
    this.#socket.whenWritten(() => {
      if (this.#socket.backlogBytes > CALM_BACKLOG_BYTES) {
        this.#wait();
        return;
      }
      this.#isWaiting = false;
      const held = this.#held;
      this.#held = 0;
      this.#credit(held);
    });
  }

  #credit(bytes: number): void {
    this.#taken += bytes;
    if (this.#isOver || this.#taken * 2 < this.#windowBytes || this.#generation === undefined) return;
    const granted = this.#taken;
    this.#taken = 0;
    this.#generation.grant(granted);
  }
}
