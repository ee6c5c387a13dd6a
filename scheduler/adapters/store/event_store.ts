/**
 * The store's port over a database. It keeps three things in memory: how the store fares, the highest place of the log
 * that anybody here has seen, and whether the log still has it.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import { genesisHash, type Mac, rowHash } from '../../core/events/chain.ts';
import { type HeadProblem, judgeHead, type KnownPlace, type LogHead } from '../../core/events/head.ts';
import { type EventStore, MAX_READ } from '../../core/events/store_port.ts';
import {
  newStoreHealth,
  observeStore,
  type StoreHealth,
  type StoreObservation,
} from '../../core/events/store_state.ts';
import { append, type AppendDeps } from './append.ts';
import { createCheckpoints } from './checkpoints.ts';
import { createLeases } from './leases.ts';
import { migrate, migrationsFolder, readMigrations } from './migrate.ts';
import { toEntry, toEventRow, toHead } from './rows.ts';
import type { SqlDriver, SqlRow } from './sql_driver.ts';
import { SCHEMA_NAME, type Statements, statements } from './statements.ts';

export interface EventStoreOptions {
  readonly driver: SqlDriver;
  readonly mac: Mac;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** `sophia` when absent. */
  readonly schema?: string;
  /** Id for the log, if there is none yet. */
  readonly newLogId: string;
  readonly onHealth?: (health: StoreHealth) => void;
}

type Ask = (sql: string, params: readonly string[]) => Promise<readonly SqlRow[]>;

const OBSERVATIONS: Readonly<Record<string, StoreObservation['kind']>> = {
  store_unavailable: 'unreachable',
  store_refused: 'unreachable',
  store_corrupt: 'unreachable',
  store_timeout: 'timeout',
  store_read_only: 'read_only',
  store_full: 'full',
};

/** Watches every call of the driver, and tells who asks how the store fares. */
function watch(options: EventStoreOptions) {
  const { driver, clock } = options;
  let health = newStoreHealth(clock.monotonicMs());
  const observe = (seen: StoreObservation): void => {
    const before = health.state;
    health = observeStore(health, seen, clock.monotonicMs());
    if (health.state !== before) options.onHealth?.(health);
  };
  const ask =
    (wrote: boolean, repeatable: boolean): Ask =>
    async (sql, params) => {
      const startedMs = clock.monotonicMs();
      try {
        const rows = await driver.query(sql, params, { repeatable });
        observe({ kind: 'ok', tookMs: clock.monotonicMs() - startedMs, wrote });
        return rows;
      } catch (thrown) {
        const code = thrown instanceof CodedError ? thrown.code : 'internal';
        const kind = OBSERVATIONS[code];
        if (kind !== undefined) observe({ kind, message: (thrown as Error).message } as StoreObservation);
        throw thrown;
      }
    };
  return { observe, ask, health: () => health };
}

/** What is known of the log's end, and whether the log still agrees. */
function createMemory(observe: (seen: StoreObservation) => void) {
  let known: { place: KnownPlace; logId: string } | undefined;
  let problem: HeadProblem | undefined;
  return {
    known: () => known?.place,
    saw(place: KnownPlace, logId: string): void {
      if (known === undefined || place.seq >= known.place.seq)
        known = { place: { seq: place.seq, hash: place.hash }, logId };
    },
    judge(head: LogHead, place: KnownPlace | undefined, hashAt: string | undefined): HeadProblem | undefined {
      const before = problem;
      problem = known === undefined || place === undefined ? undefined : judgeHead(head, place, known.logId, hashAt);
      if (problem !== undefined || before !== undefined) observe({ kind: 'head', problem });
      return problem;
    },
    forget(): void {
      known = undefined;
      if (problem !== undefined) observe({ kind: 'head', problem: undefined });
      problem = undefined;
    },
  };
}

function bounded(limit: number): string {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_READ)
    throw new CodedError('invalid_value', `At most ${MAX_READ} rows are read at once.`, { param: 'limit' });
  return String(limit);
}

/** The log's key is not that of this log: anything written under it would look forged. */
async function checkKey(sql: Statements, ask: Ask, head: LogHead, mac: Mac): Promise<void> {
  const [last] = await ask(sql.readLast, []);
  const isRight =
    last === undefined
      ? head.seq > 0 || head.hash === genesisHash(mac, head.logId)
      : rowHash(mac, last['prev_hash'] ?? '', last['body'] ?? '') === last['hash'];
  if (!isRight)
    throw new CodedError(
      'store_corrupt',
      'The last event does not verify: the key is not that of this log, or the event was changed.',
    );
}

/**
 * Brings the tables up to date and opens the store.
 * @throws CodedError store_schema, store_corrupt when the key is not that of the log, and what the store says
 */
export async function openEventStore(options: EventStoreOptions): Promise<EventStore> {
  const { mac, clock, random, driver } = options;
  const schema = options.schema ?? 'sophia';
  if (!SCHEMA_NAME.test(schema))
    throw new CodedError('invalid_value', 'A schema has up to 63 lower-case letters, digits and _.');
  const sql = statements(schema);
  await migrate(driver, schema, readMigrations(migrationsFolder()));
  const { ask, observe, health } = watch(options);
  const read = ask(false, true);
  const write = ask(true, true);
  await write(sql.createHead, [options.newLogId, genesisHash(mac, options.newLogId)]);
  const memory = createMemory(observe);
  let logId = '';
  const head: EventStore['head'] = async () => toHead((await read(sql.head, []))[0]);
  const readRows: EventStore['read'] = async (afterSeq, limit) =>
    (await read(sql.read, [String(afterSeq), bounded(limit)])).map(toEventRow);
  const opened = await head();
  logId = opened.logId;
  await checkKey(sql, read, opened, mac);
  const deps: AppendDeps = {
    sql,
    mac,
    clock,
    random,
    read,
    write: ask(true, false),
    known: () => memory.known(),
    judge: (now, known, hashAt) => memory.judge(now, known, hashAt),
    saw: (place) => memory.saw(place, logId),
  };
  return {
    head,
    read: readRows,
    append: (request) => append(deps, request),
    async *follow(afterSeq, pollMs, signal) {
      for (let at = afterSeq; !signal.aborted; ) {
        const rows = await readRows(at, MAX_READ);
        at = rows.at(-1)?.seq ?? at;
        if (rows.length > 0) yield rows;
        else await wait(clock, pollMs, signal);
      }
    },
    async get(area, kind, name) {
      const row = (await read(sql.get, [area, kind, name]))[0];
      return row === undefined ? undefined : toEntry(row);
    },
    async list(area, after, limit) {
      return (await read(sql.list, [area, after.kind, after.name, bounded(limit)])).map(toEntry);
    },
    leases: createLeases(sql, write, read),
    ...createCheckpoints(sql, mac, { head, read: readRows }, write, read),
    async remember(place, ofLog) {
      memory.saw(place, ofLog);
      const known = memory.known() ?? place;
      const now = await head();
      const [row] = known.seq > 0 ? await readRows(known.seq - 1, 1) : [];
      return memory.judge(now, known, row?.seq === known.seq ? row.hash : undefined);
    },
    async acceptLog() {
      const now = await head();
      memory.forget();
      logId = now.logId;
      memory.saw(now, now.logId);
    },
    health,
    close: () => driver.close(),
  };
}

/** Resolves after `ms`, or at once when the signal fires. */
function wait(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const done = (): void => {
      cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    signal.addEventListener('abort', done, { once: true });
  });
}
