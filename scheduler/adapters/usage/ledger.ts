/**
 * The ledger of usage of one scheduler: sums in memory, written to the spool every `flushMs`, settled into the store when
 * it is open. Requests never wait for any of it. When the spool cannot be written, or is full, sums stay in memory, which
 * are bounded; when the store is away they stay in the spool.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { createSerial } from '../../../lib/serial.ts';
import {
  isUsageBy,
  MAX_USAGE_ROWS,
  USAGE_BY,
  USAGE_PERIOD_MS,
  type UsageOperations,
  type UsageReport,
  type UsageRequest,
  type UsageRow,
  type UsageSpan,
  type UsageStore,
  type UsageTable,
} from '../../core/usage/contract.ts';
import { sumRows, type UsageTally } from '../../core/usage/tally.ts';
import type { SpoolSegment, UsageSpool } from './spool.ts';

/** What can happen to usage on its way, counted. */
export type UsageEvent =
  | 'spooled'
  | 'settled'
  | 'repeated'
  | 'damaged'
  | 'write_failed'
  | 'settle_failed'
  | 'spool_full';

export interface LedgerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tally: UsageTally;
  readonly spool: UsageSpool;
  readonly store: UsageStore;
  readonly flushMs: number;
  readonly settleMs: number;
  /** Settled hours older than this are forgotten. */
  readonly keepMs: number;
  /** As many bytes in the spool are worth opening a store that nobody has needed yet. */
  readonly openStoreBytes: number;
  readonly count: (event: UsageEvent) => void;
}

export interface UsageLedger extends UsageOperations {
  start(): void;
  /** Sums that are not on the disk. */
  waiting(): number;
  /** Writes what is in memory, and settles it where the store is open and quick. */
  stop(): Promise<void>;
}

const PRUNE_PERIOD_MS = 86_400_000;
const STOP_SETTLE_MS = 3_000;
/** Within a number that is exact. */
const LATEST_MS = 8.64e15;

/** @throws CodedError invalid_value */
function spanOf({ sinceMs = 0, untilMs = LATEST_MS }: UsageRequest): UsageSpan {
  for (const [param, value] of Object.entries({ sinceMs, untilMs })) {
    if (!Number.isSafeInteger(value) || value < 0 || value > LATEST_MS)
      throw new CodedError('invalid_value', `${param} must be milliseconds since 1970.`, { param });
  }
  if (untilMs < sinceMs) throw new CodedError('invalid_value', 'untilMs is before sinceMs.', { param: 'untilMs' });
  const end = Math.ceil(untilMs / USAGE_PERIOD_MS) * USAGE_PERIOD_MS;
  return { sinceMs: sinceMs - (sinceMs % USAGE_PERIOD_MS), untilMs: Math.min(end, LATEST_MS) };
}

/** Says once what is wrong, and once that it is over. */
function createTeller(logger: Logger, wrong: string, over: string) {
  let code = '';
  return {
    failed(thrown: unknown): void {
      const now = (thrown as NodeJS.ErrnoException).code ?? toCodedError(thrown).code;
      if (now !== code) logger.warn({ code: now, err: thrown }, wrong);
      code = now;
    },
    works(): void {
      if (code !== '') logger.info(over);
      code = '';
    },
  };
}

class Ledger implements UsageLedger {
  readonly #options: LedgerOptions;
  readonly #disk: ReturnType<typeof createTeller>;
  readonly #store: ReturnType<typeof createTeller>;
  /** What touches the spool, one after the other; none of it waits for the store. */
  readonly #onDisk = createSerial();
  readonly #inStore = createSerial();
  #isSettling = false;
  #stopTimer: (() => void) | undefined;
  #stopped = false;
  #settleDueMs = 0;
  #pruneDueMs = 0;
  #isFull = false;
  /** Sums that are being written. */
  #writing = 0;

  constructor(options: LedgerOptions) {
    this.#options = options;
    const { logger } = options;
    this.#disk = createTeller(
      logger,
      'usage cannot be written to the spool; it is kept in memory until it can',
      'usage is written to the spool again',
    );
    this.#store = createTeller(logger, 'usage cannot be settled; it stays in the spool', 'usage is settled again');
  }

  start(): void {
    this.#onDisk(() => this.#options.spool.adopt()).catch((thrown: unknown) => this.#disk.failed(thrown));
    this.#next();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopTimer?.();
    await this.#onDisk(() => this.#flush(true));
    if (this.#options.store.isOpen?.() !== true) return;
    let cancel = (): void => undefined;
    const late = new Promise<void>((resolve) => {
      cancel = this.#options.clock.after(STOP_SETTLE_MS, resolve);
    });
    await Promise.race([this.#tryToSettle(), late]);
    cancel();
  }

  waiting(): number {
    const { tally, spool } = this.#options;
    return tally.size + Math.max(this.#writing, spool.waiting);
  }

  async list(request: UsageRequest): Promise<UsageReport> {
    const { by } = request;
    if (!isUsageBy(by)) {
      const words = Object.keys(USAGE_BY).filter((word) => word !== '');
      throw new CodedError('invalid_value', `by must be one of ${words.join(', ')}, or empty.`, { param: 'by' });
    }
    const span = spanOf(request);
    const { spool, store } = this.#options;
    await this.#onDisk(() => this.#flush(false));
    const isOff = store.isOpen === undefined;
    const rows = isOff
      ? sumRows(await this.#onDisk(() => this.#readLocal()), span, by)
      : await (await this.#inStore(() => this.#settle())).list(span, by);
    return {
      ...span,
      by,
      rows: rows.slice(0, MAX_USAGE_ROWS),
      truncated: rows.length > MAX_USAGE_ROWS,
      source: isOff ? 'spool' : 'store',
      unsettledRecords: spool.records,
      spooledBytes: spool.bytes,
    };
  }

  #next(): void {
    const { clock, flushMs } = this.#options;
    if (this.#stopped) return;
    this.#stopTimer = clock.after(flushMs, () => {
      this.#onDisk(() => this.#flush(false)).then(
        () => this.#turned(),
        (thrown: unknown) => {
          this.#disk.failed(thrown);
          this.#next();
        },
      );
    });
  }

  #turned(): void {
    const { clock, settleMs, store, spool, openStoreBytes } = this.#options;
    const isWorth = store.isOpen !== undefined && (store.isOpen() || spool.bytes >= openStoreBytes);
    if (isWorth && !this.#isSettling && !this.#stopped && clock.monotonicMs() >= this.#settleDueMs) {
      this.#isSettling = true;
      void this.#tryToSettle().finally(() => {
        this.#isSettling = false;
        this.#settleDueMs = clock.monotonicMs() + settleMs;
      });
    }
    this.#next();
  }

  async #flush(force: boolean): Promise<void> {
    const { spool, tally, count } = this.#options;
    const rows = tally.rows();
    const { taken, full = false, error } = await this.#write(rows, force);
    if (full && !this.#isFull) {
      count('spool_full');
      this.#options.logger.warn({ bytes: spool.bytes }, 'the spool of usage is full; usage is kept in memory');
    }
    this.#isFull = full;
    if (error !== undefined) {
      count('write_failed');
      this.#disk.failed(error);
    } else this.#disk.works();
    if (taken && rows.length > 0) count('spooled');
  }

  /** The sums go over to the spool within one turn of the process, so that none is written twice or not at all. */
  async #write(rows: ReturnType<UsageTally['rows']>, force: boolean) {
    const { spool, tally } = this.#options;
    tally.clear();
    this.#writing = rows.length;
    const outcome = await spool.write(rows, force);
    this.#writing = 0;
    // What came meanwhile is in there already; sums of the same key add up.
    if (!outcome.taken) for (const row of rows) tally.add(row, row);
    return outcome;
  }

  async #readLocal(): Promise<UsageRow[]> {
    const { spool, tally } = this.#options;
    await spool.adopt();
    return [...(await spool.readAll()), ...tally.rows()];
  }

  async #tryToSettle(): Promise<void> {
    try {
      await this.#inStore(() => this.#settle());
      this.#store.works();
    } catch (thrown) {
      this.#options.count('settle_failed');
      this.#store.failed(thrown);
    }
  }

  /** Settles all that is on the disk. @throws CodedError store_…, and what the file system says */
  async #settle(): Promise<UsageTable> {
    const { spool, store } = this.#options;
    const table = await store.table();
    await this.#onDisk(() => spool.adopt());
    // A segment is closed only for a store that takes it: else there would be one more after each try.
    if (spool.closed.length === 0) await table.probe();
    else await this.#settleClosed(table);
    await this.#onDisk(() => spool.closeOwn());
    await this.#settleClosed(table);
    await this.#prune(table);
    return table;
  }

  async #settleClosed(table: UsageTable): Promise<void> {
    const { spool, count } = this.#options;
    for (const segment of [...spool.closed]) {
      const rows = await this.#onDisk(() => this.#rowsOf(segment));
      const isNew = rows === undefined || (await table.settle({ ...segment, rows }));
      if (rows !== undefined) count(isNew ? 'settled' : 'repeated');
      await this.#onDisk(() => spool.remove(segment));
    }
  }

  /** Undefined: another scheduler has it. */
  async #rowsOf(segment: SpoolSegment) {
    try {
      return (await this.#options.spool.read(segment)).rows;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw thrown;
    }
  }

  async #prune(table: UsageTable): Promise<void> {
    const { clock, keepMs } = this.#options;
    if (clock.monotonicMs() < this.#pruneDueMs) return;
    await table.prune(clock.wallMs() - keepMs);
    this.#pruneDueMs = clock.monotonicMs() + PRUNE_PERIOD_MS;
  }
}

/** One per process. */
export function createUsageLedger(options: LedgerOptions): UsageLedger {
  return new Ledger(options);
}
