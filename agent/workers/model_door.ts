/**
 * Gives files of models that are whole on this host to other nodes of the fleet, and nothing else. Both ends show
 * certificates of the fleet's authority; the caller's must carry the name in its ticket. A path is only ever looked up
 * among the files of the model that the ticket names, so that no path reaches anything beside them. What is sent is
 * bounded in number and in bytes a second. The fetching side checks every byte anyway.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { CodedError, toCodedError } from '../../lib/errors.ts';
import { formFault } from '../../lib/http_form.ts';
import { errorHeaders, errorJson } from '../../lib/http_errors.ts';
import { drained } from '../../lib/io/drained.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import { checkModelTicket, type ModelTicketClaims } from '../../lib/model_ticket.ts';
import { ModelTicketVerifier } from '../../proto/ticket_jws.ts';
import { type ByteRange, MODEL_FILES_PATH, parseRange } from '../core/model_files/serving.ts';
import { fullBucket, takeBytes, type TokenBucket } from '../core/model_files/token_bucket.ts';
import type {
  ModelDoorReport,
  ModelDoorSettings,
  ModelIssuer,
  ServedFile,
  ServedModel,
} from './model_door_messages.ts';

const HEADERS_TIMEOUT_MS = 10_000;
/** Longer than a caller leaves between two ranges: one that is closed as it is used again costs that caller a try. */
const KEEP_ALIVE_MS = 60_000;
const MAX_HEADER_BYTES = 16 * 1024;
const BLOCK_BYTES = 256 * 1024;
const LISTEN_RETRY_MS = 2000;
const REPORT_PERIOD_MS = 1000;
const RETRY_WHEN_FULL_MS = 2000;
const BEARER = /^Bearer +([A-Za-z0-9._-]+) *$/i;

interface Found {
  readonly model: ServedModel;
  readonly file: ServedFile;
}

const absent = (): CodedError => new CodedError('not_found', 'This node has no such file of the model.');

export class ModelDoor {
  readonly #settings: ModelDoorSettings;
  readonly #post: (report: ModelDoorReport) => void;
  readonly #server: https.Server;
  readonly #verifier = new ModelTicketVerifier<ModelIssuer>();
  readonly #timers: NodeJS.Timeout[] = [];
  #models: ReadonlyMap<string, ServedModel> = new Map();
  #bucket: TokenBucket;
  #transfers = 0;
  #sentBytes = 0;
  #refused: Record<string, number> = {};
  #stopping = false;
  /** Sets of issuers are taken one after the other: the last one told is the one that stays. */
  #taking: Promise<void> = Promise.resolve();

  constructor(settings: ModelDoorSettings, post: (report: ModelDoorReport) => void) {
    this.#settings = settings;
    this.#post = post;
    this.#bucket = fullBucket(settings.bandwidth, performance.now());
    const { caPem, certPem, keyPem } = settings.tls;
    this.#server = https.createServer({
      ca: caPem,
      cert: certPem,
      key: keyPem,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: HEADERS_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
    });
    this.#server.maxConnections = settings.maxTransfers * 4 + 16;
    this.#server.on('request', (request, response) => void this.#serve(request, response));
    this.#server.on('tlsClientError', () => this.#count('unauthenticated'));
    this.#server.on('drop', () => this.#count('overloaded'));
  }

  start(): void {
    this.#server.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#server.listening) return;
      this.#post({ what: 'closed', code: 'address_in_use', reason: error.code ?? error.message });
      this.#timers.push(setTimeout(() => this.#listen(), LISTEN_RETRY_MS));
    });
    this.#server.on('listening', () => {
      this.#post({ what: 'open', port: (this.#server.address() as AddressInfo).port });
    });
    this.#timers.push(setInterval(() => this.#report(), REPORT_PERIOD_MS));
    this.#listen();
  }

  #listen(): void {
    if (!this.#stopping) this.#server.listen(this.#settings.port, this.#settings.host);
  }

  stop(): void {
    this.#stopping = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#server.close();
    this.#server.closeAllConnections();
    this.#report();
  }

  /** For handshakes from now on. */
  setTls({ caPem, certPem, keyPem }: TlsMaterial): void {
    this.#server.setSecureContext({ ca: caPem, cert: certPem, key: keyPem, minVersion: 'TLSv1.2' });
  }

  setModels(models: readonly ServedModel[]): void {
    this.#models = new Map(models.map((model) => [model.source, model]));
  }

  setIssuers(issuers: readonly ModelIssuer[]): void {
    this.#taking = this.#taking.then(async () => {
      const good = await this.#verifier.setIssuers(issuers);
      const known = issuers.map(({ scheduler, keys }) => ({
        scheduler,
        keyIds: keys.map(({ keyId }) => keyId).filter((keyId) => good.has(keyId)),
      }));
      this.#post({ what: 'keys', known });
    });
  }

  #count(code: string): void {
    this.#refused[code] = (this.#refused[code] ?? 0) + 1;
  }

  #report(): void {
    const [bytes, refused] = [this.#sentBytes, this.#refused];
    if (bytes === 0 && Object.keys(refused).length === 0) return;
    this.#sentBytes = 0;
    this.#refused = {};
    this.#post({ what: 'served', bytes, refused });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const claims = await this.#judge(request);
      const { model, file } = this.#find(request, claims);
      if (this.#transfers >= this.#settings.maxTransfers)
        throw new CodedError('overloaded', 'This node gives as many files as it may.', {
          retryAfterMs: RETRY_WHEN_FULL_MS,
        });
      this.#transfers += 1;
      try {
        await this.#give(request, response, model, file);
      } finally {
        this.#transfers -= 1;
      }
    } catch (thrown) {
      this.#refuse(response, toCodedError(thrown));
    }
  }

  #refuse(response: ServerResponse, error: CodedError): void {
    this.#count(error.code);
    // A body that has begun cannot be taken back; a cut tells the other end that it is not whole.
    if (response.headersSent) response.destroy();
    if (response.destroyed) return;
    const body = Buffer.from(errorJson(error));
    response.writeHead(error.spec.http, { ...errorHeaders(error), 'content-length': body.length });
    response.end(body);
  }

  /** Who calls, and whether with leave. @throws CodedError */
  async #judge(request: IncomingMessage): Promise<ModelTicketClaims> {
    const fault = formFault(request);
    if (fault !== undefined) throw new CodedError('malformed_request', fault);
    if (request.url?.startsWith(MODEL_FILES_PATH) !== true)
      throw new CodedError('route_not_found', 'An agent has no such route.');
    if (request.method !== 'GET') throw new CodedError('method_not_allowed', 'Only GET is taken here.');
    const ticket = BEARER.exec(request.headers.authorization ?? '')?.[1];
    if (ticket === undefined) throw new CodedError('ticket_missing', 'A ticket of a scheduler is required here.');
    const { claims, issuer } = await this.#verifier.verify(ticket);
    const { CN: client } = (request.socket as TLSSocket).getPeerCertificate().subject ?? {};
    const { nodeName: node, clockSkewMs: skewMs } = this.#settings;
    checkModelTicket(claims, {
      issuer: issuer.issuer,
      node,
      client: typeof client === 'string' ? client : '',
      nowMs: Date.now(),
      skewMs,
    });
    return claims;
  }

  /** The file that is asked for, if it is one of the ticket's model and still the wanted one. @throws CodedError not_found */
  #find(request: IncomingMessage, { src, res }: ModelTicketClaims): Found {
    const model = this.#models.get(src);
    if (model === undefined || model.resolved !== res) throw absent();
    let name: string;
    try {
      name = decodeURIComponent((request.url as string).slice(MODEL_FILES_PATH.length));
    } catch {
      throw absent();
    }
    const file = model.files.find((each) => each.path === name);
    if (file === undefined || request.headers['if-match'] !== `"${file.sum}"`) throw absent();
    return { model, file };
  }

  async #give(request: IncomingMessage, response: ServerResponse, model: ServedModel, file: ServedFile): Promise<void> {
    const range = parseRange(request.headers.range, file.bytes);
    if (range === 'bad')
      throw new CodedError('invalid_value', 'The range is not one of this file.', { param: 'range' });
    const handle = await this.#openFile(model, file);
    try {
      response.writeHead(range.part ? 206 : 200, {
        'content-type': 'application/octet-stream',
        'accept-ranges': 'bytes',
        'content-length': range.to - range.from,
        ...(range.part ? { 'content-range': `bytes ${range.from}-${range.to - 1}/${file.bytes}` } : {}),
      });
      await this.#send(handle, range, response);
    } finally {
      await handle.close();
    }
  }

  /** Only a plain file inside the model's own folder that is as it was when it was checked. @throws CodedError not_found */
  async #openFile({ folder }: ServedModel, { path: name, bytes, mtimeMs }: ServedFile): Promise<FileHandle> {
    const place = path.join(folder, name);
    let handle: FileHandle | undefined;
    try {
      // Somebody may have put a link in the place of a folder since.
      if ((await realpath(place)) !== path.join(await realpath(folder), name)) throw absent();
      handle = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW);
      const found = await handle.stat();
      if (!found.isFile() || found.size !== bytes || found.mtimeMs !== mtimeMs) throw absent();
      return handle;
    } catch (thrown) {
      await handle?.close();
      if (thrown instanceof CodedError) throw thrown;
      throw new CodedError('not_found', 'This node has no such file of the model.', { cause: thrown });
    }
  }

  async #send(handle: FileHandle, { from, to }: ByteRange, response: ServerResponse): Promise<void> {
    for (let at = from; at < to && !response.destroyed; ) {
      // A new block for each turn: the socket may hold the last one still.
      const block = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, to - at));
      const { bytesRead } = await handle.read(block, 0, block.length, at);
      if (bytesRead === 0) {
        response.destroy();
        return;
      }
      at += bytesRead;
      await this.#limit(bytesRead);
      this.#sentBytes += bytesRead;
      const isFree = response.write(block.subarray(0, bytesRead));
      if (isFree || response.destroyed) continue;
      if (!(await drained(response, this.#settings.stallTimeoutMs))) response.destroy();
    }
    if (!response.destroyed) response.end();
  }

  async #limit(bytes: number): Promise<void> {
    if (this.#settings.bandwidth === 0) return;
    const { bucket, waitMs } = takeBytes(this.#bucket, bytes, performance.now());
    this.#bucket = bucket;
    if (waitMs > 0) await sleep(waitMs);
  }
}
