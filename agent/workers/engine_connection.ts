/**
 * Connections to one engine: a keep-alive pool on plain sockets, one request at a time on each. All sockets of a worker
 * read into one shared buffer, which is sound because what was read is used up before the next read begins; it saves an
 * allocation and Node's stream machinery for each token.
 */
import net from 'node:net';
import { CodedError } from '../../lib/errors.ts';
import { mayResend } from '../core/resend.ts';
import type { EngineAddress } from '../ports.ts';
import { type HttpHead, HttpReader } from './http_reader.ts';

export interface EngineRequest {
  readonly method: 'POST' | 'GET';
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

/** What comes of one exchange. After `onComplete`, `onFailed` or abort() nothing more comes. */
export interface ExchangeSink {
  onHead(head: HttpHead): void;
  /** A range of the shared read buffer: valid during the call, and free to be overwritten. */
  onBody(buffer: Buffer, start: number, end: number): void;
  /** All bytes of one read were given. */
  onReadEnd(): void;
  onComplete(): void;
  onFailed(error: CodedError): void;
}

/** One running exchange. */
export interface Exchange {
  /** Destroys the connection: the engine sees its client go away. */
  abort(): void;
  pause(): void;
  resume(): void;
}

export interface ConnectionLimits {
  readonly connectTimeoutMs: number;
  /** Idle connections older than this are not used again: vLLM closes them after 5 s. */
  readonly idleSocketMs: number;
  readonly maxIdle: number;
}

const READ_BUFFER_BYTES = 64 * 1024;
const sharedReadBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);

const describe = (address: EngineAddress): string =>
  address.kind === 'unix' ? 'its Unix socket' : `port ${address.port}`;

/** A socket and the exchange that it carries now. */
class Connection {
  readonly socket: net.Socket;
  readonly reader: HttpReader;
  readonly #pool: EnginePool;
  exchange: PooledExchange | undefined;
  idleSinceMs = 0;
  /** How many exchanges it has carried before the present one. */
  uses = 0;
  connected = false;
  /** The answer has ended and leaves the connection fit for another. */
  #reusable = false;
  lastError: NodeJS.ErrnoException | undefined;

  constructor(address: EngineAddress, pool: EnginePool) {
    this.#pool = pool;
    this.reader = new HttpReader({
      onHead: (head) => this.exchange?.sink.onHead(head),
      onBody: (buffer, start, end) => this.exchange?.sink.onBody(buffer, start, end),
      onComplete: (reusable) => {
        this.#reusable = reusable;
      },
    });
    const target = address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
    const onread = { buffer: sharedReadBuffer, callback: (bytes: number): boolean => this.#onRead(bytes) };
    this.socket = net.connect({ ...target, onread });
    this.socket.setNoDelay(true);
    this.socket.once('connect', () => {
      this.connected = true;
      this.exchange?.onConnected();
    });
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.lastError = error;
    });
    this.socket.once('close', () => this.#onClose());
  }

  #onRead(bytes: number): boolean {
    const exchange = this.exchange;
    if (exchange === undefined) {
      // Nothing was asked: whatever this is, the connection cannot be trusted any more.
      this.socket.destroy();
      return true;
    }
    exchange.gotBytes = true;
    try {
      this.reader.push(sharedReadBuffer, 0, bytes);
      if (this.exchange === exchange) exchange.sink.onReadEnd();
    } catch (error) {
      if (this.exchange === exchange) this.#fail(error instanceof CodedError ? error : wrapUnexpected(error));
      return true;
    }
    if (this.exchange === exchange && this.reader.complete) this.#finish(exchange);
    return true;
  }

  #finish(exchange: PooledExchange): void {
    this.exchange = undefined;
    exchange.clearTimer();
    // Back to the pool first: the request that follows on this very completion may already use it.
    if (this.#reusable && this.socket.writableLength === 0 && !this.socket.destroyed) this.#pool.giveBack(this);
    else this.socket.destroy();
    exchange.sink.onComplete();
  }

  #fail(error: CodedError): void {
    const exchange = this.exchange;
    this.exchange = undefined;
    this.socket.destroy();
    exchange?.clearTimer();
    exchange?.sink.onFailed(error);
  }

  #onClose(): void {
    this.#pool.forget(this);
    const exchange = this.exchange;
    if (exchange === undefined) return;
    if (exchange.gotBytes && this.lastError === undefined && this.reader.closed()) {
      exchange.sink.onReadEnd();
      this.#finish(exchange);
      return;
    }
    this.exchange = undefined;
    exchange.clearTimer();
    // The engine may close an idle connection at the moment at which it is used again.
    const { resend } = mayResend({
      reused: this.uses > 0,
      retried: exchange.retried,
      answered: exchange.gotBytes,
      sent: exchange.flushed,
      errorCode: this.lastError?.code,
      sinceSentMs: performance.now() - exchange.sentAtMs,
    });
    if (resend) {
      exchange.retry();
      return;
    }
    exchange.sink.onFailed(this.#closeError());
  }

  #closeError(): CodedError {
    const cause = this.lastError;
    if (!this.connected) {
      return new CodedError(
        'engine_unreachable',
        'The engine does not accept connections.',
        cause === undefined ? {} : { cause },
      );
    }
    return new CodedError(
      'engine_died',
      'The engine closed the connection before its answer was whole.',
      cause === undefined ? {} : { cause },
    );
  }

  /** Fails the running exchange because the connection was not made in time. */
  connectTimedOut(address: EngineAddress): void {
    this.#fail(
      new CodedError('engine_unreachable', `The engine did not accept a connection on ${describe(address)} in time.`),
    );
  }

  begin(exchange: PooledExchange): void {
    this.exchange = exchange;
    this.socket.ref();
    this.#reusable = false;
    this.reader.reset();
  }

  idle(nowMs: number): void {
    this.idleSinceMs = nowMs;
    this.uses += 1;
    // Nobody waits for it: it keeps no process from its end.
    this.socket.unref();
    if (this.socket.isPaused()) this.socket.resume();
  }
}

function wrapUnexpected(error: unknown): CodedError {
  return new CodedError('internal', 'The relay failed on the answer of the engine.', { cause: error });
}

class PooledExchange implements Exchange {
  readonly sink: ExchangeSink;
  readonly #pool: EnginePool;
  readonly #request: Buffer;
  #connection: Connection | undefined;
  #timer: NodeJS.Timeout | undefined;
  gotBytes = false;
  retried = false;
  /** The kernel has the whole request. */
  flushed = false;
  sentAtMs = 0;
  #paused = false;
  #ended = false;

  constructor(pool: EnginePool, request: Buffer, sink: ExchangeSink) {
    this.#pool = pool;
    this.#request = request;
    this.sink = sink;
  }

  start(connection: Connection): void {
    this.#connection = connection;
    connection.begin(this);
    if (!connection.connected) {
      this.#timer = setTimeout(
        () => connection.connectTimedOut(this.#pool.address),
        this.#pool.limits.connectTimeoutMs,
      );
    }
    this.flushed = false;
    this.sentAtMs = performance.now();
    connection.socket.write(this.#request, (error) => {
      if (error == null) this.flushed = true;
    });
    if (this.#paused) connection.socket.pause();
  }

  onConnected(): void {
    this.clearTimer();
  }

  clearTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  retry(): void {
    this.retried = true;
    this.#pool.resentTotal += 1;
    if (!this.#ended) this.start(this.#pool.fresh());
  }

  abort(): void {
    this.#ended = true;
    const connection = this.#connection;
    if (connection?.exchange !== this) return;
    connection.exchange = undefined;
    this.clearTimer();
    connection.socket.destroy();
  }

  pause(): void {
    this.#paused = true;
    if (this.#connection?.exchange === this) this.#connection.socket.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#connection?.exchange === this) this.#connection.socket.resume();
  }
}

/** The bytes of a request. Header values were checked where they came from; none may hold a line break. */
export function encodeRequest(request: EngineRequest): Buffer {
  let head = `${request.method} ${request.path} HTTP/1.1\r\nhost: engine\r\naccept: */*\r\nconnection: keep-alive\r\n`;
  for (const [name, value] of request.headers) {
    if (/[\r\n\0]/.test(value))
      throw new CodedError('invalid_value', `The header ${name} holds a line break.`, { param: name });
    head += `${name}: ${value}\r\n`;
  }
  if (request.method === 'POST') head += `content-type: application/json\r\ncontent-length: ${request.body.length}\r\n`;
  return Buffer.concat([Buffer.from(`${head}\r\n`, 'latin1'), request.body]);
}

/** The connections to one life of one engine. */
export class EnginePool {
  readonly address: EngineAddress;
  readonly limits: ConnectionLimits;
  /** Requests that were sent a second time. */
  resentTotal = 0;
  readonly #idle: Connection[] = [];
  readonly #all = new Set<Connection>();

  constructor(address: EngineAddress, limits: ConnectionLimits) {
    this.address = address;
    this.limits = limits;
  }

  /** Sends a request on an idle or a fresh connection. */
  send(request: EngineRequest, sink: ExchangeSink): Exchange {
    const exchange = new PooledExchange(this, encodeRequest(this.#withKey(request)), sink);
    exchange.start(this.#pick() ?? this.fresh());
    return exchange;
  }

  /** An engine on a port asks for the key that the agent made for it. */
  #withKey(request: EngineRequest): EngineRequest {
    const key = this.address.kind === 'tcp' ? this.address.apiKey : undefined;
    return key === undefined
      ? request
      : { ...request, headers: [...request.headers, ['authorization', `Bearer ${key}`]] };
  }

  #pick(): Connection | undefined {
    const now = performance.now();
    // The newest is taken first, so that the others grow old and are closed.
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (now - connection.idleSinceMs < this.limits.idleSocketMs && !connection.socket.destroyed) return connection;
      connection.socket.destroy();
    }
    return undefined;
  }

  fresh(): Connection {
    const connection = new Connection(this.address, this);
    this.#all.add(connection);
    return connection;
  }

  giveBack(connection: Connection): void {
    if (this.#idle.length >= this.limits.maxIdle) {
      connection.socket.destroy();
      return;
    }
    connection.idle(performance.now());
    this.#idle.push(connection);
  }

  forget(connection: Connection): void {
    this.#all.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at !== -1) this.#idle.splice(at, 1);
  }

  /** Closes idle connections that are too old to be used again; to be called about once a second. */
  sweep(): void {
    const oldest = performance.now() - this.limits.idleSocketMs;
    while ((this.#idle[0]?.idleSinceMs ?? Number.POSITIVE_INFINITY) < oldest) this.#idle.shift()?.socket.destroy();
  }

  /** Destroys all connections; exchanges on them fail with engine_died. */
  destroy(): void {
    for (const connection of this.#all) connection.socket.destroy();
  }
}
