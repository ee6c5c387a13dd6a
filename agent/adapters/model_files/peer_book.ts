/**
 * What this agent knows of other nodes that have files which it fetches: the newest word of each scheduler, how each node
 * has done, and a connection to it that both ends prove by certificates of the fleet. Neither an address nor a ticket
 * ever leaves here but on that connection: failures are told by the node's name.
 */
import http from 'node:http';
import https from 'node:https';
import { isHttpsOrigin } from '../../../lib/https_origin.ts';
import type { TlsMaterial } from '../../../lib/io/tls_files.ts';
import { MAX_TICKET_BYTES } from '../../../lib/ticket.ts';
import type { ModelPeers__Output } from '../../../proto/gen/fleet/v1/ModelPeers.ts';
import type { FileEntry } from '../../core/model_files/listing.ts';
import {
  afterFailure,
  afterSuccess,
  choosePeer,
  NEW_PEER,
  type PeerOffer,
  type PeerStanding,
} from '../../core/model_files/peers.ts';
import type { Failure } from '../../core/model_files/retry.ts';
import { MODEL_FILES_PATH } from '../../core/model_files/serving.ts';
import { fetchFailure } from './fetch_failure.ts';
import type { Authorize, HttpClient, HttpTimes } from './http_get.ts';

export interface PeerBookOptions {
  readonly nodeName: string;
  /** This agent's certificates, asked for before each new connection. */
  readonly tls: () => TlsMaterial;
  readonly times: HttpTimes;
  /** To one node at a time. */
  readonly connections: number;
}

/** One range that a peer is asked for. */
export interface PeerTurn {
  readonly node: string;
  readonly client: HttpClient;
  readonly authorize: Authorize;
  readonly url: (file: string) => URL;
  readonly headers: (entry: FileEntry) => Readonly<Record<string, string>>;
  /** The range came whole. */
  came(): void;
  /** It did not: the peer is left alone for a while. @returns the failure as people may read it */
  failed(failure: Failure): Failure;
  /** Neither: the fetch ended. */
  left(): void;
}

/** The peers of one model, as one state of its source. */
export interface ModelPeersOf {
  /** Undefined: there is none to ask now. */
  take(): PeerTurn | undefined;
  /** A file that these gave bytes for turned out wrong. @returns the failure as people may read it */
  wrong(nodes: readonly string[], failure: Failure): Failure;
}

const NODE_NAME = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/;
const MAX_SOURCES = 64;
const MAX_PEERS = 8;
const MAX_STANDINGS = 512;
const MAX_CLIENTS = 64;

/** A file of a model as another node knows it. */
export const sumName = ({ check }: Pick<FileEntry, 'check'>): string =>
  check === undefined ? '' : `${check.kind}:${check.hex}`;

/** An error of a connection as Node's own are: with a code. */
const anotherName = (node: string): Error =>
  Object.assign(new Error(`the certificate is not that of ${node}`), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });

interface Client extends HttpClient {
  readonly material: TlsMaterial;
}

export class PeerBook {
  readonly #options: PeerBookOptions;
  /** By scheduler, then by source. */
  readonly #offers = new Map<string, ReadonlyMap<string, readonly PeerOffer[]>>();
  readonly #standings = new Map<string, PeerStanding>();
  readonly #clients = new Map<string, Client>();
  /** Never used: addresses are https, and what they redirect to is refused before it is dialled. */
  readonly #noHttp = new http.Agent();

  constructor(options: PeerBookOptions) {
    this.#options = options;
  }

  /** What a scheduler says replaces what it said before. What is no name, no address or no ticket is passed over. */
  set(scheduler: string, { models }: ModelPeers__Output): void {
    const nowMs = performance.now();
    const bySource = new Map<string, readonly PeerOffer[]>();
    for (const { source, peers } of models.slice(0, MAX_SOURCES)) {
      const sound = peers
        .slice(0, MAX_PEERS)
        .filter(
          ({ node, url, ticket }) =>
            NODE_NAME.test(node) &&
            node !== this.#options.nodeName &&
            isHttpsOrigin(url) &&
            ticket !== '' &&
            ticket.length <= MAX_TICKET_BYTES,
        )
        .map(({ node, url, resolved, ticket, validMs }) => ({ node, url, resolved, ticket, untilMs: nowMs + validMs }));
      if (sound.length > 0) bySource.set(source, sound);
    }
    this.#offers.set(scheduler, bySource);
  }

  /** @param source as agents and schedulers name it; @param resolved the state of it that is fetched */
  of(source: string, resolved: string): ModelPeersOf {
    return {
      take: () => {
        const offers = [...this.#offers.values()].flatMap((bySource) => bySource.get(source) ?? []);
        const offer = choosePeer(offers, (node) => this.#standingOf(node), resolved, performance.now());
        return offer && this.#turn(offer);
      },
      wrong: (nodes, failure) => {
        for (const node of nodes) this.#judge(node, failure);
        return { ...failure, message: `${failure.message} They came from ${nodes.join(', ')}; the source is asked.` };
      },
    };
  }

  #standingOf(node: string): PeerStanding {
    return this.#standings.get(node) ?? NEW_PEER;
  }

  /** The one that was heard of longest ago goes when there are too many. */
  #stand(node: string, standing: PeerStanding): void {
    this.#standings.delete(node);
    this.#standings.set(node, standing);
    if (this.#standings.size <= MAX_STANDINGS) return;
    const [oldest] = this.#standings.keys();
    if (oldest !== undefined) this.#standings.delete(oldest);
  }

  #judge(node: string, { kind, retryAfterMs }: Failure): void {
    this.#stand(node, afterFailure(this.#standingOf(node), kind, performance.now(), retryAfterMs));
  }

  #count(node: string, by: number): void {
    const standing = this.#standingOf(node);
    this.#stand(node, { ...standing, active: Math.max(0, standing.active + by) });
  }

  #turn({ node, url: base, ticket }: PeerOffer): PeerTurn {
    this.#count(node, 1);
    const { origin } = new URL(base);
    return {
      node,
      client: this.#clientOf(node),
      authorize(url) {
        // A node that sends elsewhere is not to be followed, least of all with the ticket.
        if (url.origin !== origin) return Promise.reject(fetchFailure('bad_listing', `${node} redirects.`));
        return Promise.resolve({ authorization: `Bearer ${ticket}` });
      },
      url: (file) => new URL(`${MODEL_FILES_PATH}${file.split('/').map(encodeURIComponent).join('/')}`, origin),
      headers: (entry) => ({ 'if-match': `"${sumName(entry)}"` }),
      came: () => {
        this.#count(node, -1);
        this.#stand(node, afterSuccess(this.#standingOf(node)));
      },
      failed: (failure) => {
        this.#count(node, -1);
        this.#judge(node, failure);
        return { ...failure, message: `Node ${node} did not give its files (${failure.kind}); another is asked.` };
      },
      left: () => this.#count(node, -1),
    };
  }

  /** One for each node: a connection that proved one name is never used for another. */
  #clientOf(node: string): Client {
    const material = this.#options.tls();
    const known = this.#clients.get(node);
    if (known?.material === material) return known;
    known?.agents.https.destroy();
    const { times, connections } = this.#options;
    const secure = new https.Agent({
      keepAlive: true,
      maxSockets: connections,
      maxFreeSockets: connections,
      ca: material.caPem,
      cert: material.certPem,
      key: material.keyPem,
      minVersion: 'TLSv1.2',
      // The certificate of an agent names its node; the address is whatever its operator gave.
      checkServerIdentity: (_host, { subject }) => (subject.CN === node ? undefined : anotherName(node)),
    });
    const client: Client = { times, agents: { http: this.#noHttp, https: secure }, material };
    this.#clients.set(node, client);
    if (this.#clients.size > MAX_CLIENTS) this.#forget();
    return client;
  }

  #forget(): void {
    const [oldest] = this.#clients.keys();
    if (oldest === undefined) return;
    this.#clients.get(oldest)?.agents.https.destroy();
    this.#clients.delete(oldest);
  }

  close(): void {
    for (const { agents } of this.#clients.values()) agents.https.destroy();
    this.#clients.clear();
  }
}
