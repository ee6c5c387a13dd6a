/**
 * PostgreSQL by `pg`. Nothing here keeps state in a session: limits are set inside each transaction (SET LOCAL),
 * statements have no names, nobody listens; so it works behind pgbouncer's transaction pool (its documentation, "SQL
 * feature map for pooling modes").
 */
import pg from 'pg';
import type { BackoffPolicy } from '../../../lib/backoff.ts';
import type { Clock } from '../../../lib/clock.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import { createRepeat } from './repeat.ts';
import type { SqlDriver, SqlRow } from './sql_driver.ts';

export interface PgDriverOptions {
  /** postgres://user:password@host:port/database */
  readonly url: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly maxConnections?: number;
  readonly connectTimeoutMs?: number;
  readonly statementTimeoutMs?: number;
}

const MAX_CONNECTIONS = 4;
const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 10_000;
const IDLE_MS = 30_000;
/** How much longer than the database's own limit this side waits, for a server that does not answer at all. */
const GRACE_MS = 2_000;
const PAUSES: BackoffPolicy = { baseMs: 20, capMs: 1_000, minMs: 5 };

const PLAIN = { getTypeParser: () => (text: string) => text };

/** A role may have synchronous_commit off, and then an acknowledged change may be lost; stronger settings stay. */
const opening = (timeoutMs: number): string =>
  `begin isolation level read committed; set local statement_timeout = ${timeoutMs}; ` +
  `set local lock_timeout = ${timeoutMs}; set local idle_in_transaction_session_timeout = ${timeoutMs + GRACE_MS}; ` +
  `select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'`;

/** One transaction with one statement. A connection on which anything failed but the statement is not used again. */
async function runOnce(pool: pg.Pool, sql: string, params: readonly string[], timeoutMs: number): Promise<SqlRow[]> {
  const client = await pool.connect();
  const limit = { query_timeout: timeoutMs + GRACE_MS };
  try {
    await client.query({ text: opening(timeoutMs), ...limit });
    const result = await client.query({ text: sql, values: [...params], ...limit });
    await client.query({ text: 'commit', ...limit });
    client.release();
    return result.rows as SqlRow[];
  } catch (thrown) {
    client.release(true);
    throw thrown;
  }
}

export function createPgDriver(options: PgDriverOptions): SqlDriver {
  const statementTimeoutMs = options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS;
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.maxConnections ?? MAX_CONNECTIONS,
    connectionTimeoutMillis: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    idleTimeoutMillis: IDLE_MS,
    keepAlive: true,
    application_name: 'sophia-scheduler',
    types: PLAIN,
  });
  let closed = false;
  // An idle connection that breaks is taken out by the pool itself; the next statement opens another.
  pool.on('error', () => undefined);
  // One that breaks while it is lent tells it twice: to whoever waits for an answer, and as an event.
  pool.on('connect', (client) => {
    client.on('error', () => undefined);
  });
  const { clock, random } = options;
  const repeat = createRepeat({ clock, random, pauses: PAUSES, isClosed: () => closed });
  return {
    query: (sql, params, asked) =>
      repeat(asked, () => runOnce(pool, sql, params, asked.timeoutMs ?? statementTimeoutMs)),
    async close() {
      if (closed) return;
      closed = true;
      await pool.end();
    },
  };
}
