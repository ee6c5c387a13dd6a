/**
 * Owns the relay threads by piscina: starts them, tells each what runs and where the schedulers are, adds up their
 * figures, and starts one again that has crashed. The sockets of a crashed thread go with it: its engines abort their
 * work, its schedulers see the lane cut and move its requests, and what was open on it is logged and counted here.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import { atMost } from '../../lib/io/at_most.ts';
import type { Logger } from '../../lib/io/logger.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import { addFigures, type ProgressFigures, shiftTimes, toEngineProgress } from '../core/engine_progress.ts';
import { openListBytes, type OpenRequests, readOpenList } from '../core/open_requests.ts';
import { judgeThreadRestart } from '../core/restart_brake.ts';
import type { Relay, RelayCounters, RelayStats, RelayTarget } from '../ports.ts';
import type {
  DirectReport,
  DirectSettings,
  FromRelay,
  KnownIssuer,
  RelaySettings,
  RelayTask,
  ToRelay,
  WorkerStats,
} from '../workers/relay_messages.ts';

export interface RelayOptions {
  readonly workers: number;
  readonly settings: RelaySettings;
  readonly logger: Logger;
  /** How long to wait before a crashed thread is started again, in milliseconds; see `judgeThreadRestart`. */
  readonly restartDelayMs: number;
  /** Heap limit of a thread in MiB; one that exceeds it is ended and started again. Absent: Node's own. */
  readonly heapMb?: number;
  /** A thread has crashed with these requests open. */
  readonly onThreadLost?: (worker: number, lost: OpenRequests) => void;
  /** Direct calls come in on one more thread, so that they and the lanes share nothing but the engines. */
  readonly direct?: { readonly settings: DirectSettings; readonly onReport: (report: DirectReport) => void };
}

/** Requests of a thread that are listed by name; more are counted only. */
const MAX_LISTED = 8192;
/** Request ids in one log line. */
const MAX_LOGGED = 50;
/** A thread that has not spoken for this long cannot say whether an engine moves. */
const STALE_MS = 1000;

const IDLE: WorkerStats = {
  openByEngine: {},
  progress: {},
  counters: {
    detached: 0,
    detachedTotal: 0,
    reattachedTotal: 0,
    expiredTotal: 0,
    unattachableTotal: 0,
    resentTotal: 0,
    batchedTotal: 0,
  },
  lanes: 0,
  tokensTotal: 0,
  messagesTotal: 0,
  bytesTotal: 0,
  stallsTotal: 0,
};

const TOTALS = ['tokensTotal', 'messagesTotal', 'bytesTotal', 'stallsTotal'] as const;
const COUNTER_TOTALS = [
  'detachedTotal',
  'reattachedTotal',
  'expiredTotal',
  'unattachableTotal',
  'resentTotal',
  'batchedTotal',
] as const;

/** What one thread has said last, and when by this thread's clock. */
export interface ThreadReport {
  readonly stats: WorkerStats;
  readonly atMs: number;
}

type Mutable<Shape> = { -readonly [Key in keyof Shape]: Shape[Key] };

/** The figures of a thread for times of this thread's clock; without times when the thread is stuck. */
function figuresOf(figures: ProgressFigures, byMs: number, stale: boolean): ProgressFigures {
  if (!stale) return shiftTimes(figures, byMs);
  const { oldestWaitingSinceMs: _oldest, firstOpenAtMs: _first, lastTokenAtMs: _last, ...rest } = figures;
  return rest;
}

/**
 * Adds up the figures of all threads.
 * @param gone the totals of threads that have crashed
 * @param clock `nowMs` and the distance from the clock that threads share to it
 */
export function sumReports(
  reports: readonly ThreadReport[],
  gone: readonly WorkerStats[],
  clock: { readonly nowMs: number; readonly fromSharedMs: number },
  crashes: Pick<RelayCounters, 'threadCrashesTotal' | 'lostWithThreadTotal'>,
): RelayStats {
  const openByEngine: Record<string, number> = {};
  const figures = new Map<string, { incarnation: number; sum: ProgressFigures }>();
  const sum = { lanes: 0, tokensTotal: 0, messagesTotal: 0, bytesTotal: 0, stallsTotal: 0 };
  const counters: Mutable<RelayCounters> = { ...IDLE.counters, ...crashes };
  let loopLagP99Ms: number | undefined;
  let gcPauseMaxMs: number | undefined;
  for (const stats of [...gone, ...reports.map((report) => report.stats)]) {
    for (const key of TOTALS) sum[key] += stats[key];
    for (const key of COUNTER_TOTALS) counters[key] += stats.counters[key];
  }
  for (const { stats, atMs } of reports) {
    for (const [engine, open] of Object.entries(stats.openByEngine))
      openByEngine[engine] = (openByEngine[engine] ?? 0) + open;
    sum.lanes += stats.lanes;
    counters.detached += stats.counters.detached;
    if (stats.loopLagP99Ms !== undefined) loopLagP99Ms = Math.max(loopLagP99Ms ?? 0, stats.loopLagP99Ms);
    if (stats.gcPauseMaxMs !== undefined) gcPauseMaxMs = Math.max(gcPauseMaxMs ?? 0, stats.gcPauseMaxMs);
    for (const [engine, { incarnation, figures: own }] of Object.entries(stats.progress)) {
      const shifted = figuresOf(own, clock.fromSharedMs, clock.nowMs - atMs > STALE_MS && own.open > 0);
      const before = figures.get(engine);
      // While a thread still speaks of an earlier life, the later one counts.
      if (before === undefined || before.incarnation < incarnation) figures.set(engine, { incarnation, sum: shifted });
      else if (before.incarnation === incarnation) before.sum = addFigures(before.sum, shifted);
    }
  }
  const progress = Object.fromEntries(
    [...figures].map(([engine, { incarnation, sum: all }]) => [engine, toEngineProgress(incarnation, all)]),
  );
  return {
    openByEngine,
    progress,
    ...(loopLagP99Ms === undefined ? {} : { loopLagP99Ms }),
    ...(gcPauseMaxMs === undefined ? {} : { gcPauseMaxMs }),
    ...sum,
    counters,
  };
}

/** A pool of one thread: piscina gives up a pool whose thread failed before it was ready, so each life gets its own. */
function createPool(heapMb: number | undefined): Piscina {
  return new Piscina({
    filename: fileURLToPath(new URL('../workers/relay_worker.js', import.meta.url)),
    minThreads: 0,
    maxThreads: 1,
    concurrentTasksPerWorker: 1,
    // The threads share no environment: what they need they are told.
    env: {},
    ...(heapMb === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: heapMb } }),
  });
}

/** One relay thread through all its lives. */
class ThreadSlot {
  readonly #worker: number;
  readonly #options: RelayOptions;
  readonly #greet: () => readonly ToRelay[];
  readonly #direct: RelayOptions['direct'];
  #pool: Piscina | undefined;
  #port: MessagePort | undefined;
  #restart: NodeJS.Timeout | undefined;
  #stopping = false;
  #crashes = 0;
  #ended: Promise<void> = Promise.resolve();
  report: ThreadReport = { stats: IDLE, atMs: 0 };
  /** Totals of the lives that have crashed. */
  gone: WorkerStats = IDLE;
  crashesTotal = 0;
  lostTotal = 0;

  /** @param greet what each new life is told first */
  constructor(worker: number, options: RelayOptions, greet: () => readonly ToRelay[], direct?: RelayOptions['direct']) {
    this.#worker = worker;
    this.#direct = direct;
    this.#options = options;
    this.#greet = greet;
  }

  start(): void {
    const { settings, heapMb } = this.#options;
    const startedAtMs = performance.now();
    const openList = new SharedArrayBuffer(openListBytes(Math.min(settings.maxRequests, MAX_LISTED)));
    const { port1, port2 } = new MessageChannel();
    const pool = createPool(heapMb);
    this.#pool = pool;
    this.#port = port1;
    port1.on('message', (message: FromRelay) => this.#onMessage(message));
    for (const message of this.#greet()) port1.postMessage(message);
    const direct = this.#direct === undefined ? {} : { direct: this.#direct.settings };
    const task: RelayTask = { worker: this.#worker, port: port2, settings, openList, ...direct };
    // A thread that fails before it has taken its task fails no task.
    const broken = new Promise<never>((_, reject) => {
      pool.on('error', reject);
    });
    const done = pool.run(task, { name: 'runRelay', transferList: [port2] });
    // The one that loses the race has nobody to tell.
    done.catch(() => undefined);
    const crashed = (error: unknown): void => this.#onCrash(error, openList, performance.now() - startedAtMs);
    this.#ended = this.#follow(Promise.race([done, broken]), pool, port1, crashed);
  }

  /** Resolves when this life is over and all that was of it is gone. */
  async #follow(life: Promise<void>, pool: Piscina, port: MessagePort, crashed: (why: unknown) => void): Promise<void> {
    try {
      await life;
    } catch (error) {
      crashed(error);
    }
    port.close();
    if (this.#port === port) this.#port = undefined;
    await pool.destroy();
  }

  #onMessage(message: FromRelay): void {
    if (message.kind === 'stats') this.report = { stats: message.stats, atMs: performance.now() };
    else if (message.kind === 'direct') this.#direct?.onReport(message.report);
    else {
      const { scheduler, reason, state } = message;
      this.#options.logger.info({ worker: this.#worker, scheduler, reason }, `lane ${state}`);
    }
  }

  #onCrash(error: unknown, openList: SharedArrayBuffer, livedMs: number): void {
    if (this.#stopping) return;
    const { logger, onThreadLost, restartDelayMs } = this.#options;
    const lost = readOpenList(new Uint8Array(openList));
    const count = lost.listed.length + lost.unlisted;
    logger.error(
      {
        worker: this.#worker,
        err: error,
        lostRequests: count,
        requestIds: lost.listed.slice(0, MAX_LOGGED).map(({ requestId }) => requestId),
      },
      'a relay thread crashed; its requests are for their schedulers to move',
    );
    this.crashesTotal += 1;
    this.lostTotal += count;
    const { stats } = this.report;
    const counters = { ...this.gone.counters };
    for (const key of COUNTER_TOTALS) counters[key] += stats.counters[key];
    const totals = { ...this.gone };
    for (const key of TOTALS) Object.assign(totals, { [key]: totals[key] + stats[key] });
    this.gone = { ...totals, counters };
    this.report = { stats: IDLE, atMs: performance.now() };
    onThreadLost?.(this.#worker, lost);
    this.#direct?.onReport({ what: 'closed', code: 'internal', reason: 'its thread crashed' });
    const { crashes, delayMs } = judgeThreadRestart(this.#crashes, livedMs, restartDelayMs);
    this.#crashes = crashes;
    this.#restart = setTimeout(() => this.start(), delayMs);
  }

  tell(message: ToRelay): void {
    this.#port?.postMessage(message);
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    this.tell({ kind: 'stop', graceMs });
    await atMost(this.#ended, graceMs + 2000);
    await this.#pool?.destroy();
  }
}

export interface ThreadedRelay extends Relay {
  /** Certificates for lanes that are opened from now on; those that are open stay. */
  setTls(tls: TlsMaterial): void;
  /** Whose tickets open the direct listener, and its own certificate. */
  setIssuers(issuers: readonly KnownIssuer[]): void;
  setDirectTls(tls: TlsMaterial): void;
}

/** The thread that takes direct calls, if there is to be one; it opens no lanes. */
function createDirectSlot(options: RelayOptions, targets: () => readonly RelayTarget[]) {
  let issuers: readonly KnownIssuer[] = [];
  let tls = options.direct?.settings.tls;
  const greet = (): readonly ToRelay[] => [
    { kind: 'targets', targets: targets() },
    { kind: 'issuers', issuers },
    ...(tls === undefined ? [] : [{ kind: 'direct_tls', tls } as const]),
  ];
  const slot = options.direct && new ThreadSlot(options.workers, options, greet, options.direct);
  return {
    slot,
    setIssuers(next: readonly KnownIssuer[]): void {
      issuers = next;
      slot?.tell({ kind: 'issuers', issuers });
    },
    setTls(next: TlsMaterial): void {
      tls = next;
      slot?.tell({ kind: 'direct_tls', tls });
    },
  };
}

export function createRelay(options: RelayOptions): ThreadedRelay {
  let { tls } = options.settings;
  let targets: readonly RelayTarget[] = [];
  let schedulers: readonly string[] = [];
  const slots: ThreadSlot[] = [];
  let idle: { readonly of: readonly ThreadReport[]; readonly sum: RelayStats } | undefined;
  const direct = createDirectSlot(options, () => targets);
  // The clock of process.hrtime is the same on all threads; performance.now() counts from an origin of each thread's own.
  const fromSharedMs = performance.now() - Number(process.hrtime.bigint()) / 1e6;

  return {
    async start() {
      const greet = (): readonly ToRelay[] => [
        { kind: 'tls', tls },
        { kind: 'targets', targets },
        { kind: 'schedulers', addresses: schedulers },
      ];
      for (let worker = 0; worker < options.workers; worker++) {
        const slot = new ThreadSlot(worker, options, greet);
        slots.push(slot);
        slot.start();
      }
      if (direct.slot === undefined) return;
      slots.push(direct.slot);
      direct.slot.start();
    },
    setTargets(next) {
      targets = next;
      for (const slot of slots) slot.tell({ kind: 'targets', targets });
    },
    setSchedulers(next) {
      schedulers = next;
      for (const slot of slots) if (slot !== direct.slot) slot.tell({ kind: 'schedulers', addresses: schedulers });
    },
    setTls(next) {
      tls = next;
      for (const slot of slots) slot.tell({ kind: 'tls', tls });
    },
    setIssuers: direct.setIssuers,
    setDirectTls: direct.setTls,
    stats() {
      const reports = slots.map((slot) => slot.report);
      // An idle agent is asked for its sum many times a second, and with nothing open it is the same until a thread speaks.
      if (idle?.of.length === reports.length && idle.of.every((report, at) => report === reports[at])) return idle.sum;
      const sum = sumReports(
        reports,
        slots.map((slot) => slot.gone),
        { nowMs: performance.now(), fromSharedMs },
        {
          threadCrashesTotal: slots.reduce((count, slot) => count + slot.crashesTotal, 0),
          lostWithThreadTotal: slots.reduce((count, slot) => count + slot.lostTotal, 0),
        },
      );
      idle = Object.values(sum.openByEngine).every((open) => open === 0) ? { of: reports, sum } : undefined;
      return sum;
    },
    async stop(graceMs) {
      await Promise.all(slots.map((slot) => slot.stop(graceMs)));
    },
  };
}
