/**
 * A source of models on this machine: it answers as the hub does, as S3 does, and as a folder over HTTPS does, with bytes
 * made on the fly, so that a file of any size costs no memory. It fails on purpose where it is told to.
 */
import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../../lib/rng.ts';

/** A prime, so that a place in the file and a place in the block never keep step. */
const BLOCK_BYTES = 1_048_573;

export interface SourceFile {
  readonly path: string;
  readonly bytes: number;
  /** Different seeds are different content. */
  readonly seed: number;
}

const blocks = new Map<number, Buffer>();

function blockOf(seed: number): Buffer {
  const known = blocks.get(seed);
  if (known !== undefined) return known;
  const random = seededRandom(seed);
  const block = Buffer.alloc(BLOCK_BYTES);
  for (let at = 0; at + 4 <= BLOCK_BYTES; at += 4) block.writeUInt32LE(Math.floor(random.next() * 2 ** 32), at);
  blocks.set(seed, block);
  return block;
}

/** The bytes of a file from `from` to before `to`, in pieces of at most one block; GGUF files begin as such. */
export function* bytesOf({ seed, path }: SourceFile, from: number, to: number): Generator<Buffer> {
  const block = blockOf(seed);
  for (let at = from; at < to; ) {
    const start = at % BLOCK_BYTES;
    const piece = block.subarray(start, Math.min(BLOCK_BYTES, start + to - at));
    if (at < 4 && path.endsWith('.gguf')) {
      const copy = Buffer.from(piece);
      for (let i = at; i < Math.min(4, at + copy.length); i++) copy[i - at] = 'GGUF'.charCodeAt(i);
      yield copy;
    } else yield piece;
    at += piece.length;
  }
}

const sums = new Map<string, string>();

/** Its checksum; the one of a large file takes a second, so it is made once. */
export function sumOf(file: SourceFile, kind: 'sha256' | 'git' = 'sha256'): string {
  const name = `${kind} ${file.path} ${file.bytes} ${file.seed}`;
  const known = sums.get(name);
  if (known !== undefined) return known;
  const sum = computeSum(file, kind);
  sums.set(name, sum);
  return sum;
}

function computeSum(file: SourceFile, kind: 'sha256' | 'git'): string {
  const hash = createHash(kind === 'git' ? 'sha1' : 'sha256');
  if (kind === 'git') hash.update(`blob ${file.bytes}\0`);
  for (const piece of bytesOf(file, 0, file.bytes)) hash.update(piece);
  return hash.digest('hex');
}

/** What goes wrong with one answer. */
export type Fault =
  /** The connection is reset after so many bytes of the body. */
  | { readonly kind: 'cut'; readonly afterBytes: number }
  /** One byte at this place of the file is another one. */
  | { readonly kind: 'wrong'; readonly at: number }
  /** Nothing comes after the head. */
  | { readonly kind: 'hang' }
  /** So many bytes each 10 ms; a test may change its mind meanwhile. */
  | { readonly kind: 'slow'; bytes: number }
  | { readonly kind: 'status'; readonly status: number; readonly retryAfter?: string }
  /** The whole file, whatever range is asked; cut after so many bytes, or with one byte wrong, where that is said. */
  | { readonly kind: 'whole'; readonly afterBytes?: number; readonly at?: number }
  | { readonly kind: 'redirect'; readonly to: string }
  | { readonly kind: 'etag'; readonly etag: string };

export interface SeenRequest {
  readonly url: string;
  readonly host: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
  readonly headers: http.IncomingHttpHeaders;
}

export interface SourceOptions {
  readonly files: () => readonly SourceFile[];
  /** Asked for each request for bytes of a file; undefined: all is well. */
  readonly fault?: (request: SeenRequest, file: SourceFile) => Fault | undefined;
  /** Asked for every request, before anything else: the status to refuse it with. */
  readonly refuse?: (request: SeenRequest) => number | undefined;
  /** Entries of a page of the hub's tree and of S3's listing. */
  readonly pageSize?: number;
}

export interface SourceServer {
  readonly url: string;
  /** Bytes of files that were sent. */
  sentBytes(): number;
  readonly requests: SeenRequest[];
  /** Monotonic milliseconds; NaN before it. */
  firstRequestAtMs(): number;
  /** Resets every connection and takes none for a while. */
  outage(ms: number): Promise<void>;
  close(): Promise<void>;
}

export const COMMIT = 'c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00';
export const REPOSITORY = 'maker/model';
export const BUCKET = 'bucket';

const isLarge = ({ path }: SourceFile): boolean => /\.(safetensors|gguf|bin)$/.test(path);

/** Page n of a listing, and whether another follows. */
function pageOf<Item>(
  items: readonly Item[],
  page: number,
  size: number,
): { readonly items: readonly Item[]; readonly more: boolean } {
  return { items: items.slice(page * size, (page + 1) * size), more: (page + 1) * size < items.length };
}

class Server {
  readonly #options: SourceOptions;
  readonly requests: SeenRequest[] = [];
  readonly #server = http.createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });
  readonly #sockets = new Set<Socket>();
  #port = 0;
  #sent = 0;
  firstRequestAtMs = Number.NaN;

  constructor(options: SourceOptions) {
    this.#options = options;
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  get sent(): number {
    return this.#sent;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async outage(ms: number): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
    await sleep(ms);
    await this.listen();
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { headers, url = '/' } = request;
    const { authorization, range, host = '' } = headers;
    const seen: SeenRequest = { url, host, authorization, range, headers };
    if (Number.isNaN(this.firstRequestAtMs)) this.firstRequestAtMs = performance.now();
    if (this.requests.length < 10_000) this.requests.push(seen);
    const refused = this.#options.refuse?.(seen);
    if (refused !== undefined) {
      response.writeHead(refused).end(`<Error><Code>Refused${refused}</Code></Error>`);
      return;
    }
    const target = new URL(url, this.url);
    const name = decodeURIComponent(target.pathname);
    if (name.startsWith('/api/models/')) this.#hub(name, target, response);
    else if (name === `/${BUCKET}` || name === `/${BUCKET}/`) this.#s3(target, response);
    else await this.#file(name, seen, response);
  }

  #hub(name: string, target: URL, response: http.ServerResponse): void {
    if (name.startsWith(`/api/models/${REPOSITORY}/revision/`)) {
      response.end(JSON.stringify({ id: REPOSITORY, sha: COMMIT }));
      return;
    }
    if (name !== `/api/models/${REPOSITORY}/tree/${COMMIT}`) {
      response.writeHead(404).end();
      return;
    }
    const page = Number(target.searchParams.get('cursor') ?? 0);
    const { items, more } = pageOf(this.#options.files(), page, this.#options.pageSize ?? 1000);
    if (more)
      response.setHeader('link', `<${this.url}${target.pathname}?recursive=true&cursor=${page + 1}>; rel="next"`);
    const tree = items.map((file) => {
      const entry = { type: 'file', path: file.path, size: file.bytes };
      // Of a file in LFS git only knows a pointer, whose name nobody needs.
      return isLarge(file)
        ? { ...entry, oid: COMMIT, lfs: { oid: sumOf(file), size: file.bytes, pointerSize: 134 } }
        : { ...entry, oid: sumOf(file, 'git') };
    });
    response.end(JSON.stringify(tree));
  }

  #s3(target: URL, response: http.ServerResponse): void {
    const prefix = target.searchParams.get('prefix') ?? '';
    const page = Number(target.searchParams.get('continuation-token') ?? 0);
    const objects = this.#options.files().filter((file) => file.path.startsWith(prefix));
    const { items, more } = pageOf(objects, page, this.#options.pageSize ?? 1000);
    const contents = items.map(
      (file) =>
        `<Contents><Key>${file.path.replace('&', '&amp;')}</Key><ETag>&quot;${file.seed}&quot;</ETag><Size>${file.bytes}</Size></Contents>`,
    );
    const next = more ? `<NextContinuationToken>${page + 1}</NextContinuationToken>` : '';
    response.end(
      `<?xml version="1.0"?><ListBucketResult><IsTruncated>${more}</IsTruncated>${next}${contents.join('')}</ListBucketResult>`,
    );
  }

  #fileNamed(name: string): SourceFile | undefined {
    const prefix = [`/${REPOSITORY}/resolve/${COMMIT}/`, `/${BUCKET}/`, '/files/'].find((one) => name.startsWith(one));
    const path = prefix === undefined ? undefined : name.slice(prefix.length);
    return this.#options.files().find((file) => file.path === path);
  }

  async #file(name: string, seen: SeenRequest, response: http.ServerResponse): Promise<void> {
    if (name === '/files/SHA256SUMS') {
      response.end(
        this.#options
          .files()
          .map((file) => `${sumOf(file)}  ${file.path}\n`)
          .join(''),
      );
      return;
    }
    const file = this.#fileNamed(name);
    if (file === undefined) {
      response.writeHead(404).end();
      return;
    }
    const fault = this.#options.fault?.(seen, file);
    if (fault?.kind === 'status') {
      response.writeHead(fault.status, fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter }).end();
      return;
    }
    if (fault?.kind === 'redirect') {
      response.writeHead(302, { location: `${fault.to}${seen.url}` }).end();
      return;
    }
    await this.#send(file, seen.range, fault, response);
  }

  async #send(
    file: SourceFile,
    asked: string | undefined,
    fault: Fault | undefined,
    response: http.ServerResponse,
  ): Promise<void> {
    const match = fault?.kind === 'whole' ? null : /^bytes=(\d+)-(\d+)$/.exec(asked ?? '');
    const from = match === null ? 0 : Number(match[1]);
    const to = match === null ? file.bytes : Math.min(file.bytes, Number(match[2]) + 1);
    if (match !== null && from >= file.bytes) {
      response.writeHead(416, { 'content-range': `bytes */${file.bytes}` }).end();
      return;
    }
    const etag = fault?.kind === 'etag' ? fault.etag : `"${file.seed}"`;
    const range = match === null ? {} : { 'content-range': `bytes ${from}-${to - 1}/${file.bytes}` };
    response.writeHead(match === null ? 200 : 206, { 'content-length': to - from, etag, ...range });
    response.flushHeaders();
    if (fault?.kind === 'hang') return;
    await this.#body(file, from, to, fault, response);
  }

  async #body(
    file: SourceFile,
    from: number,
    to: number,
    fault: Fault | undefined,
    response: http.ServerResponse,
  ): Promise<void> {
    let at = from;
    while (at < to && !response.destroyed) {
      const step = fault?.kind === 'slow' ? fault.bytes : 256 * 1024;
      const cutAfter = fault?.kind === 'cut' || fault?.kind === 'whole' ? fault.afterBytes : undefined;
      const cutAt = cutAfter === undefined ? to : from + cutAfter;
      if (at >= cutAt) {
        // What was written must leave before the reset, or nobody could tell how far it came.
        await sleep(20);
        response.socket?.resetAndDestroy();
        return;
      }
      for (const piece of bytesOf(file, at, Math.min(to, cutAt, at + step))) {
        const wrongAt = fault?.kind === 'wrong' || fault?.kind === 'whole' ? fault.at : undefined;
        const sent = wrongAt === undefined ? piece : spoiled(piece, wrongAt - at);
        this.#sent += piece.length;
        at += piece.length;
        if (!response.write(sent) && !response.destroyed) await drained(response);
      }
      if (fault?.kind === 'slow') await sleep(10);
    }
    response.end();
  }
}

const drained = (response: http.ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const go = (): void => {
      response.off('drain', go);
      response.off('close', go);
      resolve();
    };
    response.once('drain', go);
    response.once('close', go);
  });

function spoiled(piece: Buffer, place: number): Buffer {
  if (place < 0 || place >= piece.length) return piece;
  const copy = Buffer.from(piece);
  copy[place] = (copy[place] as number) ^ 0xff;
  return copy;
}

export async function startSource(options: SourceOptions): Promise<SourceServer> {
  const server = new Server(options);
  await server.listen();
  return {
    url: server.url,
    sentBytes: () => server.sent,
    requests: server.requests,
    firstRequestAtMs: () => server.firstRequestAtMs,
    outage: (ms) => server.outage(ms),
    close: () => server.close(),
  };
}
