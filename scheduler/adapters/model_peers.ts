/**
 * Tells nodes that fetch a model which others have it, with tickets that this scheduler signs. It listens to the same
 * sessions as the run loop, looks at the fleet once a second, and says something only when it has changed or when the
 * tickets that it gave are half through their life. Addresses and tickets are in no log line.
 */
import type { Clock } from '../../lib/clock.ts';
import { isHttpsOrigin } from '../../lib/https_origin.ts';
import type { NodeId } from '../../lib/ids.ts';
import type { ModelTicketClaims } from '../../lib/model_ticket.ts';
import type { ModelListener__Output } from '../../proto/gen/fleet/v1/ModelListener.ts';
import type { ModelPeer } from '../../proto/gen/fleet/v1/ModelPeer.ts';
import type { TicketIssuer } from '../../proto/gen/fleet/v1/TicketIssuer.ts';
import { type NamedPeer, type PeersOfModel, planModelPeers } from '../core/fleet/model_peers.ts';
import type { FleetState } from '../core/fleet/state.ts';
import type { FleetSink, SessionHandle } from '../ports.ts';

/** The keys of tickets, newest first, and what they sign. */
export interface ModelTicketSigner {
  keys(): readonly { readonly keyId: string }[];
  /** Rejects when the key has been retired meanwhile. */
  signModel(keyId: string, claims: ModelTicketClaims): Promise<string>;
}

export interface ModelPeerDeps {
  readonly clock: Clock;
  readonly tickets: ModelTicketSigner;
  /** What agents are told of the keys, and the name of this scheduler. */
  readonly issuer: () => TicketIssuer;
  readonly log: { warn(fields: object, message: string): void };
  readonly periodMs?: number;
}

export interface ModelPeerDesk {
  /** Adds what this needs to hear to a sink, and gives it back. */
  listenOn(sink: FleetSink): FleetSink;
  /** Every agent with a door is told the keys that sign now. */
  keysChanged(): void;
  start(fleet: FleetState): void;
  stop(): void;
}

interface Door {
  readonly session: SessionHandle;
  readonly url: string;
  readonly keyIds: ReadonlySet<string>;
}

const PERIOD_MS = 1000;
/** Long enough for a node to begin its ranges; a new one comes well before. */
const TICKET_MS = 120_000;
const MAX_KEYS = 16;
/** Nodes that are told in one turn; the others have the next one. */
const MAX_TOLD_PER_TURN = 256;

class Desk implements ModelPeerDesk {
  readonly #deps: ModelPeerDeps;
  readonly #sessions = new Map<NodeId, SessionHandle>();
  readonly #doors = new Map<NodeId, Door>();
  /** What each session was told last. */
  readonly #told = new Map<NodeId, { readonly session: SessionHandle; readonly text: string; readonly atMs: number }>();
  #stopTimer: () => void = () => undefined;
  #stopped = false;

  constructor(deps: ModelPeerDeps) {
    this.#deps = deps;
  }

  listenOn(sink: FleetSink): FleetSink {
    const onHello = sink.onHello.bind(sink);
    const onSessionLost = sink.onSessionLost.bind(sink);
    sink.onHello = (session, hello) => {
      onHello(session, hello);
      this.#forget(session.nodeName);
      this.#sessions.set(session.nodeName, session);
    };
    sink.onSessionLost = (session) => {
      if (this.#sessions.get(session.nodeName) === session) this.#forget(session.nodeName);
      onSessionLost(session);
    };
    sink.onModelListener = (session, listener) => this.#onListener(session, listener);
    return sink;
  }

  #forget(node: NodeId): void {
    this.#sessions.delete(node);
    this.#doors.delete(node);
    this.#told.delete(node);
  }

  /** An older session must not speak for the door of a newer one. */
  #onListener(session: SessionHandle, { url, keyIds }: ModelListener__Output): void {
    const node = session.nodeName;
    if (this.#sessions.get(node) !== session) return;
    const before = this.#doors.get(node);
    if (!isHttpsOrigin(url)) {
      this.#doors.delete(node);
      return;
    }
    this.#doors.set(node, { session, url, keyIds: new Set(keyIds.slice(0, MAX_KEYS)) });
    // It answers by saying which keys it knows; only then are tickets made for it.
    if (before?.url !== url) session.sendTicketIssuer?.(this.#deps.issuer());
  }

  keysChanged(): void {
    for (const { session } of this.#doors.values()) session.sendTicketIssuer?.(this.#deps.issuer());
  }

  start(fleet: FleetState): void {
    this.#stopTimer = this.#deps.clock.after(this.#deps.periodMs ?? PERIOD_MS, () => void this.#turn(fleet));
  }

  stop(): void {
    this.#stopped = true;
    this.#stopTimer();
  }

  async #turn(fleet: FleetState): Promise<void> {
    try {
      await this.#tellAll(fleet);
    } catch (error) {
      // A key that was retired meanwhile, or a fault: nodes go to the source until the next turn.
      this.#deps.log.warn({ err: error }, 'nodes could not be told who has their models');
    }
    if (!this.#stopped) this.start(fleet);
  }

  /** The newest key that the node has said to know. */
  #keyFor(node: NodeId): string | undefined {
    const known = this.#doors.get(node)?.keyIds;
    return this.#deps.tickets.keys().find(({ keyId }) => known?.has(keyId))?.keyId;
  }

  async #tellAll(fleet: FleetState): Promise<void> {
    if (this.#doors.size === 0) return;
    const doorOf = (node: NodeId): string | undefined =>
      this.#keyFor(node) === undefined ? undefined : this.#doors.get(node)?.url;
    let left = MAX_TOLD_PER_TURN;
    for (const [node, models] of planModelPeers(fleet.nodes.values(), doorOf)) {
      const session = this.#sessions.get(node);
      const text = JSON.stringify(models);
      const last = this.#told.get(node);
      const nowMs = this.#deps.clock.monotonicMs();
      const isSame = last?.session === session && last?.text === text && nowMs - last.atMs < TICKET_MS / 2;
      if (session === undefined || isSame) continue;
      if (left-- === 0) return;
      await this.#tell(node, session, models);
      this.#told.set(node, { session, text, atMs: nowMs });
    }
  }

  async #tell(node: NodeId, session: SessionHandle, models: readonly PeersOfModel[]): Promise<void> {
    const told = [];
    for (const { source, peers } of models) {
      const signed = await Promise.all(peers.map((peer) => this.#signed(node, source, peer)));
      told.push({ source, peers: signed.filter((peer) => peer !== undefined) });
    }
    if (this.#sessions.get(node) === session) session.sendModelPeers?.({ models: told });
  }

  async #signed(fetching: NodeId, source: string, { node, url, resolved }: NamedPeer): Promise<ModelPeer | undefined> {
    const { tickets, clock, issuer } = this.#deps;
    const keyId = this.#keyFor(node);
    if (keyId === undefined) return undefined;
    const nowMs = clock.wallMs();
    const claims: ModelTicketClaims = {
      iss: issuer().issuer ?? '',
      aud: node,
      sub: fetching,
      iat: Math.floor(nowMs / 1000),
      exp: Math.ceil((nowMs + TICKET_MS) / 1000),
      src: source,
      res: resolved,
    };
    return { node, url, resolved, ticket: await tickets.signModel(keyId, claims), validMs: TICKET_MS };
  }
}

export const createModelPeerDesk = (deps: ModelPeerDeps): ModelPeerDesk => new Desk(deps);
