/**
 * The control plane of one scheduler: the store, opened when it is first needed and never on the way of a request, and
 * the state that its events add up to, kept in memory by following the log. With the store away everything here goes on
 * from memory; only changes are refused.
 */
import { backoffDelayMs, type BackoffPolicy } from '../../../lib/backoff.ts';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { SignedAnchor } from '../../core/events/anchors.ts';
import type { FleetEvent } from '../../core/events/event.ts';
import { headProblemText } from '../../core/events/head.ts';
import {
  createProjection,
  eventsOf,
  freezeOf,
  type Projection,
  restoreProjection,
  type Until,
} from '../../core/events/projection.ts';
import { type EventStore, MAX_READ } from '../../core/events/store_port.ts';
import type { ControlHealth, ControlPlane, FreezeView } from '../../core/resources/control_port.ts';
import { createStoreFace } from './store_face.ts';

/** A store that was opened, with what lies beside it. */
export interface OpenedStore {
  readonly store: EventStore;
  /** The newest anchor, which says what the log must still hold. */
  newestAnchor(): SignedAnchor | undefined;
  /** Signs the end of the log and keeps that outside of the store. */
  anchor(): Promise<unknown>;
  stateAt(until: Until): Promise<Projection>;
  /** Takes the log as it is: the anchors begin anew. */
  accept(): Promise<void>;
}

export interface ControlPlaneOptions {
  /** Opens the store; undefined: the configuration wants none. */
  readonly open: (() => Promise<OpenedStore>) | undefined;
  /** Whether the store is opened soon after the start, or by the first who needs it. */
  readonly openAtStart: boolean;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  /** How often the log is looked at for events of other schedulers. */
  readonly pollMs: number;
  readonly anchorPeriodMs: number;
  readonly checkpointPeriodMs: number;
}

export interface RunningControlPlane extends ControlPlane {
  start(): void;
  /** Anchors what is new, and lets the store go. */
  stop(): Promise<void>;
}

/** Rows folded at once: between two batches the process does other work. */
const FOLD_ROWS = 500;
const MAX_RECENT = 1000;
/** A checkpoint spares the next start this many events. */
const CHECKPOINT_EVENTS = 2000;
const RETRY: BackoffPolicy = { baseMs: 200, capMs: 10_000, minMs: 100 };
const STOP_ANCHOR_MS = 2000;
const LATEST = Number.MAX_SAFE_INTEGER;

const off = (): CodedError => new CodedError('store_off', 'This scheduler keeps no desired state.');
const stopped = (): CodedError => new CodedError('draining', 'The scheduler stops and has let its store go.');

/** What is in memory. */
interface Memory {
  projection: Projection;
  isRead: boolean;
  /** Hash of the last event that was folded. */
  hash: string;
  readonly recent: FleetEvent[];
  readonly listeners: Set<(events: readonly FleetEvent[]) => void>;
  readonly readers: (() => void)[];
}

const tell = ({ listeners }: Memory, events: readonly FleetEvent[]): void => {
  for (const listener of listeners) listener(events);
};

function remember(memory: Memory, events: readonly FleetEvent[]): void {
  memory.recent.push(...events.slice(-MAX_RECENT));
  if (memory.recent.length > MAX_RECENT) memory.recent.splice(0, memory.recent.length - MAX_RECENT);
}

/** The state of the newest checkpoint, and the newest events before it for `describe`. */
async function restore(memory: Memory, store: EventStore): Promise<void> {
  memory.recent.length = 0;
  const checkpoint = await store.checkpointBefore(LATEST, LATEST);
  if (checkpoint === undefined) {
    memory.projection = createProjection();
    return;
  }
  const projection = restoreProjection(checkpoint.state, checkpoint.seq, checkpoint.atMs);
  if (projection === undefined)
    throw new CodedError('store_corrupt', `The checkpoint at event ${checkpoint.seq} cannot be read.`);
  const before = await store.read(Math.max(0, checkpoint.seq - FOLD_ROWS), FOLD_ROWS);
  memory.projection = projection;
  memory.hash = checkpoint.eventHash;
  remember(
    memory,
    [...eventsOf(before)].filter(({ seq }) => seq <= checkpoint.seq),
  );
}

/** Folds all that is new in the log. */
async function readNew(memory: Memory, store: EventStore): Promise<void> {
  for (;;) {
    const after = memory.projection.seq();
    const rows = await store.read(after, Math.min(FOLD_ROWS, MAX_READ));
    const events = [...eventsOf(rows)];
    for (const event of events) memory.projection.apply(event);
    memory.hash = rows.at(-1)?.hash ?? memory.hash;
    remember(memory, events);
    if (events.length > 0) tell(memory, events);
    if (rows.length < FOLD_ROWS) return;
    if (memory.projection.seq() === after)
      throw new CodedError('store_corrupt', `The events after ${after} cannot be read.`);
  }
}

function freezeView(projection: Projection, health: ControlHealth): FreezeView {
  const entry = freezeOf(projection);
  const { gap } = health;
  const stands = gap === undefined ? {} : { gap };
  if (entry === undefined)
    return {
      frozen: gap !== undefined,
      by: gap === undefined ? '' : 'store',
      sinceMs: 0,
      reason: gap ?? '',
      ...stands,
    };
  const { reason } = entry.value as { readonly reason?: string };
  return { frozen: true, by: entry.actor, sinceMs: entry.atMs, reason: reason ?? '', ...stands };
}

/** At most one run at a time, and one more for all who came meanwhile: it begins after they asked. */
function createSingleFlight(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  let queued: Promise<void> | undefined;
  return () => {
    const next = (): Promise<void> => {
      queued = undefined;
      running = run();
      return running;
    };
    queued ??= running.then(next, next);
    return queued;
  };
}

/** Says once that the store is away, and once that it is back. */
function createTeller(logger: Logger) {
  let code = '';
  return {
    failed(thrown: unknown): void {
      const error = toCodedError(thrown);
      if (error.code !== code) logger.warn({ code: error.code, err: error }, 'the store is away; changes are refused');
      code = error.code;
    },
    works(): void {
      if (code !== '') logger.info('the store is back');
      code = '';
    },
  };
}

/** Opens the store once, however many ask; after a failure the next who asks tries again. */
function createOpener(options: ControlPlaneOptions, memory: Memory) {
  let opening: Promise<OpenedStore> | undefined;
  let opened: OpenedStore | undefined;
  let isStopped = false;
  const open = async (): Promise<OpenedStore> => {
    if (options.open === undefined) throw off();
    if (isStopped) throw stopped();
    const found = await options.open();
    try {
      const anchor = found.newestAnchor();
      if (anchor !== undefined) await found.store.remember({ seq: anchor.seq, hash: anchor.hash }, anchor.logId);
      await restore(memory, found.store);
      await readNew(memory, found.store);
    } catch (thrown) {
      await found.store.close();
      throw thrown;
    }
    if (isStopped) {
      await found.store.close();
      throw stopped();
    }
    memory.isRead = true;
    opened = found;
    for (const reader of memory.readers.splice(0)) reader();
    return found;
  };
  return {
    opened: () => opened,
    isOpening: () => opening !== undefined,
    demand(): Promise<OpenedStore> {
      opening ??= open().catch((thrown: unknown) => {
        opening = undefined;
        throw thrown;
      });
      return opening;
    },
    async stop(): Promise<OpenedStore | undefined> {
      isStopped = true;
      await opening?.catch(() => undefined);
      return opened;
    },
  };
}

/** Anchors, and now and then a checkpoint; neither while the log is not the one that was known. */
function createKeeper(options: ControlPlaneOptions, memory: Memory) {
  const { clock } = options;
  let anchoredAtMs = clock.monotonicMs();
  let checkedAtMs = clock.monotonicMs();
  let checkpointSeq = -1;
  const isDue = (sinceMs: number, periodMs: number): boolean => clock.monotonicMs() - sinceMs >= periodMs;
  return async ({ store, anchor }: OpenedStore): Promise<void> => {
    const seq = memory.projection.seq();
    if (isDue(anchoredAtMs, options.anchorPeriodMs)) {
      anchoredAtMs = clock.monotonicMs();
      const { logId } = await store.head();
      const problem = seq === 0 ? undefined : await store.remember({ seq, hash: memory.hash }, logId);
      if (problem === undefined) await anchor();
    }
    if (checkpointSeq < 0) checkpointSeq = (await store.checkpointBefore(LATEST, LATEST))?.seq ?? 0;
    const isWorth = seq - checkpointSeq >= CHECKPOINT_EVENTS && store.health().gap === undefined;
    if (isWorth && isDue(checkedAtMs, options.checkpointPeriodMs)) {
      checkedAtMs = clock.monotonicMs();
      checkpointSeq = (await store.checkpoint())?.seq ?? checkpointSeq;
    }
  };
}

function createMemory(): Memory {
  return { projection: createProjection(), isRead: false, hash: '', recent: [], listeners: new Set(), readers: [] };
}

/** Calls `turn` again and again until the signal fires, later after each failure. */
async function repeat(
  turn: () => Promise<void>,
  options: Pick<ControlPlaneOptions, 'clock' | 'random' | 'pollMs'>,
  teller: ReturnType<typeof createTeller>,
  signal: AbortSignal,
): Promise<void> {
  for (let failures = 0; !signal.aborted; ) {
    try {
      await turn();
      teller.works();
      failures = 0;
    } catch (thrown) {
      if (!signal.aborted) teller.failed(thrown);
      failures++;
    }
    const waitMs = failures === 0 ? options.pollMs : backoffDelayMs(failures - 1, RETRY, options.random);
    await pause(options.clock, waitMs, signal);
  }
}

/** Resolves after `ms`, or at once when the signal fires. */
function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}

function healthOf(options: ControlPlaneOptions, opener: ReturnType<typeof createOpener>): ControlHealth {
  if (options.open === undefined) return { state: 'off', reason: 'the setting store is off' };
  const opened = opener.opened();
  if (opened === undefined)
    return opener.isOpening()
      ? { state: 'down', reason: 'it is being opened' }
      : { state: 'closed', reason: 'nobody has needed it yet' };
  const { state, reason, gap } = opened.store.health();
  return { state, reason, ...(gap === undefined ? {} : { gap: headProblemText(gap) }) };
}

/** Reads what is new, one at a time. */
function createReader(memory: Memory, opener: ReturnType<typeof createOpener>) {
  let isStale = false;
  return {
    readOnce: createSingleFlight(async () => {
      const { store } = await opener.demand();
      if (isStale) await restore(memory, store);
      isStale = false;
      await readNew(memory, store);
    }),
    /** What is in memory is of a log that does not count any more. */
    outdate: () => {
      isStale = true;
    },
  };
}

export function createControlPlane(options: ControlPlaneOptions): RunningControlPlane {
  const memory = createMemory();
  const opener = createOpener(options, memory);
  const keep = createKeeper(options, memory);
  const teller = createTeller(options.logger);
  const stopping = new AbortController();
  let following: Promise<void> | undefined;
  const { readOnce, outdate } = createReader(memory, opener);
  const turn = async (): Promise<void> => {
    await readOnce();
    await keep(await opener.demand());
  };
  const follow = (): void => {
    following ??= repeat(turn, options, teller, stopping.signal);
  };
  const catchUp = async (): Promise<Projection> => {
    if (stopping.signal.aborted) throw stopped();
    await readOnce();
    follow();
    return memory.projection;
  };
  const demand = async (): Promise<EventStore> => {
    const { store } = await opener.demand();
    follow();
    return store;
  };
  const health = (): ControlHealth => healthOf(options, opener);
  return {
    projection: () => memory.projection,
    isRead: () => memory.isRead,
    onRead(listener) {
      if (memory.isRead) listener();
      else memory.readers.push(listener);
    },
    store: createStoreFace(demand, catchUp, options.clock.monotonicMs(), () => opener.opened()?.store),
    catchUp,
    async stateAt(until) {
      return (await opener.demand()).stateAt(until);
    },
    recentEvents: () => memory.recent,
    onEvents(listener) {
      memory.listeners.add(listener);
      return () => memory.listeners.delete(listener);
    },
    health,
    stopping: stopping.signal,
    freeze: () => freezeView(memory.projection, health()),
    async acceptLog() {
      const opened = await opener.demand();
      await opened.accept();
      await opened.store.acceptLog();
      outdate();
      await readOnce();
      tell(memory, []);
    },
    start() {
      if (options.openAtStart && options.open !== undefined) follow();
    },
    async stop() {
      stopping.abort();
      const opened = await opener.stop();
      if (opened !== undefined) {
        await lastAnchor(opened, options);
        await opened.store.close();
      }
      await following;
    },
  };
}

/** What came since the last anchor, unless the store is slow: the next start does it then. */
async function lastAnchor(opened: OpenedStore, { clock, logger }: ControlPlaneOptions): Promise<void> {
  if (opened.store.health().state !== 'up') return;
  let cancel = (): void => undefined;
  const late = new Promise<void>((resolve) => {
    cancel = clock.after(STOP_ANCHOR_MS, resolve);
  });
  const anchored = opened.anchor().catch((err: unknown) => logger.warn({ err }, 'the log was not anchored'));
  await Promise.race([anchored, late]);
  cancel();
}
