/** Leases as rows, timed by the store's own clock: the clocks of schedulers may differ by minutes. */
import { CodedError } from '../../../lib/errors.ts';
import type { LeaseOutcome, LeaseStore } from '../../core/events/store_port.ts';
import { toLease } from './rows.ts';
import type { SqlRow } from './sql_driver.ts';
import type { Statements } from './statements.ts';

type Ask = (sql: string, params: readonly string[]) => Promise<readonly SqlRow[]>;

const MAX_TTL_MS = 3_600_000;
const NAME = /^[\x21-\x7e]{1,128}$/;

function check(name: string, holder: string, ttlMs: number): void {
  if (!NAME.test(name) || !NAME.test(holder))
    throw new CodedError('invalid_value', 'A lease and its holder are named by 1 to 128 printable characters.');
  if (!Number.isInteger(ttlMs) || ttlMs < 1 || ttlMs > MAX_TTL_MS)
    throw new CodedError('invalid_value', `A lease lasts 1 to ${MAX_TTL_MS} ms.`, { param: 'ttlMs' });
}

/** @param write asks for a change, `read` for nothing but an answer */
export function createLeases(sql: Statements, write: Ask, read: Ask): LeaseStore {
  const look: LeaseStore['look'] = async (name) => {
    const row = (await read(sql.look, [name]))[0];
    return row === undefined ? undefined : toLease(row);
  };
  const outcome = async (rows: readonly SqlRow[], name: string, otherwise: 'taken' | 'lost'): Promise<LeaseOutcome> => {
    const [row] = rows;
    if (row !== undefined) return { kind: 'held', lease: toLease(row) };
    const lease = await look(name);
    if (otherwise === 'taken' && lease !== undefined) return { kind: 'taken', lease };
    return { kind: 'lost', lease };
  };
  return {
    look,
    async acquire(name, holder, ttlMs, aboveEpoch = 0) {
      check(name, holder, ttlMs);
      return await outcome(await write(sql.acquire, [name, holder, String(ttlMs), String(aboveEpoch)]), name, 'taken');
    },
    async renew(name, holder, epoch, ttlMs) {
      check(name, holder, ttlMs);
      return await outcome(await write(sql.renew, [name, holder, String(epoch), String(ttlMs)]), name, 'lost');
    },
    async release(name, holder, epoch) {
      return await outcome(await write(sql.release, [name, holder, String(epoch)]), name, 'lost');
    },
  };
}
