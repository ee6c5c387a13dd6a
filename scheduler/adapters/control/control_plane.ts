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
import { headProblemText } from '../../core/events/head.ts';
import { freezeOf, type Projection, type Until } from '../../core/events/projection.ts';
import type { EventStore } from '../../core/events/store_port.ts';
import type { ControlHealth, ControlPlane, FreezeView } from '../../core/resources/control_port.ts';
import type { UsageStore, UsageTable } from '../../core/usage/contract.ts';
import { createMemory, type Memory, readNew, restore, tell } from './memory.ts';
import { createStoreFace } from './store_face.ts';
import { createUpkeep, type UpkeepOptions } from './upkeep.ts';

/** A store that was opened, with what lies beside it. */
export interface OpenedStore {
  readonly store: EventStore;
  /** Its table of usage; absent where nobody settles any. */
  readonly usage?: UsageTable;
  /** The newest anchor, which says what the log must still hold. */
  newestAnchor(): SignedAnchor | undefined;
  /** Signs the end of the log and keeps that outside of the store. */
  anchor(): Promise<unknown>;
  stateAt(until: Until): Promise<Projection>;
  /** Takes the log as it is: the anchors begin anew. */
  accept(): Promise<void>;
}

export interface ControlPlaneOptions extends UpkeepOptions {
  /** Opens the store; undefined: the configuration wants none. */
  readonly open: (() => Promise<OpenedStore>) | undefined;
  /** Whether the store is opened soon after the start, or by the first who needs it. */
  readonly openAtStart: boolean;
  readonly random: RandomSource;
  /** How often the log is looked at for events of other schedulers. */
  readonly pollMs: number;
}

export interface RunningControlPlane extends ControlPlane {
  /** The table of usage, which lies in the same store. */
  readonly usage: UsageStore;
  /** The doors are open: reads the store where there is desired state. */
  start(): void;
  /** Nobody is to wait for news any more; changes that come are still made. */
  drain(): void;
  /** Anchors what is new, and lets the store go. */
  stop(): Promise<void>;
}

const RETRY: BackoffPolicy = { baseMs: 200, capMs: 10_000, minMs: 100 };

const off = (): CodedError => new CodedError('store_off', 'This scheduler keeps no desired state.');
const stopped = (): CodedError => new CodedError('draining', 'The scheduler stops and has let its store go.');

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
  let failure = '';
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
    failure = '';
    for (const reader of memory.readers.splice(0)) reader();
    return found;
  };
  return {
    opened: () => opened,
    /** Why it is not open though somebody needs it; undefined: nobody has needed it. */
    missing: () => (opening !== undefined && failure === '' ? 'it is being opened' : failure || undefined),
    demand(): Promise<OpenedStore> {
      opening ??= open().catch((thrown: unknown) => {
        opening = undefined;
        failure = toCodedError(thrown).message;
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
  if (opened === undefined) {
    const reason = opener.missing();
    return reason === undefined ? { state: 'closed', reason: 'nobody has needed it yet' } : { state: 'down', reason };
  }
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

/** A person takes the log as it is: the store, its anchors and the state in memory begin with what is there. */
function createAcceptance(
  opener: ReturnType<typeof createOpener>,
  { outdate, readOnce }: ReturnType<typeof createReader>,
  memory: Memory,
): () => Promise<void> {
  return async () => {
    const opened = await opener.demand();
    await opened.accept();
    await opened.store.acceptLog();
    outdate();
    await readOnce();
    tell(memory, []);
  };
}

function usageStoreOf(
  options: ControlPlaneOptions,
  opener: ReturnType<typeof createOpener>,
  follow: () => void,
): UsageStore {
  return {
    isOpen: options.open === undefined ? undefined : () => opener.opened() !== undefined,
    async table() {
      const { usage } = await opener.demand();
      if (usage === undefined) throw off();
      follow();
      return usage;
    },
  };
}

export function createControlPlane(options: ControlPlaneOptions): RunningControlPlane {
  const memory = createMemory();
  const opener = createOpener(options, memory);
  const upkeep = createUpkeep(options, memory);
  const teller = createTeller(options.logger);
  const draining = new AbortController();
  const ending = new AbortController();
  let following: Promise<void> | undefined;
  const reader = createReader(memory, opener);
  const { readOnce } = reader;
  const turn = async (): Promise<void> => {
    await readOnce();
    await upkeep.turn(await opener.demand());
  };
  const follow = (): void => {
    following ??= repeat(turn, options, teller, ending.signal);
  };
  const catchUp = async (): Promise<Projection> => {
    if (ending.signal.aborted) throw stopped();
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
  const acceptLog = createAcceptance(opener, reader, memory);
  return {
    projection: () => memory.projection,
    isRead: () => memory.isRead,
    onRead(listener) {
      if (memory.isRead) listener();
      else memory.readers.push(listener);
    },
    store: createStoreFace(demand, catchUp, options.clock.monotonicMs(), () => opener.opened()?.store),
    usage: usageStoreOf(options, opener, follow),
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
    stopping: draining.signal,
    freeze: () => freezeView(memory.projection, health()),
    acceptLog,
    start() {
      if (options.openAtStart && options.open !== undefined) follow();
    },
    drain: () => draining.abort(),
    async stop() {
      draining.abort();
      ending.abort();
      const opened = await opener.stop();
      if (opened !== undefined) {
        await upkeep.end(opened);
        await opened.store.close();
      }
      await following;
    },
  };
}
