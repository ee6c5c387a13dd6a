/**
 * One lane: the long-lived gRPC stream between this thread and one scheduler. Frames of all its requests are collected
 * and leave together, once per turn of the event loop or, on a busy thread, after a short hold, because a message costs
 * more than the bytes in it. The lane reconnects by itself; what becomes of its requests meanwhile is its owner's to say.
 */
import { Client, credentials, type ClientDuplexStream, status } from '@grpc/grpc-js';
import { backoffDelayMs } from '../../lib/backoff.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import type { RandomSource } from '../../lib/rng.ts';
import { type Frame, FRAME, FrameBatch, LANE_PROTOCOL_VERSION, encodeJson, visitFrames } from '../../proto/codec.ts';
import { fleetService } from '../../proto/load.ts';
import { holdMs, stepHoldMs } from '../core/coalescing.ts';
import type { StepGather } from '../core/step_gather.ts';
import type { FrameFields } from './request_outlet.ts';
import type { RelaySettings } from './relay_messages.ts';
import type { ThreadPulse } from './thread_pulse.ts';

export interface LaneHooks {
  /** A frame of the scheduler; valid during the call only. */
  onFrame(lane: Lane, frame: Frame): void;
  onOpen(lane: Lane): void;
  /** The stream ended: nothing that was on it can be answered any more. */
  onLost(lane: Lane, reason: string): void;
  /** The lane can take frames again. */
  onUnblocked(lane: Lane): void;
  onSent(bytes: number): void;
  /** Requests run on without a lane: their clients wait for its return. */
  readonly awaited: boolean;
}

type LaneStream = ClientDuplexStream<Buffer, Buffer>;

/** A batch of this size leaves at once. */
const FLUSH_BYTES = 256 * 1024;
/** Bytes of orders that may be on their way to this end: some large prompts, without a wait for the window. */
const WINDOW_BYTES = 1024 * 1024;
const STABLE_MS = 10_000;
const CHANNEL_PAUSE_MS = 100;
/** Longest pause while requests wait for the lane. */
const AWAITED_CAP_MS = 500;

export class Lane {
  readonly scheduler: string;
  readonly #settings: RelaySettings;
  readonly #worker: number;
  readonly #hooks: LaneHooks;
  readonly #random: RandomSource;
  readonly #pulse: ThreadPulse;
  readonly #batch = new FrameBatch();
  readonly #tls: () => TlsMaterial;
  #client: Client | undefined;
  #clientTls: TlsMaterial | undefined;
  #stream: LaneStream | undefined;
  #reconnect: NodeJS.Timeout | undefined;
  #hold: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  /** What the hold that runs waits for. */
  #holdsFor: 'company' | 'step' | 'first_token' = 'company';
  /** Holds that ran to their end. */
  #epoch = 0;
  readonly #flush = (): void => this.flush();
  readonly #giveUp = (): void => this.#endHold();
  #failures = 0;
  #openedAtMs = 0;
  #lastFlushMs = 0;
  /** Bytes that the transport was given and has not taken. */
  #unsentBytes = 0;
  #stopped = false;
  blocked = false;

  constructor(
    scheduler: string,
    worker: number,
    settings: RelaySettings,
    /** `tls` is asked before each connection. */
    from: { readonly random: RandomSource; readonly pulse: ThreadPulse; readonly tls: () => TlsMaterial },
    hooks: LaneHooks,
  ) {
    this.scheduler = scheduler;
    this.#worker = worker;
    this.#settings = settings;
    this.#random = from.random;
    this.#pulse = from.pulse;
    this.#tls = from.tls;
    this.#hooks = hooks;
  }

  get open(): boolean {
    return this.#stream !== undefined;
  }

  /** Opens the stream; from then on the lane keeps itself open until stop(). */
  connect(): void {
    const { nodeName, sessionId } = this.#settings;
    const { path, requestSerialize, responseDeserialize } = fleetService.Lane;
    const stream = this.#clientNow().makeBidiStreamRequest(
      path,
      requestSerialize as unknown as (value: Buffer) => Buffer,
      responseDeserialize as unknown as (bytes: Buffer) => Buffer,
    ) as LaneStream;
    this.#stream = stream;
    this.#openedAtMs = performance.now();
    this.blocked = false;
    this.#unsentBytes = 0;
    stream.on('data', (frames: Buffer) => this.#onData(stream, frames));
    stream.on('drain', () => this.#onDrain(stream));
    // An error is always followed by the status, which is looked at instead.
    stream.on('error', (error: Error & { code?: number }) =>
      this.#lost(stream, `${status[error.code ?? 2] ?? error.code}: ${error.message}`),
    );
    stream.on('status', (end: { code: number; details: string }) =>
      this.#lost(stream, `${status[end.code] ?? end.code}: ${end.details}`),
    );
    const hello = { protocolVersion: LANE_PROTOCOL_VERSION, sessionId, nodeName, worker: this.#worker };
    const first = new FrameBatch();
    first.append({ kind: FRAME.HELLO, stream: 0 }, encodeJson(hello));
    stream.write(first.take());
    this.#hooks.onOpen(this);
  }

  /** The client of the certificates in use. Between streams nothing runs on the old one, so that it can be closed. */
  #clientNow(): Client {
    const tls = this.#tls();
    if (this.#client !== undefined && this.#clientTls === tls) return this.#client;
    this.#client?.close();
    this.#clientTls = tls;
    const { keepaliveMs, maxMessageBytes, reconnectCapMs } = this.#settings;
    const secure = credentials.createSsl(Buffer.from(tls.caPem), Buffer.from(tls.keyPem), Buffer.from(tls.certPem));
    this.#client = new Client(this.scheduler, secure, {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.keepalive_time_ms': keepaliveMs,
      'grpc.keepalive_timeout_ms': keepaliveMs,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.max_send_message_length': -1,
      'grpc.enable_retries': 0,
      'grpc-node.flow_control_window': WINDOW_BYTES,
      // The pauses are this lane's; the channel only may not add to them.
      'grpc.initial_reconnect_backoff_ms': Math.min(CHANNEL_PAUSE_MS, reconnectCapMs),
      'grpc.max_reconnect_backoff_ms': Math.min(CHANNEL_PAUSE_MS, reconnectCapMs),
    });
    return this.#client;
  }

  /** Adds a frame to what leaves next; nothing when the stream is gone. `fields` is not kept. */
  frame(kind: number, fields: FrameFields, payload: Uint8Array, ids: ArrayLike<number>, step?: StepGather): void {
    if (this.#stream === undefined) return;
    fields.kind = kind;
    this.#batch.append(fields, payload, ids);
    if (this.#batch.bytes >= FLUSH_BYTES) this.flush();
    else if (kind === FRAME.HEAD && this.#settings.laneHoldMs > 0) this.#holdHead();
    else this.#schedule(step);
  }

  /** A head leaves with what leaves next, which is its first token where that comes soon. */
  #holdHead(): void {
    if (this.#immediate !== undefined || this.#hold !== undefined) return;
    this.#holdsFor = 'first_token';
    this.#hold = setTimeout(this.#flush, this.#settings.laneHoldMs);
  }

  #schedule(step: StepGather | undefined): void {
    const urgent = step === undefined;
    const whole = urgent || step.arrive(this.#epoch);
    if (this.#immediate !== undefined) return;
    if (this.#hold !== undefined) {
      // A hold that runs is as long as it was to be; only what is urgent, or what it waited for, cuts it short.
      if (urgent || (whole && this.#holdsFor === 'step')) this.#immediate = setImmediate(this.#flush);
      if (urgent || this.#holdsFor !== 'first_token') return;
      // Tokens of other answers do not wait as long as a head does.
      clearTimeout(this.#hold);
      this.#hold = undefined;
    }
    const { laneHoldMs: maxHoldMs } = this.#settings;
    const busyMs = holdMs({
      urgent,
      maxHoldMs,
      utilization: this.#pulse.utilization,
      unsentBytes: this.#unsentBytes,
      sinceLastSendMs: performance.now() - this.#lastFlushMs,
    });
    this.#holdsFor = busyMs > 0 ? 'company' : 'step';
    const waitMs = busyMs > 0 || whole ? busyMs : stepHoldMs(maxHoldMs);
    if (waitMs > 0) this.#hold = setTimeout(this.#giveUp, waitMs);
    else this.#immediate = setImmediate(this.#flush);
  }

  /** The wait is over: what is still missing of a step begins another one. */
  #endHold(): void {
    this.#epoch += 1;
    this.flush();
  }

  /** Sends what was collected. */
  flush(): void {
    clearImmediate(this.#immediate);
    clearTimeout(this.#hold);
    this.#immediate = undefined;
    this.#hold = undefined;
    if (this.#stream === undefined || this.#batch.bytes === 0) return;
    const message = this.#batch.take();
    this.#lastFlushMs = performance.now();
    this.#hooks.onSent(message.length);
    const stream = this.#stream;
    this.#unsentBytes += message.length;
    const taken = (): void => {
      if (stream === this.#stream) this.#unsentBytes -= message.length;
    };
    if (!stream.write(message, taken) && !this.blocked) this.blocked = true;
  }

  #onDrain(stream: LaneStream): void {
    if (stream !== this.#stream || !this.blocked) return;
    this.blocked = false;
    this.#hooks.onUnblocked(this);
  }

  #onData(stream: LaneStream, frames: Buffer): void {
    if (stream !== this.#stream) return;
    try {
      visitFrames(frames, (frame) => this.#hooks.onFrame(this, frame));
    } catch (error) {
      stream.cancel();
      this.#lost(stream, `the scheduler broke the protocol: ${(error as Error).message}`);
    }
  }

  #lost(stream: LaneStream, reason: string): void {
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    this.blocked = false;
    clearImmediate(this.#immediate);
    clearTimeout(this.#hold);
    this.#immediate = undefined;
    this.#hold = undefined;
    if (this.#batch.bytes > 0) this.#batch.take();
    this.#hooks.onLost(this, reason);
    if (this.#stopped) return;
    const { reconnectBaseMs, reconnectCapMs } = this.#settings;
    this.#failures = performance.now() - this.#openedAtMs > STABLE_MS ? 0 : this.#failures + 1;
    const capMs = this.#hooks.awaited ? Math.min(AWAITED_CAP_MS, reconnectCapMs) : reconnectCapMs;
    const policy = { baseMs: reconnectBaseMs, capMs, minMs: Math.min(50, reconnectBaseMs) };
    const delayMs = backoffDelayMs(this.#failures, policy, this.#random);
    this.#reconnect = setTimeout(() => this.connect(), delayMs);
  }

  /** Sends what is left and ends the stream; the lane does not come back. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#reconnect);
    this.flush();
    const stream = this.#stream;
    const client = this.#client;
    if (stream === undefined) {
      client?.close();
      return;
    }
    // A scheduler that does not end its side is not waited for.
    const giveUp = setTimeout(() => stream.cancel(), 1000);
    stream.once('status', () => {
      clearTimeout(giveUp);
      client?.close();
    });
    stream.end();
  }
}
