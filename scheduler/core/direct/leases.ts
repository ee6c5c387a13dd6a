/**
 * The places that are held for requests which do not come through this scheduler. A client gets a ticket for an engine
 * and calls the agent itself; what the scheduler knows of it is what the agent says: that the ticket was taken, that the
 * first token left, that the request still runs, that it ended. A lease of which nothing is heard in time is over, so a
 * client that never calls, an agent that dies and a report that is lost leak nothing; and after a restart of this
 * scheduler there is nothing to leak, because leases live nowhere else.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, ERRORS, type ErrorCode } from '../../../lib/errors.ts';
import { type EngineId, type NodeId, randomToken } from '../../../lib/ids.ts';
import { ENDPOINT_PATHS } from '../../../lib/openai.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { DirectEndpoint, TicketClaims } from '../../../lib/ticket.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { DirectLease__Output } from '../../../proto/gen/fleet/v1/DirectLease.ts';
import type { DirectListener__Output } from '../../../proto/gen/fleet/v1/DirectListener.ts';
import type { TicketIssuer } from '../../../proto/gen/fleet/v1/TicketIssuer.ts';
import type { AdmittedRequest, DirectPlacement, DirectRouter, SessionHandle, TicketEvent } from '../../ports.ts';
import type { Lease } from '../routing/reservations.ts';

/** How a direct request ended, as far as this scheduler was told. */
export interface DirectEnd {
  readonly outcome: 'ok' | ErrorCode;
  readonly usage: LaneUsage | undefined;
  /** Monotonic milliseconds; absent: none was reported. */
  readonly firstTokenAtMs: number | undefined;
}

/** A place that was picked and reserved for a direct request. */
export interface RoutedPlace {
  readonly node: NodeId;
  /** Name of the engine on its node. */
  readonly name: string;
  readonly lease: Lease;
  /** The first token has left: the prompt is read. */
  firstToken(): void;
  /** Called once; gives the place back. */
  ended(end: DirectEnd): void;
}

export interface DirectOptions {
  /** How long a ticket opens. */
  readonly ticketTtlMs: number;
  /** How far the clocks of this host and of agents may be apart. */
  readonly skewMs: number;
  /** A running request of which nothing is heard for this long is lost. */
  readonly leaseMs: number;
  readonly maxLeases: number;
  readonly requestTimeoutMs: number;
}

export interface DirectDeps {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly options: DirectOptions;
  /** What agents are told: the keys in use, newest first, and the bounds on bodies. */
  readonly issuer: () => TicketIssuer;
  /**
   * Picks and reserves among the engines of the nodes that `callable` lets through.
   * @throws CodedError
   */
  readonly place: (request: AdmittedRequest, callable: (node: NodeId) => boolean) => RoutedPlace;
  readonly count: (event: TicketEvent, held: number) => void;
}

/** Time for the agent's word that a ticket was taken to get here. */
const REPORT_GRACE_MS = 5000;
const LEASE_CHARACTERS = 24;
const MAX_URL_CHARACTERS = 2048;

interface Listener {
  readonly session: SessionHandle;
  readonly url: string;
  readonly life: string;
  readonly keyIds: ReadonlySet<string>;
}

interface Held {
  readonly id: string;
  readonly listener: string;
  readonly place: RoutedPlace;
  begun: boolean;
  firstTokenAtMs: number | undefined;
  stopTimer: () => void;
}

export class DirectLeases implements DirectRouter {
  readonly #deps: DirectDeps;
  readonly #listeners = new Map<NodeId, Listener>();
  readonly #held = new Map<string, Held>();

  constructor(deps: DirectDeps) {
    this.#deps = deps;
  }

  /** Tickets whose places are held now. */
  get size(): number {
    return this.#held.size;
  }

  open(request: AdmittedRequest, bodySha256?: string): DirectPlacement {
    const { options, place: pick, random, issuer } = this.#deps;
    if (this.#held.size >= options.maxLeases)
      throw new CodedError('overloaded', 'As many tickets are out as may be.', { retryAfterMs: 1000 });
    const { issuer: iss, keys = [] } = issuer();
    const keyFor = (node: NodeId): string | undefined => {
      const known = this.#listeners.get(node)?.keyIds;
      return keys.find(({ keyId }) => known?.has(keyId ?? ''))?.keyId;
    };
    const place = pick(request, (node) => keyFor(node) !== undefined);
    const listener = this.#listeners.get(place.node);
    const keyId = keyFor(place.node);
    if (listener === undefined || keyId === undefined) {
      place.ended({ outcome: 'direct_unavailable', usage: undefined, firstTokenAtMs: undefined });
      throw new CodedError('direct_unavailable', `The agent of ${place.node} takes no direct calls now.`);
    }
    const held: Held = {
      id: `tkt_${randomToken(random, LEASE_CHARACTERS)}`,
      listener: listener.life,
      place,
      begun: false,
      firstTokenAtMs: undefined,
      stopTimer: () => undefined,
    };
    this.#held.set(held.id, held);
    this.#wait(held, options.ticketTtlMs + options.skewMs + REPORT_GRACE_MS);
    this.#count('issued');
    return {
      url: `${listener.url}${ENDPOINT_PATHS[request.endpoint]}`,
      engine: place.lease.engine,
      keyId,
      claims: this.#claims(held, request, { iss: iss ?? '', bodySha256 }),
      release: () => this.#end(held, 'unused', { outcome: 'internal', usage: undefined }),
    };
  }

  #claims(
    { id, listener, place }: Held,
    request: AdmittedRequest,
    { iss, bodySha256 }: { iss: string; bodySha256: string | undefined },
  ): TicketClaims {
    const { clock, options } = this.#deps;
    const nowMs = clock.wallMs();
    const leftMs = (request.deadlineAtMs ?? Infinity) - clock.monotonicMs();
    return {
      iss,
      aud: place.node,
      jti: id,
      iat: Math.floor(nowMs / 1000),
      exp: Math.ceil((nowMs + options.ticketTtlMs) / 1000),
      lis: listener,
      eng: place.name,
      inc: place.lease.incarnation,
      mdl: request.model,
      end: request.endpoint as DirectEndpoint,
      ten: request.tenant,
      rid: request.id,
      lim: Math.max(1, Math.ceil(Math.min(options.requestTimeoutMs, leftMs))),
      ...(bodySha256 === undefined ? {} : { bsh: bodySha256 }),
    };
  }

  /** An agent says where its node can be called; a listener of another life has forgotten the tickets of the last one. */
  onListener(session: SessionHandle, { url, life, keyIds }: DirectListener__Output): void {
    const node = session.nodeName;
    const before = this.#listeners.get(node);
    if (before !== undefined && before.life !== life) this.#endAll((held) => held.listener === before.life);
    if (!isBaseUrl(url) || life === '') {
      this.#listeners.delete(node);
      return;
    }
    this.#listeners.set(node, { session, url, life, keyIds: new Set(keyIds) });
    // It answers by saying again which keys it knows; only then are tickets made for it.
    if (before?.session !== session || before.life !== life) session.sendTicketIssuer?.(this.#deps.issuer());
  }

  /** The keys have changed: every agent is told. */
  keysChanged(): void {
    for (const { session } of this.#listeners.values()) session.sendTicketIssuer?.(this.#deps.issuer());
  }

  /** An agent speaks for the tickets of its own node only. */
  onUse(node: NodeId, leases: readonly DirectLease__Output[]): void {
    for (const told of leases) {
      const held = this.#held.get(told.lease);
      if (held === undefined || held.place.node !== node) this.#count('unknown');
      else this.#take(held, told);
    }
  }

  #take(held: Held, told: DirectLease__Output): void {
    if (told.phase === 'DIRECT_PHASE_UNSPECIFIED') return;
    if (!held.begun) {
      held.begun = true;
      this.#count('begun');
    }
    if (told.phase === 'DIRECT_PHASE_ENDED') {
      this.#end(held, 'ended', { outcome: codeOf(told.code), usage: usageOf(told) });
      return;
    }
    if (told.phase === 'DIRECT_PHASE_FIRST_TOKEN' && held.firstTokenAtMs === undefined) {
      held.firstTokenAtMs = this.#deps.clock.monotonicMs();
      held.place.firstToken();
    }
    held.stopTimer();
    this.#wait(held, this.#deps.options.leaseMs);
  }

  /** A life of an engine is over. */
  engineEnded(engine: EngineId, incarnation: number): void {
    this.#endAll(({ place: { lease } }) => lease.engine === engine && lease.incarnation === incarnation);
  }

  /** Another life of the node's agent has come: the requests of the last one are gone with their sockets. */
  nodeRestarted(node: NodeId): void {
    this.#listeners.delete(node);
    this.#endAll(({ place }) => place.node === node);
  }

  #endAll(which: (held: Held) => boolean): void {
    for (const held of [...this.#held.values()])
      if (which(held)) this.#end(held, 'lost', { outcome: 'engine_died', usage: undefined });
  }

  #wait(held: Held, forMs: number): void {
    held.stopTimer = this.#deps.clock.after(forMs, () => {
      if (held.begun) this.#end(held, 'lost', { outcome: 'stream_lost', usage: undefined });
      else this.#end(held, 'unused', { outcome: 'cancelled', usage: undefined });
    });
  }

  #end(held: Held, event: TicketEvent, end: Omit<DirectEnd, 'firstTokenAtMs'>): void {
    if (!this.#held.delete(held.id)) return;
    held.stopTimer();
    held.place.ended({ ...end, firstTokenAtMs: held.firstTokenAtMs });
    this.#count(event);
  }

  #count(event: TicketEvent): void {
    this.#deps.count(event, this.#held.size);
  }
}

/** What an agent may say of itself: a scheme, a host and a port, and nothing a client could be led astray by. */
function isBaseUrl(url: string): boolean {
  return url.length <= MAX_URL_CHARACTERS && /^https?:\/\/[A-Za-z0-9.:[\]_-]+$/.test(url);
}

function codeOf(code: string): 'ok' | ErrorCode {
  if (code === '') return 'ok';
  return Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'engine_failed';
}

function usageOf({ promptTokens, completionTokens, cachedPromptTokens }: DirectLease__Output): LaneUsage | undefined {
  if (promptTokens === undefined && completionTokens === undefined) return undefined;
  return {
    ...(promptTokens === undefined ? {} : { promptTokens }),
    ...(completionTokens === undefined ? {} : { completionTokens }),
    ...(cachedPromptTokens === undefined ? {} : { cachedPromptTokens }),
  };
}
