/**
 * A client that sees exactly the bytes an engine sends: status line, headers, chunk sizes, chunks. A general HTTP client
 * hides the framing, and the framing is what the fixtures record and the stream reader of the agent is tested with.
 */
import { connect, type Socket } from 'node:net';

export type Address = { readonly path: string } | { readonly host: string; readonly port: number };

export type Request = {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Sent as it stands when a string, so that broken JSON can be sent too; anything else is serialised. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** The connection is given up after this long; 60 s unless told otherwise. */
  readonly limitMs?: number;
};

/** `complete`: the framing said so. `closed`: the engine ended the connection first. */
export type Exchange = { readonly raw: Buffer; readonly end: 'complete' | 'closed' };

export type OpenExchange = {
  /** What has arrived so far. */
  readonly received: () => Buffer;
  /** Settles at the end of the response; rejects on a socket error or when the time is up. */
  readonly done: Promise<Exchange>;
  /** Drops the connection, as a client does that goes away. */
  readonly drop: () => void;
  /** Resolves when `received()` contains the text. */
  readonly until: (text: string, limitMs?: number) => Promise<void>;
};

const LAST_CHUNK = Buffer.from('\r\n0\r\n\r\n');
const MAX_RESPONSE_BYTES = 16 * 1024 * 1024;

/** The request's bytes: HTTP/1.1, kept alive, as the agent sends them. */
export function requestBytes(request: Request): Buffer {
  const lines = [`${request.method} ${request.path} HTTP/1.1`, 'host: engine'];
  const body = request.body === undefined ? undefined : toBytes(request.body);
  if (body !== undefined) lines.push('content-type: application/json', `content-length: ${body.length}`);
  for (const [name, value] of Object.entries(request.headers ?? {})) lines.push(`${name}: ${value}`);
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), body ?? Buffer.alloc(0)]);
}

function toBytes(body: unknown): Buffer {
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

/** How the end of a response is known: by the last chunk, by its total length, or not at all (it ends with the socket). */
type Framing = 'chunked' | 'until close' | { readonly totalBytes: number };

function framingOf(raw: Buffer): Framing | undefined {
  const headEnd = raw.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const { headers } = parseResponse(raw.subarray(0, headEnd + 4));
  if (headers.get('transfer-encoding') === 'chunked') return 'chunked';
  const length = headers.get('content-length');
  return length === undefined ? 'until close' : { totalBytes: headEnd + 4 + Number(length) };
}

/** Sends the request and returns at once; the response gathers in the background. */
export function open(address: Address, request: Request): OpenExchange {
  const parts: Buffer[] = [];
  let bytes = 0;
  let tail: Buffer = Buffer.alloc(0);
  let framing: Framing | undefined;
  const socket: Socket = 'path' in address ? connect(address.path) : connect(address.port, address.host);
  const done = new Promise<Exchange>((resolve, reject) => {
    const timer = setTimeout(() => socket.destroy(new Error('the engine took too long')), request.limitMs ?? 60_000);
    socket.on('data', (part: Buffer) => {
      parts.push(part);
      bytes += part.length;
      if (bytes > MAX_RESPONSE_BYTES) socket.destroy(new Error('the response is too large'));
      tail = Buffer.concat([tail, part]).subarray(-LAST_CHUNK.length);
      framing ??= framingOf(Buffer.concat(parts));
      if (framing === undefined || framing === 'until close') return;
      if (framing === 'chunked' ? !tail.equals(LAST_CHUNK) : bytes < framing.totalBytes) return;
      resolve({ raw: Buffer.concat(parts), end: 'complete' });
      socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve({ raw: Buffer.concat(parts), end: 'closed' });
    });
    socket.on('connect', () => socket.write(requestBytes(request)));
  });
  // A caller may drop the connection and never look at the outcome; that must not count as an unhandled rejection.
  done.catch(() => undefined);
  const received = () => Buffer.concat(parts);
  return {
    received,
    done,
    drop: () => socket.destroy(),
    until: (text, limitMs) => arrival(socket, received, text, limitMs),
  };
}

async function arrival(socket: Socket, received: () => Buffer, text: string, limitMs = 30_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!received().includes(text)) {
    if (Date.now() > deadline) throw new Error(`"${text}" did not arrive in ${limitMs} ms`);
    if (socket.closed) throw new Error(`the connection closed before "${text}" arrived`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Sends one request and waits for the whole response. */
export function exchange(address: Address, request: Request): Promise<Exchange> {
  return open(address, request).done;
}

export type Response = { readonly status: number; readonly headers: Map<string, string>; readonly body: Buffer };

/** Takes a whole or cut response apart; chunks that did not arrive completely are left out. */
export function parseResponse(raw: Buffer): Response {
  const headEnd = raw.indexOf('\r\n\r\n');
  const lines = raw.toString('latin1', 0, headEnd).split('\r\n');
  const headers = new Map(
    lines.slice(1).map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const rest = raw.subarray(headEnd + 4);
  const chunked = headers.get('transfer-encoding') === 'chunked';
  return { status: Number(lines[0]?.split(' ')[1]), headers, body: chunked ? joinChunks(rest) : rest };
}

function joinChunks(bytes: Buffer): Buffer {
  const chunks: Buffer[] = [];
  let at = 0;
  while (at < bytes.length) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) break;
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    const start = lineEnd + 2;
    if (!(size > 0) || start + size + 2 > bytes.length) break;
    chunks.push(bytes.subarray(start, start + size));
    at = start + size + 2;
  }
  return Buffer.concat(chunks);
}

/** The payloads of the `data:` lines of a server-sent-event body, in order, `[DONE]` included. */
export function eventData(body: Buffer): string[] {
  return body
    .toString('utf8')
    .split('\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => line.slice('data: '.length));
}
