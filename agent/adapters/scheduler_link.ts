/**
 * The control sessions: one to each scheduler of the list, each with its own channel, each reconnecting by itself with
 * backoff and jitter. A session begins with a hello that carries the whole picture, so that nothing that was said on a
 * lost session needs to be said again; within a session events wait in a bounded queue while the stream is full. A
 * scheduler that lets the queue fill takes nothing: its session ends, so that no event is missing from one that goes on,
 * and the next hello tells all. What happened to a GPU is more than its last state, so such events are kept until the scheduler has acknowledged them and
 * are said again on the next session. Outputs of commands never stand before an event.
 */
import { Client, credentials, type ClientDuplexStream, status } from '@grpc/grpc-js';
import { backoffDelayMs, type BackoffPolicy } from '../../lib/backoff.ts';
import { type BoundedQueue, createBoundedQueue } from '../../lib/bounded_queue.ts';
import { outputCost } from '../../lib/command_verbs.ts';
import type { Logger } from '../../lib/io/logger.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import type { RandomSource } from '../../lib/rng.ts';
import { LANE_PROTOCOL_VERSION } from '../../proto/codec.ts';
import type { AgentMessage } from '../../proto/gen/fleet/v1/AgentMessage.ts';
import type { Hello } from '../../proto/gen/fleet/v1/Hello.ts';
import type { SchedulerMessage__Output } from '../../proto/gen/fleet/v1/SchedulerMessage.ts';
import { fleetService } from '../../proto/load.ts';
import type { SchedulerLinks, SessionEvents } from '../ports.ts';

export interface SchedulerLinkOptions {
  readonly schedulers: readonly string[];
  /** Asked before each connection. */
  readonly tls: () => TlsMaterial;
  readonly keepaliveMs: number;
  readonly welcomeTimeoutMs: number;
  readonly backoff: BackoffPolicy;
  readonly random: RandomSource;
  readonly logger: Logger;
  /** Called with what a bound made the agent give up, and how much of it. */
  readonly onDropped: (count: number, what: Dropped) => void;
}

/** Messages that are not told of, or a whole session whose scheduler took none. */
export type Dropped = 'session_messages' | 'stuck_session';

type SessionStream = ClientDuplexStream<AgentMessage, SchedulerMessage__Output>;

const MAX_WAITING_EVENTS = 1024;
/** GPU events that no scheduler has acknowledged yet, per scheduler. */
const MAX_UNACKED_EVENTS = 1024;
/** Outputs and results of commands; credit keeps them far below it. */
const MAX_WAITING_ANSWERS = 65_536;
const MAX_WAITING_ANSWER_BYTES = 16 * 1024 * 1024;
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const STABLE_MS = 10_000;
/** A scheduler of another release is asked again seldom: it will not change by itself. */
const MISMATCH_PAUSE_MS = 30_000;

/** One session and its reconnects. */
class SchedulerLink {
  readonly address: string;
  readonly #options: SchedulerLinkOptions;
  readonly #events: SessionEvents;
  readonly #hello: () => Hello;
  #client: Client | undefined;
  #clientTls: TlsMaterial | undefined;
  #stream: SessionStream | undefined;
  #welcomed = false;
  #seq = 0;
  #failures = 0;
  #openedAtMs = 0;
  #blocked = false;
  #waiting: BoundedQueue<AgentMessage> = newQueue();
  #answers: BoundedQueue<AgentMessage> = newAnswerQueue();
  /** Oldest first; `seq` is absent while the event has not been sent on the present session. */
  readonly #unacked: { readonly body: AgentMessage; seq?: number }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(address: string, options: SchedulerLinkOptions, events: SessionEvents, hello: () => Hello) {
    this.address = address;
    this.#options = options;
    this.#events = events;
    this.#hello = hello;
  }

  connect(): void {
    const { path, requestSerialize, responseDeserialize } = fleetService.Session;
    const client = this.#clientNow();
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize) as SessionStream;
    this.#stream = stream;
    this.#welcomed = false;
    this.#blocked = false;
    this.#seq = 0;
    this.#openedAtMs = performance.now();
    // What waited is in the hello: the newest state of each engine is its whole truth.
    this.#waiting = newQueue();
    // The commands of a lost session are ended there; nobody waits for their answers on this one.
    this.#answers = newAnswerQueue();
    for (const each of this.#unacked) delete each.seq;
    stream.on('data', (message: SchedulerMessage__Output) => this.#onMessage(stream, message));
    stream.on('drain', () => this.#onDrain(stream));
    stream.on('error', (error: Error & { code?: number; details?: string }) => {
      this.#lost(stream, `${status[error.code ?? 2] ?? 'UNKNOWN'}: ${error.details ?? error.message}`, error.code);
    });
    stream.on('status', (end: { code: number; details: string }) =>
      this.#lost(stream, `${status[end.code]}: ${end.details}`, end.code),
    );
    this.#timer = setTimeout(() => this.#drop(stream, 'no welcome came in time'), this.#options.welcomeTimeoutMs);
    this.#write({ hello: this.#hello() });
  }

  /** The client of the certificates in use. Between streams nothing runs on the old one, so that it can be closed. */
  #clientNow(): Client {
    const { keepaliveMs, backoff } = this.#options;
    const tls = this.#options.tls();
    if (this.#client !== undefined && this.#clientTls === tls) return this.#client;
    this.#client?.close();
    this.#clientTls = tls;
    const secure = credentials.createSsl(Buffer.from(tls.caPem), Buffer.from(tls.keyPem), Buffer.from(tls.certPem));
    this.#client = new Client(this.address, secure, {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.keepalive_time_ms': keepaliveMs,
      'grpc.keepalive_timeout_ms': keepaliveMs,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.enable_retries': 0,
      'grpc.max_reconnect_backoff_ms': backoff.capMs,
    });
    return this.#client;
  }

  #onMessage(stream: SessionStream, message: SchedulerMessage__Output): void {
    if (stream !== this.#stream) return;
    if (message.welcome != null) {
      clearTimeout(this.#timer);
      const { protocolVersion, telemetryPeriodMs } = message.welcome;
      if (protocolVersion !== LANE_PROTOCOL_VERSION) {
        const reason = `protocol_mismatch: the scheduler speaks version ${protocolVersion}, this agent ${LANE_PROTOCOL_VERSION}`;
        this.#drop(stream, reason, MISMATCH_PAUSE_MS);
        return;
      }
      this.#welcomed = true;
      this.#flush();
      this.#events.onConnected(this.address, message.term, telemetryPeriodMs);
      return;
    }
    if (!this.#welcomed) {
      this.#drop(stream, 'the scheduler gave an order before its welcome');
      return;
    }
    if (message.desiredState != null) this.#events.onDesiredState(this.address, message.term, message.desiredState);
    else if (message.command != null) this.#events.onCommand(this.address, message.term, message.command);
    else if (message.ticketIssuer != null) this.#events.onTicketIssuer?.(this.address, message.ticketIssuer);
    else if (message.modelPeers != null) this.#events.onModelPeers?.(this.address, message.modelPeers);
    else if (message.eventAck != null) this.#onAck(message.eventAck.seq);
  }

  /** Messages are acknowledged in the order in which they were sent. */
  #onAck(seq: number): void {
    while (this.#unacked[0]?.seq !== undefined && this.#unacked[0].seq <= seq) this.#unacked.shift();
  }

  #drop(stream: SessionStream, reason: string, pauseMs?: number): void {
    stream.cancel();
    this.#lost(stream, reason, undefined, pauseMs);
  }

  #lost(stream: SessionStream, reason: string, code?: number, pauseMs?: number): void {
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    clearTimeout(this.#timer);
    this.#events.onDisconnected(this.address, reason);
    if (this.#stopped) return;
    const { backoff, random } = this.#options;
    this.#failures = performance.now() - this.#openedAtMs > STABLE_MS ? 0 : this.#failures + 1;
    const refused = code === status.FAILED_PRECONDITION || code === status.PERMISSION_DENIED;
    const delayMs = pauseMs ?? (refused ? backoff.capMs : backoffDelayMs(this.#failures, backoff, random));
    this.#timer = setTimeout(() => this.connect(), delayMs);
  }

  /** What happens between the hello and the welcome is in neither: it waits as well. */
  send(body: AgentMessage): void {
    if (this.#stream === undefined) return;
    if (this.#welcomed && !this.#blocked) {
      this.#write(body);
      return;
    }
    if (this.#waiting.push(body).length > 0) this.#giveUp(this.#stream);
  }

  /** What the hello said is no longer so: the session begins anew, at once. */
  greetAgain(reason: string): void {
    if (this.#stream !== undefined) this.#drop(this.#stream, reason, 0);
  }

  /** Ends a session that takes no events, with its connection: what fills it would stand before the next hello, too. */
  #giveUp(stream: SessionStream): void {
    this.#options.onDropped(1, 'stuck_session');
    this.#drop(stream, `the scheduler took none of ${MAX_WAITING_EVENTS} events`);
    this.#client?.close();
    this.#client = undefined;
  }

  /** What never waits, as telemetry: the next sample says more than one that is old when it leaves. */
  sendNow(body: AgentMessage): boolean {
    if (this.#stream === undefined || !this.#welcomed || this.#blocked) return false;
    this.#write(body);
    return true;
  }

  /** An event that is kept until it has been acknowledged, whether there is a session now or not. */
  sendKept(body: AgentMessage): void {
    if (this.#unacked.length >= MAX_UNACKED_EVENTS) {
      this.#unacked.shift();
      this.#options.onDropped(1, 'session_messages');
    }
    this.#unacked.push({ body });
    this.#flush();
  }

  /** An output or a result of a command of this session. */
  sendAnswer(body: AgentMessage, bytes: number): void {
    if (this.#stream === undefined || !this.#welcomed) return;
    const refused = this.#answers.push(body, bytes).length;
    if (refused > 0) this.#options.onDropped(refused, 'session_messages');
    this.#flush();
  }

  #write(body: AgentMessage): void {
    this.#seq += 1;
    if (this.#stream?.write({ ...body, seq: this.#seq }) === false) this.#blocked = true;
  }

  #onDrain(stream: SessionStream): void {
    if (stream !== this.#stream) return;
    this.#blocked = false;
    this.#flush();
  }

  /** Writes what waits, events first, for as long as the stream takes it. */
  #flush(): void {
    if (this.#stream === undefined || !this.#welcomed) return;
    while (!this.#blocked) {
      const kept = this.#unacked.find((each) => each.seq === undefined);
      const next = kept?.body ?? this.#waiting.shift() ?? this.#answers.shift();
      if (next === undefined) return;
      this.#write(next);
      if (kept !== undefined) kept.seq = this.#seq;
    }
  }

  async stop(reason: string): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    const stream = this.#stream;
    if (stream !== undefined) {
      await new Promise<void>((resolve) => {
        const giveUp = setTimeout(() => {
          stream.cancel();
          resolve();
        }, 1000);
        stream.once('status', () => {
          clearTimeout(giveUp);
          resolve();
        });
        this.#write({ goodbye: { reason } });
        stream.end();
      });
    }
    this.#client?.close();
  }
}

function newQueue(): BoundedQueue<AgentMessage> {
  return createBoundedQueue<AgentMessage>({
    maxCount: MAX_WAITING_EVENTS,
    maxWeight: MAX_WAITING_EVENTS,
    overflow: 'refuse',
  });
}

function newAnswerQueue(): BoundedQueue<AgentMessage> {
  return createBoundedQueue<AgentMessage>({
    maxCount: MAX_WAITING_ANSWERS,
    maxWeight: MAX_WAITING_ANSWER_BYTES,
    overflow: 'refuse',
  });
}

export function createSchedulerLinks(options: SchedulerLinkOptions): SchedulerLinks {
  let links: readonly SchedulerLink[] = [];
  const toAll = (body: AgentMessage): void => {
    for (const link of links) link.send(body);
  };
  const linkOf = (scheduler: string): SchedulerLink | undefined => links.find((link) => link.address === scheduler);
  return {
    start(events, hello) {
      links = options.schedulers.map((address) => new SchedulerLink(address, options, events, hello));
      for (const link of links) link.connect();
    },
    sendEngineEvent: (engineEvent) => toAll({ engineEvent }),
    sendGpuEvent(gpuEvent) {
      for (const link of links) link.sendKept({ gpuEvent });
    },
    sendNodeEvent: (nodeEvent) => toAll({ nodeEvent }),
    sendCommandOutput(scheduler, commandOutput) {
      const bytes = outputCost(commandOutput.data?.length ?? 0, commandOutput.journal?.length ?? 0);
      linkOf(scheduler)?.sendAnswer({ commandOutput }, bytes);
    },
    // A result weighs nothing, so that it is never the one that does not fit.
    sendCommandResult: (scheduler, commandResult) => linkOf(scheduler)?.sendAnswer({ commandResult }, 0),
    sendDirectListener: (scheduler, directListener) => linkOf(scheduler)?.send({ directListener }),
    sendDirectUse: (scheduler, directUse) => linkOf(scheduler)?.send({ directUse }),
    sendModelListener: (scheduler, modelListener) => linkOf(scheduler)?.send({ modelListener }),
    sendTelemetry: (scheduler, telemetry) => linkOf(scheduler)?.sendNow({ telemetry }) ?? false,
    sendKvEvents: (scheduler, kvEvents) => linkOf(scheduler)?.sendNow({ kvEvents }) ?? false,
    sendDesiredStateAck: (generation, rejections) =>
      toAll({ desiredStateAck: { generation, rejections: [...rejections] } }),
    greetAgain(reason) {
      for (const link of links) link.greetAgain(reason);
    },
    async stop(reason) {
      await Promise.all(links.map((link) => link.stop(reason)));
    },
  };
}
