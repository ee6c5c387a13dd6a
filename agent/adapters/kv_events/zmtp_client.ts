/**
 * One ZeroMQ connection to an engine's Unix socket. It ends by itself when the peer does, speaks something else, or takes
 * too long to begin; who opened it decides what then.
 */
import { createConnection, type Socket } from 'node:net';
import { zmtpMessage, zmtpOpening, ZmtpReader, type ZmtpSocket, zmtpSubscribe } from '../../../lib/zmtp.ts';

export interface ZmtpHandlers {
  /** Messages may be sent from now on. */
  onReady(): void;
  onMessage(frames: readonly Uint8Array[]): void;
  /** Called once, unless close() was called first. */
  onEnd(reason: string): void;
}

/** A step of an engine with a prefill of 65,536 tokens is a quarter of it. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
const OPEN_TIMEOUT_MS = 5000;

export class ZmtpClient {
  readonly #socket: Socket;
  readonly #handlers: ZmtpHandlers;
  readonly #reader = new ZmtpReader({ maxMessageBytes: MAX_MESSAGE_BYTES });
  #ended = false;

  constructor(path: string, type: ZmtpSocket, handlers: ZmtpHandlers) {
    this.#handlers = handlers;
    const socket = createConnection(path);
    this.#socket = socket;
    socket.setTimeout(OPEN_TIMEOUT_MS, () => this.#end('the engine did not answer in time'));
    socket.on('connect', () => socket.write(zmtpOpening(type)));
    socket.on('data', (bytes) => this.#onBytes(bytes, type));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#end(error.code ?? error.message));
    socket.on('close', () => this.#end('the engine closed the connection'));
  }

  send(frames: readonly Uint8Array[]): void {
    this.#socket.write(zmtpMessage(frames));
  }

  close(): void {
    this.#ended = true;
    this.#socket.destroy();
  }

  #onBytes(bytes: Uint8Array, type: ZmtpSocket): void {
    for (const event of this.#reader.push(bytes)) {
      if (this.#ended) return;
      if (event.kind === 'malformed') this.#end(event.reason);
      else if (event.kind === 'message') this.#handlers.onMessage(event.frames);
      else {
        this.#socket.setTimeout(0);
        if (type === 'SUB') this.#socket.write(zmtpSubscribe());
        this.#handlers.onReady();
      }
    }
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.close();
    this.#handlers.onEnd(reason);
  }
}
