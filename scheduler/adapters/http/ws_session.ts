/**
 * One WebSocket of /ws/chat: who speaks on it, which chats run on it, whether its client is still there. Everything
 * that the client can pile up is bounded: chats at a time, size of a message, messages that it does not read.
 */
import type { WebSocket } from 'ws';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import { requireDoor } from '../../core/access/doors.ts';
import type { Identity } from '../../ports.ts';
import type { StreamEnd } from './event_stream.ts';
import { WsChat, type ChatSocket } from './ws_chat.ts';
import { CLOSE, errorMessage, readClientMessage, readyMessage, type ClientMessage } from './ws_messages.ts';

export interface WsSessionHost {
  readonly clock: Clock;
  readonly windowBytes: number;
  readonly maxRequests: number;
  readonly maxMessageBytes: number;
  readonly maxBodyDepth: number;
  readonly authTimeoutMs: number;
  readonly idleTimeoutMs: number;
  isDraining(): boolean;
  authenticate(key: string): Promise<Identity>;
  /** Starts a chat whose body is `body`; @throws CodedError when it cannot be admitted */
  start(identity: Identity, body: Uint8Array, make: (requestId: string, model: string) => WsChat): void;
  chatStarted(): void;
  chatEnded(chat: WsChat, model: string, end: StreamEnd): void;
  closed(session: WsSession): void;
}

export interface WsSession {
  /** Ends the socket when its last chat is over; new chats are refused. */
  drain(): void;
  /** Cancels its chats and cuts it. */
  terminate(): void;
}

/** Credit bounds chunks; what it does not bound (errors, starts) may pile up to this beside them. */
const SPARE_BACKLOG_BYTES = 256 * 1024;
/** Messages before authentication: a key fits, a prompt does not. */
const MAX_AUTH_MESSAGE_BYTES = 16 * 1024;

const CLOSE_OF: Readonly<Partial<Record<string, number>>> = {
  unauthenticated: CLOSE.unauthenticated,
  permission_denied: CLOSE.forbidden,
  too_many_failures: CLOSE.tooManyFailures,
};

/**
 * `ws` has one message limit for a whole server and reads it from the receiver of each socket, where it is lowered for
 * callers that have not said who they are. Where a later release keeps it elsewhere, the server's limit holds.
 */
function limitMessages(socket: WebSocket, maxBytes: number): void {
  const { _receiver: receiver } = socket as unknown as { readonly _receiver?: { _maxPayload?: number } };
  if (receiver?._maxPayload !== undefined) receiver._maxPayload = maxBytes;
}

function toBuffer(data: Buffer | ArrayBuffer | Buffer[]): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}

/** Takes over an opened socket; `identity` is known when the upgrade request carried a credential. */
export function openWsSession(socket: WebSocket, identity: Identity | undefined, host: WsSessionHost): WsSession {
  return new Session(socket, identity, host);
}

class Session implements WsSession, ChatSocket {
  readonly #socket: WebSocket;
  readonly #host: WsSessionHost;
  readonly #chats = new Map<string, WsChat>();
  readonly #maxBacklogBytes: number;
  #identity: Identity | undefined;
  #isAuthenticating = false;
  #isClosed = false;
  #heardAtMs: number;
  #stopTimer: () => void;

  constructor(socket: WebSocket, identity: Identity | undefined, host: WsSessionHost) {
    this.#socket = socket;
    this.#host = host;
    this.#identity = identity;
    this.#maxBacklogBytes = host.maxRequests * host.windowBytes + SPARE_BACKLOG_BYTES;
    this.#heardAtMs = host.clock.monotonicMs();
    this.#listen();
    if (identity === undefined) {
      limitMessages(socket, MAX_AUTH_MESSAGE_BYTES);
      this.#stopTimer = host.clock.after(host.authTimeoutMs, () => this.#onAuthDeadline());
    } else {
      this.send(readyMessage());
      this.#stopTimer = host.clock.after(host.idleTimeoutMs / 2, () => this.#watch());
    }
  }

  get backlogBytes(): number {
    return this.#socket.bufferedAmount;
  }

  send(message: string | Buffer): void {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    // A client that asks and never reads fills this process; it is cut before it can.
    if (socket.bufferedAmount > this.#maxBacklogBytes) socket.terminate();
    else socket.send(message, { binary: false });
  }

  /** An empty ping marks the place in the stream of bytes; its callback comes when all before it has left. */
  whenWritten(callback: () => void): void {
    this.#socket.ping('', false, callback);
  }

  drain(): void {
    if (this.#host.isDraining() && this.#chats.size === 0) this.#socket.close(CLOSE.goingAway, 'draining');
  }

  terminate(): void {
    this.#socket.terminate();
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on('message', (data, isBinary) => this.#onMessage(data, isBinary));
    socket.on('pong', () => {
      this.#heardAtMs = this.#host.clock.monotonicMs();
    });
    // `ws` sends the fitting close code itself (1009 for a message over the limit) and cuts the socket when no answer
    // comes; without a listener an error would end the process.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#isClosed = true;
      this.#stopTimer();
      for (const chat of [...this.#chats.values()]) chat.cancel('client_gone');
      this.#host.closed(this);
    });
  }

  #fail(error: CodedError, closeCode: number): void {
    this.send(errorMessage(error));
    this.#socket.close(closeCode, error.code);
  }

  #onMessage(data: Buffer | ArrayBuffer | Buffer[], isBinary: boolean): void {
    this.#heardAtMs = this.#host.clock.monotonicMs();
    if (isBinary) {
      this.#fail(new CodedError('unsupported_media_type', 'Messages must be text.'), CLOSE.binary);
      return;
    }
    try {
      this.#handle(readClientMessage(toBuffer(data), this.#host.maxBodyDepth));
    } catch (thrown) {
      this.#fail(toCodedError(thrown), CLOSE.malformed);
    }
  }

  #handle(message: ClientMessage): void {
    const identity = this.#identity;
    if (identity === undefined) {
      this.#introduce(message);
      return;
    }
    if (message.type === 'cancel') {
      this.#chats.get(message.id)?.cancel('cancelled');
      return;
    }
    if (message.type === 'auth') {
      const what = 'This socket is authenticated already.';
      this.#fail(new CodedError('invalid_value', what, { param: 'type' }), CLOSE.policy);
      return;
    }
    try {
      this.#startChat(identity, message);
    } catch (thrown) {
      this.send(errorMessage(toCodedError(thrown), message.id));
    }
  }

  #introduce(message: ClientMessage): void {
    // A second message while the first is being judged would be judged on its own: one guess at a time.
    if (this.#isAuthenticating) {
      const early = new CodedError('unauthenticated', 'Wait for "ready" before the next message.');
      this.#fail(early, CLOSE.unauthenticated);
      return;
    }
    this.#authenticate(message).catch((thrown: unknown) => {
      const error = toCodedError(thrown);
      this.#fail(error, CLOSE_OF[error.code] ?? CLOSE.policy);
    });
  }

  async #authenticate(message: ClientMessage): Promise<void> {
    if (message.type !== 'auth') {
      throw new CodedError('unauthenticated', 'The first message must be {"type":"auth","key":...}.');
    }
    this.#isAuthenticating = true;
    const identity = await this.#host.authenticate(message.key);
    requireDoor(identity, 'ws_chat');
    if (this.#isClosed) return;
    this.#identity = identity;
    this.#isAuthenticating = false;
    limitMessages(this.#socket, this.#host.maxMessageBytes);
    this.send(readyMessage());
  }

  #startChat(identity: Identity, message: ClientMessage & { type: 'chat' }): void {
    const { id } = message;
    const host = this.#host;
    if (host.isDraining()) {
      throw new CodedError('draining', 'This scheduler is stopping and takes no new requests.');
    }
    if (this.#chats.has(id)) {
      throw new CodedError('already_exists', 'A chat with this id is running on this socket.', { param: 'id' });
    }
    if (this.#chats.size >= host.maxRequests) {
      const what = `At most ${host.maxRequests} chats run on one socket at a time.`;
      throw new CodedError('overloaded', what, { retryAfterMs: 1000 });
    }
    host.start(identity, message.body, (requestId, model) => {
      const chat = new WsChat(
        this,
        { id, requestId },
        {
          windowBytes: host.windowBytes,
          nowMs: () => host.clock.monotonicMs(),
          ended: (over, end) => {
            this.#chats.delete(id);
            host.chatEnded(over, model, end);
            this.drain();
          },
        },
      );
      this.#chats.set(id, chat);
      host.chatStarted();
      return chat;
    });
  }

  #watch(): void {
    const { clock, idleTimeoutMs } = this.#host;
    if (clock.monotonicMs() - this.#heardAtMs >= idleTimeoutMs) {
      this.#socket.terminate();
      return;
    }
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping();
    this.#stopTimer = clock.after(idleTimeoutMs / 2, () => this.#watch());
  }

  #onAuthDeadline(): void {
    if (this.#identity === undefined) {
      this.#fail(new CodedError('unauthenticated', 'No key came in time.'), CLOSE.authTimeout);
    }
    this.#stopTimer = this.#host.clock.after(this.#host.idleTimeoutMs / 2, () => this.#watch());
  }
}
