/**
 * Follows the cache events of one life of one engine: subscribes, asks for what it missed, and keeps a mirror of the cache.
 * A connection that ends is opened again; what cannot be followed leaves the mirror poorer, never wrong for long.
 */
import { decodeMsgpack } from '../../../lib/msgpack.ts';
import { backoffCeilingMs } from '../../../lib/backoff.ts';
import type { Clock } from '../../../lib/clock.ts';
import { readBatch } from '../../core/kv_events/batch.ts';
import { type CacheMirror, createCacheMirror } from '../../core/kv_events/cache_mirror.ts';
import { type Batch, createSequencer, type SequenceStep, type Sequencer } from '../../core/kv_events/sequence.ts';
import { ZmtpClient } from './zmtp_client.ts';

/** What did not go as it should; each is counted. */
export type KvFault = 'gap' | 'repeated' | 'malformed' | 'disconnected' | 'skipped';

export interface KvFeedOptions {
  /** Unix sockets of the engine: its events, and where it is asked to send some again. */
  readonly eventsPath: string;
  readonly replayPath: string;
  readonly servedModel: string;
  readonly clock: Clock;
  readonly onFault: (fault: KvFault, count: number) => void;
}

const RECONNECT = { baseMs: 100, capMs: 10_000 } as const;
const REPLAY_TIMEOUT_MS = 5000;
/** vLLM keeps 10,000 steps unless it is told otherwise. */
const MAX_REPLAYED = 20_000;
const MAX_REPLAYED_BYTES = 64 * 1024 * 1024;
const END_OF_REPLAY = -1;

function seqOf(frame: Uint8Array | undefined): number | undefined {
  if (frame?.length !== 8) return undefined;
  const seq = Number(new DataView(frame.buffer, frame.byteOffset).getBigInt64(0));
  return Number.isSafeInteger(seq) && seq >= END_OF_REPLAY ? seq : undefined;
}

function seqFrame(seq: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(seq));
  return bytes;
}

export class KvFeed {
  readonly mirror: CacheMirror;
  readonly #options: KvFeedOptions;
  #order: Sequencer<Uint8Array> = createSequencer(0);
  #live: ZmtpClient | undefined;
  #replay: ZmtpClient | undefined;
  #stopTimer: (() => void) | undefined;
  #failures = 0;
  #connected = false;
  #stopped = false;

  constructor(options: KvFeedOptions) {
    this.#options = options;
    this.mirror = createCacheMirror(options.servedModel);
    this.#connect();
  }

  /** Batches arrive. */
  get connected(): boolean {
    return this.#connected;
  }

  stop(): void {
    this.#stopped = true;
    this.#stopTimer?.();
    this.#live?.close();
    this.#replay?.close();
  }

  #connect(): void {
    const { eventsPath, clock, onFault } = this.#options;
    this.#live = new ZmtpClient(eventsPath, 'SUB', {
      onReady: () => {
        this.#connected = true;
        this.#failures = 0;
        this.#order = createSequencer(this.#order.next);
        this.#askAgain(this.#order.next);
      },
      onMessage: (frames) => this.#onLive(frames),
      onEnd: () => {
        this.#replay?.close();
        if (this.#connected) onFault('disconnected', 1);
        this.#connected = false;
        if (this.#stopped) return;
        this.#failures += 1;
        this.#stopTimer = clock.after(backoffCeilingMs(this.#failures, RECONNECT), () => this.#connect());
      },
    });
  }

  #onLive(frames: readonly Uint8Array[]): void {
    const seq = seqOf(frames[1]);
    const payload = frames[2];
    if (seq === undefined || seq < 0 || payload === undefined || frames.length !== 3) {
      this.#malformed();
      return;
    }
    const repeated = this.#order.repeated;
    const step = this.#order.live({ seq, payload });
    if (this.#order.repeated > repeated) this.#options.onFault('repeated', this.#order.repeated - repeated);
    this.#follow(step);
  }

  #follow(step: SequenceStep<Uint8Array>): void {
    if (step.kind === 'wait') return;
    if (step.kind === 'replay') {
      this.#askAgain(step.from);
      return;
    }
    if (step.lost) {
      this.#options.onFault('gap', 1);
      this.mirror.doubt();
    }
    for (const batch of step.batches) this.#apply(batch);
  }

  #apply({ payload }: Batch<Uint8Array>): void {
    const decoded = decodeMsgpack(payload);
    const batch = decoded.ok ? readBatch(decoded.value) : decoded;
    if (!batch.ok) {
      this.#malformed();
      return;
    }
    const skipped = this.mirror.skipped;
    for (const event of batch.events) this.mirror.apply(event);
    if (this.mirror.skipped > skipped) this.#options.onFault('skipped', this.mirror.skipped - skipped);
  }

  /** What it would have said is not known. */
  #malformed(): void {
    this.#options.onFault('malformed', 1);
    this.mirror.doubt();
  }

  /** Asks for the batches from `from` on; an engine that cannot send them is taken to have none. */
  #askAgain(from: number): void {
    const { replayPath, clock } = this.#options;
    const batches: Batch<Uint8Array>[] = [];
    let bytes = 0;
    const finish = (): void => {
      stopTimer();
      client.close();
      this.#replay = undefined;
      this.#follow(this.#order.replayed(batches));
    };
    const client = new ZmtpClient(replayPath, 'DEALER', {
      onReady: () => client.send([new Uint8Array(0), seqFrame(from)]),
      onMessage: (frames) => {
        const seq = seqOf(frames.at(-2));
        const payload = frames.at(-1);
        bytes += payload?.length ?? 0;
        if (seq === undefined || payload === undefined) this.#malformed();
        const done = seq === undefined || seq === END_OF_REPLAY || payload === undefined;
        if (!done) batches.push({ seq, payload });
        if (done || batches.length >= MAX_REPLAYED || bytes > MAX_REPLAYED_BYTES) finish();
      },
      onEnd: finish,
    });
    this.#replay = client;
    const stopTimer = clock.after(REPLAY_TIMEOUT_MS, finish);
  }
}
