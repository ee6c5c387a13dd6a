/**
 * What the parts of a scheduler know of each other. The doors (HTTP, WebSocket, gRPC) know an Authenticator, a Generator
 * and a FleetView; the agents' door knows a FleetSink; nothing here has code.
 */
import type { CodedError, ErrorCode } from '../lib/errors.ts';
import type { EngineId, KeyId, NodeId, RequestId, TenantId } from '../lib/ids.ts';
import type { Endpoint } from '../lib/openai.ts';
import type { TicketClaims } from '../lib/ticket.ts';
import type { DetachedRequest, LaneUsage, SubmitMeta } from '../proto/codec.ts';
import type { Command, Command__Output } from '../proto/gen/fleet/v1/Command.ts';
import type { CommandOutput__Output } from '../proto/gen/fleet/v1/CommandOutput.ts';
import type { CommandResult__Output } from '../proto/gen/fleet/v1/CommandResult.ts';
import type { DesiredState } from '../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineEvent__Output } from '../proto/gen/fleet/v1/EngineEvent.ts';
import type { DirectLease__Output } from '../proto/gen/fleet/v1/DirectLease.ts';
import type { DirectListener__Output } from '../proto/gen/fleet/v1/DirectListener.ts';
import type { GpuEvent__Output } from '../proto/gen/fleet/v1/GpuEvent.ts';
import type { Hello__Output } from '../proto/gen/fleet/v1/Hello.ts';
import type { KvEvents__Output } from '../proto/gen/fleet/v1/KvEvents.ts';
import type { ModelListener__Output } from '../proto/gen/fleet/v1/ModelListener.ts';
import type { ModelPeers } from '../proto/gen/fleet/v1/ModelPeers.ts';
import type { NodeEvent__Output } from '../proto/gen/fleet/v1/NodeEvent.ts';
import type { SpecRejection__Output } from '../proto/gen/fleet/v1/SpecRejection.ts';
import type { Telemetry__Output } from '../proto/gen/fleet/v1/Telemetry.ts';
import type { ChangedBy } from './core/access/key_events.ts';
import type { QueuePlace } from './core/queue/contract.ts';
import type { TicketIssuer } from '../proto/gen/fleet/v1/TicketIssuer.ts';

// ---- Who comes in ----------------------------------------------------------------------------------------------

export type Role = 'user' | 'operator' | 'admin' | 'gateway';

/** Who a caller is, the same on HTTP, WebSocket and gRPC. */
export interface Identity {
  readonly tenant: TenantId;
  /** The JWT's subject or the key's id: for logs and audit, never shown to other tenants. */
  readonly subject: string;
  readonly roles: ReadonlySet<Role>;
  /** Share under contention, 1 = normal. */
  readonly weight: number;
  readonly keyId?: KeyId;
}

/** The one gate behind every door. */
export interface Authenticator {
  /**
   * @param authorization the value of the `authorization` header or metadata entry, or undefined when none was sent
   * @param peer remote address, for the brake on repeated failures; never logged with the credential
   * @throws CodedError unauthenticated, too_many_failures
   */
  authenticate(authorization: string | undefined, peer: string): Promise<Identity>;
}

export interface ApiKeyRecord {
  readonly id: KeyId;
  readonly name: string;
  readonly tenant: TenantId;
  readonly roles: readonly Role[];
  readonly weight: number;
  /** SHA-256 of the secret part, hex. */
  readonly secretSha256: string;
  readonly createdAtMs: number;
  readonly expiresAtMs?: number;
  readonly revokedAtMs?: number;
}

/** Where API keys live. Writes are durable when the promise resolves; reads never touch the disk. */
export interface KeyStore {
  find(id: KeyId): ApiKeyRecord | undefined;
  list(): readonly ApiKeyRecord[];
  /** @param by who does it and why, for the log @throws CodedError already_exists */
  add(record: ApiKeyRecord, by?: ChangedBy): Promise<void>;
  /** @throws CodedError not_found */
  revoke(id: KeyId, atMs: number, by?: ChangedBy): Promise<ApiKeyRecord>;
}

// ---- The way of a request --------------------------------------------------------------------------------------

export type { Endpoint };
/** `direct`: a client that calls an agent itself, with a ticket of Route. */
export type Door = 'http' | 'ws' | 'grpc' | 'grpc_many' | 'direct';

/** A request after the gate and after its body was read once; `body` is what the engine gets. */
export interface AdmittedRequest {
  readonly id: RequestId;
  readonly identity: Identity;
  /** On whose behalf; differs from identity.tenant only for role `gateway`. */
  readonly tenant: TenantId;
  readonly door: Door;
  readonly endpoint: Endpoint;
  readonly model: string;
  readonly stream: boolean;
  /** The client's bytes with spliced fields (usage and token ids asked for). */
  readonly body: Uint8Array;
  readonly wantUsage: boolean;
  readonly wantTokenIds: boolean;
  /** Smaller first; 0 unless role `gateway` set it. */
  readonly priority: number;
  /** Monotonic milliseconds; absent: no deadline. */
  readonly deadlineAtMs?: number;
  readonly traceparent?: string;
  /** Sent with an idempotency key, from which `id` was made. */
  readonly repeat?: RepeatKey;
  /** The body has stop strings: the engine's text may lag behind its token ids. */
  readonly hasStops?: true;
}

/** What makes two requests with one idempotency key the same. */
export interface RepeatKey {
  /** Hash of tenant and subject. */
  readonly identity: string;
  /** Hash of endpoint and body. */
  readonly body: string;
  /** Events of the answer that the client has had already. */
  readonly after: number;
}

/**
 * Where an answer goes. Calls come in this order: onHead, then onTokens (stream) or onBody (plain) any number of times,
 * then exactly one of onDone and onError. onError may come first. Nothing comes after cancel(). Byte arguments are
 * views that are valid only during the call.
 */
export interface GenerationSink {
  /**
   * The engine accepted and has begun: an HTTP door may commit its 200.
   * @param resumedAt for the relay: after how many tokens a continuation begins; a door has no use for it
   */
  onHead(resumedAt?: number): void;
  /**
   * @param sse whole SSE events as the client is to get them (`data: {...}\n\n`, one or more), without [DONE]
   * @param idBytes the token ids, 4 bytes each little endian; empty where the engine does not tell them
   * @param index index of the first of these tokens
   * @param finished for the relay: the finish reason is among these events
   */
  onTokens(sse: Buffer, idBytes: Buffer, index: number, finished?: boolean): void;
  onBody(bytes: Buffer, last: boolean): void;
  /**
   * The answer, no stream, begins anew on another engine: what came of its body is to be forgotten.
   * @returns false when some of it has left already; absent: the same
   */
  onRestart?(): boolean;
  onDone(usage: LaneUsage | undefined): void;
  onError(error: CodedError): void;
  /**
   * The request waits for an engine, and its client may be told; may come any number of times before onHead.
   * @returns whether the answer has begun by it, so that an error can have no status of its own any more
   */
  onQueued?(place: QueuePlace): boolean;
  /** The answer comes in another way than it should: a name of core/providers/modes.ts, before onHead; the last counts. */
  onDegraded?(mode: string): void;
}

/** A running request. */
export interface Generation {
  readonly id: RequestId;
  /** The client has taken `bytes` more: the agent may send as many again. */
  grant(bytes: number): void;
  /** Idempotent; the engine is told at once, in every phase. */
  cancel(reason: string): void;
}

/** Picks an engine for a request and relays its answer. */
export interface Generator {
  /**
   * @param creditBytes how much may be on its way to this client before grant() is called
   * @throws CodedError model_not_found, no_engine, overloaded, draining, already_exists: nothing was started
   */
  start(request: AdmittedRequest, sink: GenerationSink, creditBytes: number): Generation;
  /** Cancels by id what runs for this tenant; false when nothing does. */
  cancel(id: RequestId, tenant: TenantId): boolean;
}

// ---- Stepping aside ----------------------------------------------------------------------------------------------

/** A place on an engine for a request whose client calls the agent itself. */
export interface DirectPlacement {
  /** Where the client sends its body. */
  readonly url: string;
  readonly engine: EngineId;
  /** The key that the agent knows to be ours, and what is to be signed by it. */
  readonly keyId: string;
  readonly claims: TicketClaims;
  /** Gives the place back because no ticket was given out. Idempotent. */
  release(): void;
}

/** Picks an engine for a request that does not come through this scheduler. */
export interface DirectRouter {
  /**
   * The place is held by a lease: for as long as the ticket is good, then for as long as the agent says that it is used.
   * @param bodySha256 of the only body that the ticket is to be for, base64url; absent: any body for the model
   * @throws CodedError direct_unavailable, and as Generator.start
   */
  open(request: AdmittedRequest, bodySha256?: string): DirectPlacement;
}

/** Signs tickets. */
export interface TicketSigner {
  /** @throws Error when the key has been retired meanwhile */
  sign(keyId: string, claims: TicketClaims): Promise<string>;
}

/** What became of a ticket; `unknown`: an agent spoke of one that is not held (any more). */
export type TicketEvent = 'issued' | 'begun' | 'ended' | 'unused' | 'lost' | 'unknown';

// ---- What is known of the fleet --------------------------------------------------------------------------------

export interface ModelView {
  readonly id: string;
  readonly createdS: number;
  readonly ownedBy: string;
  readonly contextTokens?: number;
  readonly capabilities: readonly string[];
  readonly simulated: boolean;
  readonly readyEngines: number;
  readonly engines: number;
  readonly runningRequests: number;
}

/** Read-only questions that doors ask; `tenant` filters what it may not see. */
export interface FleetView {
  models(tenant: TenantId): readonly ModelView[];
  /** False while draining, or while nothing can be served; the reason is for operators. */
  ready(): { readonly ok: boolean; readonly reason: string };
}

// ---- The agents' door ------------------------------------------------------------------------------------------

/** The scheduler's end of one lane. */
export interface LaneHandle {
  readonly nodeName: NodeId;
  readonly worker: number;
  /** Requests that this lane carries now. */
  readonly load: number;
  /** Those of them that are for the engine of this name. */
  loadOf(engine: string): number;
  /**
   * Sends a request to an engine of the node.
   * @returns the running request; its sink gets onError(stream_lost) when the lane is cut
   * @throws CodedError stream_lost when the lane is closed, overloaded when too much waits on it; nothing was sent
   */
  submit(order: LaneOrder, sink: GenerationSink): LaneRequest;
  /**
   * Goes on with a request that ran on a lost lane of the same worker; its sink gets onHead() again, what it lacks, and
   * the rest; or onError(). @throws CodedError as submit
   */
  attach?(order: AttachOrder, sink: GenerationSink): LaneRequest;
  /** Nothing comes or goes any more. */
  readonly closed?: boolean;
  /** Ends the lane; each of its requests gets onError(error) first. Idempotent. */
  close(error: CodedError): void;
}

export interface AttachOrder {
  readonly id: RequestId;
  readonly attempt: number;
  readonly incarnation: number;
  readonly creditBytes: number;
  /** Tokens of the answer that are here. */
  readonly index: number;
  /** Bytes of this attempt's answer that are here. */
  readonly hadBytes: number;
}

export interface LaneOrder {
  readonly meta: SubmitMeta;
  readonly body: Uint8Array;
  readonly attempt: number;
  readonly incarnation: number;
  readonly creditBytes: number;
  /** Resume after these tokens of an earlier attempt; empty for a new request. */
  readonly resumeIds: Uint32Array;
}

export interface LaneRequest {
  /** The lane that it is on. */
  readonly lane?: LaneHandle;
  grant(bytes: number): void;
  cancel(): void;
}

/** What the agents' door tells the run loop, in the order in which it came from one agent. */
export interface FleetSink {
  /** @throws CodedError protocol_mismatch, permission_denied, already_exists: the session is refused */
  onHello(session: SessionHandle, hello: Hello__Output): void;
  /** What a node is to run has changed, by no word of its agent: it is told, if it is here. */
  onOrdersChanged?(node: NodeId): void;
  onTelemetry(session: SessionHandle, telemetry: Telemetry__Output): void;
  onEngineEvent(session: SessionHandle, event: EngineEvent__Output): void;
  onDesiredStateAck(session: SessionHandle, generation: number, rejections: readonly SpecRejection__Output[]): void;
  onGpuEvent(session: SessionHandle, event: GpuEvent__Output): void;
  onNodeEvent(session: SessionHandle, event: NodeEvent__Output): void;
  /** Advice for routing; a sink without an index passes it over. */
  onKvEvents?(session: SessionHandle, events: KvEvents__Output): void;
  onCommandOutput(session: SessionHandle, output: CommandOutput__Output): void;
  onCommandResult(session: SessionHandle, result: CommandResult__Output): void;
  /** Where clients may call the node themselves, and what became of their tickets. */
  onDirectListener?(session: SessionHandle, listener: DirectListener__Output): void;
  onDirectUse?(session: SessionHandle, leases: readonly DirectLease__Output[]): void;
  /** Where other nodes may take files of models from this one. */
  onModelListener?(session: SessionHandle, listener: ModelListener__Output): void;
  onGoodbye(session: SessionHandle, reason: string): void;
  /** The stream ended, cleanly or not; called once, after onHello. */
  onSessionLost(session: SessionHandle): void;
  onLaneOpen(sessionId: string, lane: LaneHandle): void;
  onLaneLost(sessionId: string, lane: LaneHandle): void;
  /** Requests that run on the worker of this lane without a scheduler. */
  onDetached?(lane: LaneHandle, list: readonly DetachedRequest[]): void;
}

/** The scheduler's end of one agent's control session. */
export interface SessionHandle {
  readonly nodeName: NodeId;
  readonly sessionId: string;
  sendDesiredState(state: DesiredState): void;
  sendCommand(command: Command): void;
  sendTicketIssuer?(issuer: TicketIssuer): void;
  /** Which other nodes have the models that this one fetches. */
  sendModelPeers?(peers: ModelPeers): void;
  /** Ends the stream with a coded reason. */
  close(error: CodedError): void;
}

// ---- Orders of operators ---------------------------------------------------------------------------------------

/** A person's order, checked for its shape. */
export interface CommandOrder {
  /** "node/engine", an engine's name where it is unique, or a node's name, as the verb asks. */
  readonly target: string;
  readonly command: Command__Output;
  /** Who gives it: for the agent's journal and the log. */
  readonly actor: string;
}

/** Where the answers to one order go; exactly one of onResult and onError comes last. */
export interface CommandReader {
  onOutput(output: CommandOutput__Output): void;
  onResult(result: CommandResult__Output): void;
  /** The order has no result and gets none: the agent was lost, or took too long. */
  onError(error: CodedError): void;
}

/** An order that an agent works on. */
export interface RunningCommand {
  /** The reader has taken `bytes` more of the output. */
  grant(bytes: number): void;
  /** Nobody waits for it any more; the agent is told. Idempotent. */
  cancel(): void;
}

/** Gives orders to agents. */
export interface Commander {
  /** @throws CodedError missing_field, invalid_value, not_found, node_unreachable, overloaded: nothing was sent */
  run(order: CommandOrder, reader: CommandReader): RunningCommand;
}

/** A request that was started and has ended; times are monotonic milliseconds. */
export interface EndedRequest {
  readonly request: AdmittedRequest;
  readonly model: string;
  readonly door: Door;
  readonly outcome: 'ok' | ErrorCode;
  readonly startedAtMs: number;
  readonly firstTokenAtMs: number | undefined;
  readonly endedAtMs: number;
  readonly usage: LaneUsage | undefined;
  /** As the engine's usage says, else as counted. */
  readonly outputTokens: number;
}

/** What the run loop counts. */
export interface Figures {
  started(door: Door): void;
  /** The request was not started. */
  refused(model: string, door: Door, code: ErrorCode): void;
  ended(end: EndedRequest): void;
  /** Something went past the rules and was passed over; `where` is one of a few words of the program. */
  dropped(where: string, count?: number): void;
  nodes(connected: number, lost: number): void;
  /** @param held tickets whose places are held now */
  ticket?(event: TicketEvent, held: number): void;
  /** A failed attempt was met, in the words of docs/FAILOVER.md. */
  recovered?(how: string, why: string): void;
  /** What became of a second attempt beside a slow first one. */
  hedged?(event: string): void;
  /** An engine was picked for a request, or none could be; the words are the router's. */
  routed(policy: string, mode: 'normal' | 'panic' | 'stale' | 'none'): void;
}

/** Name of an engine in the whole fleet. */
export type { EngineId };
