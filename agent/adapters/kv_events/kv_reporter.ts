/**
 * Tells every scheduler what the engines of this host hold in their prefix caches: a snapshot when its session opens, then
 * what has changed, a few times a second. It is advice: a session that can take no more is passed over and gets a snapshot
 * later, and now and then everybody gets one, which heals whatever else went wrong.
 */
import { type Clock, untilNextBeatMs } from '../../../lib/clock.ts';
import type { KvEvents } from '../../../proto/gen/fleet/v1/KvEvents.ts';
import type { EngineView } from '../../ports.ts';
import { KvFeed, type KvFault } from './kv_feed.ts';

export interface KvReporterOptions {
  readonly clock: Clock;
  readonly engines: () => readonly EngineView[];
  /** Where a life of an engine publishes its events; undefined: it does not. */
  readonly socketsOf: (view: EngineView) => { readonly eventsPath: string; readonly replayPath: string } | undefined;
  /** False: the session takes nothing now, and nothing was sent. */
  readonly send: (scheduler: string, events: KvEvents) => boolean;
  readonly onFault: (fault: KvFault, count: number) => void;
}

const PERIOD_MS = 100;
/** While no engine publishes anything: only whether one has come is looked for. */
const IDLE_PERIOD_MS = 1000;
/** Blocks of one message: 64 KiB. */
const MAX_BLOCKS_PER_MESSAGE = 8192;
const RESYNC_MS = 600_000;
/** States in which an engine answers requests, so that its cache matters. */
const SERVING: ReadonlySet<string> = new Set(['ready', 'draining']);

/** What one scheduler has been told of one engine. */
interface Told {
  seq: number;
  /** When its last snapshot was sent whole; undefined: it has none. */
  syncedAtMs: number | undefined;
}

interface Followed {
  readonly engine: string;
  readonly incarnation: number;
  readonly feed: KvFeed;
  readonly told: Map<string, Told>;
}

function bytesOf(hashes: Uint32Array): Buffer {
  const bytes = Buffer.allocUnsafe(hashes.length * 4);
  for (let i = 0; i < hashes.length; i++) bytes.writeUInt32LE(hashes[i] as number, i * 4);
  return bytes;
}

/** Messages that say these changes, none larger than one may be. */
function messagesOf(removed: Uint32Array, stored: Uint32Array, snapshot: boolean): Omit<KvEvents, 'engine'>[] {
  const messages: Omit<KvEvents, 'engine'>[] = [];
  const words = 2 * MAX_BLOCKS_PER_MESSAGE;
  for (let at = 0; at < removed.length; at += words)
    messages.push({ removed: bytesOf(removed.subarray(at, at + words)) });
  for (let at = 0; at < stored.length; at += words) messages.push({ stored: bytesOf(stored.subarray(at, at + words)) });
  if (!snapshot) return messages;
  return [{ snapshot: true, ...messages[0] }, ...messages.slice(1)];
}

export class KvReporter {
  readonly #options: KvReporterOptions;
  readonly #followed = new Map<string, Followed>();
  readonly #schedulers = new Set<string>();
  #stopTimer: (() => void) | undefined;

  constructor(options: KvReporterOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock } = this.#options;
    const periodMs = this.#followed.size === 0 ? IDLE_PERIOD_MS : PERIOD_MS;
    this.#stopTimer = clock.after(untilNextBeatMs(clock.monotonicMs(), periodMs), () => {
      this.#round();
      this.start();
    });
  }

  stop(): void {
    this.#stopTimer?.();
    for (const { feed } of this.#followed.values()) feed.stop();
    this.#followed.clear();
  }

  /** A session has opened: it knows nothing. */
  connected(scheduler: string): void {
    this.#schedulers.add(scheduler);
    for (const { told } of this.#followed.values()) told.delete(scheduler);
  }

  disconnected(scheduler: string): void {
    this.#schedulers.delete(scheduler);
  }

  /** Engines whose events arrive, and blocks that they hold. */
  figures(): { readonly engines: number; readonly blocks: number } {
    const feeds = [...this.#followed.values()].map(({ feed }) => feed);
    return {
      engines: feeds.filter((feed) => feed.connected).length,
      blocks: feeds.reduce((sum, { mirror }) => sum + mirror.blocks, 0),
    };
  }

  #round(): void {
    this.#follow();
    for (const followed of this.#followed.values()) this.#tell(followed);
  }

  /** Begins with the lives that have come, and ends with those that have gone. */
  #follow(): void {
    const { engines, socketsOf, clock, onFault } = this.#options;
    const serving = new Set<string>();
    for (const view of engines()) {
      const { incarnation, spec, status } = view.life;
      const sockets = SERVING.has(status) ? socketsOf(view) : undefined;
      if (sockets === undefined) continue;
      serving.add(spec.name);
      const known = this.#followed.get(spec.name);
      if (known?.incarnation === incarnation) continue;
      known?.feed.stop();
      const feed = new KvFeed({ ...sockets, servedModel: spec.servedModelName, clock, onFault });
      this.#followed.set(spec.name, { engine: spec.name, incarnation, feed, told: new Map() });
    }
    for (const [engine, { feed }] of this.#followed) {
      if (serving.has(engine)) continue;
      feed.stop();
      this.#followed.delete(engine);
    }
  }

  #tell(followed: Followed): void {
    const { mirror } = followed.feed;
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const changed = mirror.hasChanges();
    const changes = mirror.takeChanges();
    for (const scheduler of this.#schedulers) {
      const told = followed.told.get(scheduler) ?? { seq: 0, syncedAtMs: undefined };
      followed.told.set(scheduler, told);
      const stale = told.syncedAtMs === undefined || nowMs - told.syncedAtMs > RESYNC_MS;
      // An engine of which nothing was ever heard may not publish at all: saying so would end the guesses about it.
      if (stale && mirror.blocks === 0 && told.syncedAtMs === undefined) continue;
      if (stale) this.#send(followed, scheduler, told, messagesOf(new Uint32Array(0), mirror.all(), true), nowMs);
      else if (changed) {
        this.#send(followed, scheduler, told, messagesOf(changes.removed, changes.stored, false), told.syncedAtMs);
      }
    }
  }

  #send(
    { engine, incarnation }: Followed,
    scheduler: string,
    told: Told,
    messages: readonly Omit<KvEvents, 'engine'>[],
    syncedAtMs: number | undefined,
  ): void {
    for (const message of messages) {
      if (!this.#options.send(scheduler, { engine, incarnation, seq: told.seq, ...message })) {
        told.syncedAtMs = undefined;
        return;
      }
      told.seq += 1;
    }
    told.syncedAtMs = syncedAtMs;
  }
}
