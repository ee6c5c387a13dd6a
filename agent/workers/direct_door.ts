/**
 * The listener for clients that a scheduler has sent here with a ticket. It judges the ticket before it reads a body, and
 * the body by the same rules as the scheduler's own doors; then the request goes the way of all others, only that its
 * frames become an HTTP answer here. Whatever has no ticket gets a coded error and nothing else.
 */
import { createHash } from 'node:crypto';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { CodedError, toCodedError } from '../../lib/errors.ts';
import { formFault } from '../../lib/http_form.ts';
import { newRequestId, randomToken } from '../../lib/ids.ts';
import { answerClientError } from '../../lib/io/http_client_error.ts';
import { systemRandom } from '../../lib/io/system.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import { ENDPOINT_PATHS } from '../../lib/openai.ts';
import { ReplayCache } from '../../lib/replay_cache.ts';
import { type PreparedRequest, prepareRequest } from '../../lib/request/prepare.ts';
import {
  checkTicket,
  checkTicketBody,
  type DirectEndpoint,
  rememberUntilMs,
  type TicketClaims,
} from '../../lib/ticket.ts';
import type { SubmitMeta } from '../../proto/codec.ts';
import { TicketVerifier } from '../../proto/ticket_jws.ts';
import { DirectAnswer, sendRefusal } from './direct_answer.ts';
import { readBody } from './direct_body.ts';
import { DirectReports, type OpenLease } from './direct_reports.ts';
import type { RelayedRequest } from './relayed_request.ts';
import type { DirectReport, DirectSettings, KnownIssuer } from './relay_messages.ts';

/** A direct request for the thread's engines. */
export interface DirectOrder {
  readonly incarnation: number;
  readonly meta: SubmitMeta;
  readonly body: Uint8Array;
  readonly creditBytes: number;
}

/** The relay thread around the listener. */
export interface DirectHost {
  readonly nodeName: string;
  readonly post: (report: DirectReport) => void;
  /** Sends the request to its engine; its frames go to `answer`. @throws CodedError: nothing was started */
  begin(order: DirectOrder, answer: DirectAnswer): RelayedRequest;
  /** Nobody takes the frames any more: what still runs is aborted. */
  left(answer: DirectAnswer): void;
}

const HEADERS_TIMEOUT_MS = 10_000;
const BODY_TIMEOUT_MS = 60_000;
const MAX_HEADER_BYTES = 16 * 1024;
/** Rest of a refused body that is read and thrown away, because closing at once would reset what the client is to read. */
const MAX_DISCARDED_BYTES = 16 * 1024 * 1024;
const LISTEN_RETRY_MS = 2000;
const LIFE_CHARACTERS = 24;
/** How often leases are looked through. */
const RENEW_PERIOD_MS = 100;
/** W3C trace context, version 00. */
const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;
const BEARER = /^Bearer +([A-Za-z0-9._-]+) *$/i;

const ENDPOINTS: ReadonlyMap<string, DirectEndpoint> = new Map(
  (['chat', 'completions'] as const).map((endpoint) => [ENDPOINT_PATHS[endpoint], endpoint]),
);

/** A call that has shown a good ticket and a body that the ticket is for. */
interface Admitted {
  readonly claims: TicketClaims;
  readonly issuer: KnownIssuer;
  readonly prepared: PreparedRequest;
}

export class DirectDoor {
  readonly #settings: DirectSettings;
  readonly #host: DirectHost;
  readonly #server: http.Server;
  readonly #verifier = new TicketVerifier<KnownIssuer>();
  readonly #used: ReplayCache;
  readonly #reports: DirectReports;
  readonly #answers = new Map<DirectAnswer, OpenLease>();
  /** Of the listener's memory of used tickets: tickets name it. */
  readonly #life = randomToken(systemRandom, LIFE_CHARACTERS);
  readonly #timers: NodeJS.Timeout[] = [];
  #stopping = false;
  /** Sets of issuers are taken one after the other: the last one told is the one that stays. */
  #taking: Promise<void> = Promise.resolve();

  constructor(settings: DirectSettings, host: DirectHost) {
    this.#settings = settings;
    this.#host = host;
    this.#used = new ReplayCache(settings.maxUsedTickets);
    this.#reports = new DirectReports(host.post);
    this.#server = this.#createServer();
  }

  #createServer(): http.Server {
    const { tls, maxConnections } = this.#settings;
    const options = {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: BODY_TIMEOUT_MS,
      noDelay: true,
    };
    const server =
      tls === undefined
        ? http.createServer(options)
        : https.createServer({ ...options, cert: tls.certPem, key: tls.keyPem, minVersion: 'TLSv1.2' });
    server.maxConnections = maxConnections;
    const serve = (request: IncomingMessage, response: ServerResponse): void => void this.#serve(request, response);
    server.on('request', serve);
    // Whoever waits for leave to send a body is judged first.
    server.on('checkContinue', serve);
    server.on('checkExpectation', serve);
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      const newId = (): string => newRequestId(systemRandom);
      answerClientError(error, socket, newId, ({ code }) => this.#reports.refused(code));
    });
    return server;
  }

  start(): void {
    const { pingPeriodMs, stallTimeoutMs } = this.#settings;
    this.#server.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#server.listening) return;
      const reason = error.code ?? error.message;
      this.#host.post({ what: 'closed', code: 'address_in_use', reason });
      this.#timers.push(setTimeout(() => this.#listen(), LISTEN_RETRY_MS));
    });
    this.#server.on('drop', () => this.#reports.refused('overloaded'));
    this.#server.on('listening', () => {
      const { port } = this.#server.address() as AddressInfo;
      this.#host.post({ what: 'open', port, life: this.#life });
    });
    this.#timers.push(
      setInterval(() => this.#reports.renew(performance.now()), RENEW_PERIOD_MS),
      setInterval(() => {
        const nowMs = performance.now();
        for (const answer of this.#answers.keys()) answer.sweep(nowMs, stallTimeoutMs);
      }, pingPeriodMs),
    );
    this.#listen();
  }

  #listen(): void {
    if (!this.#stopping) this.#server.listen(this.#settings.port, this.#settings.host);
  }

  /** Takes no new connections; what runs goes on until the thread ends it. */
  close(): void {
    this.#stopping = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#server.close();
    this.#server.closeIdleConnections();
  }

  /** Ends every connection; the last reports leave. */
  destroy(): void {
    this.#server.closeAllConnections();
    this.#reports.flush();
  }

  /** Certificates for handshakes from now on. */
  setTls(tls: TlsMaterial): void {
    if (this.#server instanceof https.Server) this.#server.setSecureContext({ cert: tls.certPem, key: tls.keyPem });
  }

  setIssuers(issuers: readonly KnownIssuer[]): void {
    this.#taking = this.#taking.then(async () => {
      const good = await this.#verifier.setIssuers(issuers);
      const known = issuers.map(({ scheduler, keys }) => ({
        scheduler,
        keyIds: keys.map(({ keyId }) => keyId).filter((keyId) => good.has(keyId)),
      }));
      this.#host.post({ what: 'keys', known });
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let requestId: string = newRequestId(systemRandom);
    try {
      const { claims, issuer } = await this.#judge(request);
      requestId = claims.rid;
      const prepared = await this.#read(request, response, claims, issuer);
      if (response.destroyed) return;
      this.#use(claims);
      this.#begin(request, response, { claims, issuer, prepared });
    } catch (thrown) {
      const error = toCodedError(thrown);
      this.#reports.refused(error.code);
      if (response.destroyed || response.headersSent) return;
      const keep = mayKeep(request);
      // Also for a client that asked to close: closing while it still sends would reset what it is to read.
      if (keep && !request.complete) response.shouldKeepAlive = true;
      sendRefusal(response, requestId, error, !keep);
    }
  }

  /** Everything that can be said without the body. @throws CodedError */
  async #judge(request: IncomingMessage): Promise<{ claims: TicketClaims; issuer: KnownIssuer }> {
    const fault = formFault(request);
    if (fault !== undefined) throw new CodedError('malformed_request', fault);
    const endpoint = ENDPOINTS.get((request.url ?? '').split('?', 1)[0] as string);
    if (endpoint === undefined) throw new CodedError('route_not_found', 'An agent has no such route.');
    if (request.method !== 'POST') throw new CodedError('method_not_allowed', 'Only POST is taken here.');
    const ticket = BEARER.exec(request.headers.authorization ?? '')?.[1];
    if (ticket === undefined) throw new CodedError('ticket_missing', 'A ticket is required here: ask Route for one.');
    const { claims, issuer } = await this.#verifier.verify(ticket);
    const { clockSkewMs: skewMs } = this.#settings;
    checkTicket(claims, {
      issuer: issuer.issuer,
      node: this.#host.nodeName,
      listener: this.#life,
      nowMs: Date.now(),
      skewMs,
    });
    if (claims.end !== endpoint) throw new CodedError('ticket_wrong_request', `The ticket is for ${claims.end}.`);
    if (this.#used.has(claims.jti)) throw new CodedError('ticket_used', 'The ticket was used before.');
    return { claims, issuer };
  }

  async #read(
    request: IncomingMessage,
    response: ServerResponse,
    claims: TicketClaims,
    issuer: KnownIssuer,
  ): Promise<PreparedRequest> {
    const bytes = await readBody(request, response, issuer.maxBodyBytes);
    const prepared = prepareRequest({
      bytes,
      endpoint: claims.end,
      limits: {
        maxBodyBytes: issuer.maxBodyBytes,
        maxDepth: issuer.maxBodyDepth,
        allowedEngineFields: new Set(issuer.allowedEngineFields),
        allowRemoteMedia: issuer.allowRemoteMedia,
      },
    });
    checkTicketBody(claims, prepared.model, () => createHash('sha256').update(bytes).digest('base64url'));
    return prepared;
  }

  /** From here on the ticket is spent, whatever becomes of the request. @throws CodedError ticket_used, overloaded */
  #use(claims: TicketClaims): void {
    const outcome = this.#used.use(claims.jti, rememberUntilMs(claims, this.#settings.clockSkewMs), Date.now());
    if (outcome === 'used') throw new CodedError('ticket_used', 'The ticket was used before.');
    if (outcome === 'full') throw new CodedError('overloaded', 'The agent remembers as many used tickets as it may.');
  }

  #begin(request: IncomingMessage, response: ServerResponse, { claims, issuer, prepared }: Admitted): void {
    const { scheduler, leaseMs } = issuer;
    const { windowBytes } = this.#settings;
    const lease = this.#reports.begun({ id: claims.jti, scheduler, leaseMs }, performance.now());
    const order = { requestId: claims.rid, stream: prepared.stream, windowBytes };
    const answer = new DirectAnswer(response, order, {
      onFirstToken: () => this.#reports.firstToken(lease),
      onEnded: (_answer, outcome, usage) => this.#reports.ended(lease, outcome === 'ok' ? '' : outcome, usage),
      onClosed: (closed) => {
        this.#answers.delete(closed);
        this.#host.left(closed);
      },
    });
    this.#answers.set(answer, lease);
    try {
      const meta = metaOf(request, claims, prepared);
      const { body } = prepared;
      answer.attach(this.#host.begin({ incarnation: claims.inc, meta, body, creditBytes: windowBytes }, answer));
    } catch (thrown) {
      answer.fail(toCodedError(thrown));
    }
  }
}

/** Whether the connection can be used again: Node discards the rest of a body, so that rest must be known and small. */
function mayKeep({ complete, headers }: IncomingMessage): boolean {
  return complete || Number(headers['content-length'] ?? Infinity) <= MAX_DISCARDED_BYTES;
}

function metaOf(request: IncomingMessage, claims: TicketClaims, prepared: PreparedRequest): SubmitMeta {
  const { traceparent } = request.headers;
  return {
    requestId: claims.rid,
    engine: claims.eng,
    path: ENDPOINT_PATHS[claims.end],
    stream: prepared.stream,
    wantUsage: prepared.wantUsage,
    wantTokenIds: prepared.wantTokenIds,
    deadlineMs: claims.lim,
    ...(typeof traceparent === 'string' && TRACEPARENT.test(traceparent) ? { traceparent } : {}),
  };
}
