/**
 * An engine at the level of its socket: a test answers each request byte by byte, and sees when its client goes away.
 * It listens on a Unix socket in a private folder, as engines do under an agent.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface RawExchange {
  readonly path: string;
  readonly headers: string;
  readonly body: string;
  readonly socket: net.Socket;
  /** Number of the connection, from 1. */
  readonly connection: number;
  /** The client has gone away. */
  readonly gone: () => boolean;
  /** Writes a head and, unless the answer is a stream, the body. */
  json(status: number, body: unknown): void;
  /** Begins an event stream. */
  begin(): void;
  /** One token of a stream, with its id. */
  token(id: number, text?: string): void;
  /** Any event. */
  event(data: string): void;
  /** The last chunk, usage, `[DONE]` and the end. */
  finish(): void;
}

export interface RawEngine {
  readonly path: string;
  readonly exchanges: RawExchange[];
  readonly connections: net.Socket[];
  close(): void;
}

function chunk(socket: net.Socket, text: string): void {
  const bytes = Buffer.from(text);
  socket.write(Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]));
}

function exchangeOf(socket: net.Socket, connection: number, head: string, body: string): RawExchange {
  const event = (data: string): void => chunk(socket, `data: ${data}\n\n`);
  return {
    path: head.split(' ')[1] ?? '',
    headers: head,
    body,
    socket,
    connection,
    gone: () => socket.destroyed || socket.readableEnded,
    json(status, value) {
      const text = JSON.stringify(value);
      socket.write(
        `HTTP/1.1 ${status} X\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
      );
    },
    begin: () =>
      void socket.write(
        'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n',
      ),
    event,
    token: (id, text = `t${id} `) =>
      event(`{"id":"a","choices":[{"index":0,"text":"${text}","finish_reason":null,"token_ids":[${id}]}]}`),
    finish() {
      event('{"id":"a","choices":[{"index":0,"text":"","finish_reason":"stop","token_ids":[]}]}');
      event('[DONE]');
      socket.write('0\r\n\r\n');
    },
  };
}

/** @param answer called for each whole request; absent: the test takes them from `exchanges` */
export async function startRawEngine(answer: (exchange: RawExchange) => void = () => undefined): Promise<RawEngine> {
  const folder = mkdtempSync(path.join(tmpdir(), 'raw-engine-'));
  const file = path.join(folder, 'engine.sock');
  const exchanges: RawExchange[] = [];
  const connections: net.Socket[] = [];
  const server = net.createServer((socket) => {
    const connection = connections.push(socket);
    let read = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => {
      read = Buffer.concat([read, bytes]);
      for (;;) {
        const blank = read.indexOf('\r\n\r\n');
        if (blank === -1) return;
        const head = read.toString('latin1', 0, blank);
        const end = blank + 4 + Number(/content-length: (\d+)/.exec(head)?.[1] ?? 0);
        if (read.length < end) return;
        const exchange = exchangeOf(socket, connection, head, read.toString('utf8', blank + 4, end));
        read = read.subarray(end);
        exchanges.push(exchange);
        answer(exchange);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(file, resolve));
  return {
    path: file,
    exchanges,
    connections,
    close() {
      for (const socket of connections) socket.destroy();
      server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
