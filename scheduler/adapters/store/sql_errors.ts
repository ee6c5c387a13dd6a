/**
 * What a database's error means to us, as a table over SQLSTATE (PostgreSQL documentation, appendix A) and the errors of
 * sockets. This is the only place where foreign errors of the store are unwrapped.
 */
import { CodedError, type ErrorCode } from '../../../lib/errors.ts';

/** The longest matching prefix of the SQLSTATE counts. */
const SQLSTATES: readonly (readonly [prefix: string, code: ErrorCode, words: string])[] = [
  ['08', 'store_unavailable', 'The connection to the store broke.'],
  ['25006', 'store_read_only', 'The store is read-only.'],
  ['25P03', 'store_timeout', 'The store ended a transaction that stood idle.'],
  ['25P04', 'store_timeout', 'The store ended a transaction that took too long.'],
  ['28', 'store_refused', 'The store refused the user or the password.'],
  ['3D', 'store_refused', 'The store has no such database.'],
  ['40', 'store_busy', 'Others changed the store at the same time.'],
  ['42501', 'store_refused', 'The user of the store lacks a right.'],
  ['53100', 'store_full', 'The disk of the store is full.'],
  ['53', 'store_unavailable', 'The store has run out of a resource.'],
  ['55P03', 'store_timeout', 'The store did not get a lock in time.'],
  ['57014', 'store_timeout', 'The store did not finish in time.'],
  ['57P', 'store_unavailable', 'The store is starting or stopping.'],
  ['58030', 'store_full', 'The store cannot read or write its disk.'],
  ['58', 'store_corrupt', 'The store met an error of its system.'],
  ['XX001', 'store_corrupt', 'The store met damaged data.'],
  ['XX002', 'store_corrupt', 'The store met a damaged index.'],
];

/** Errors of sockets and of pg itself, by code or by a part of the message. */
const TIMEOUTS = /timeout expired|Query read timeout|ETIMEDOUT|timeout exceeded/i;

/** The SQLSTATE of a foreign error, or an empty text. */
export function sqlStateOf(thrown: unknown): string {
  const code = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : '';
}

/** Whether the database rolled the statement back for the sake of others and wants it again. */
export const isAborted = (state: string): boolean => state === '40001' || state === '40P01';

/** Turns what a database or its client threw into a coded error; the foreign one becomes its cause. */
export function toStoreError(thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const state = sqlStateOf(thrown);
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const row = SQLSTATES.filter(([prefix]) => state.startsWith(prefix)).toSorted(
    ([left], [right]) => right.length - left.length,
  )[0];
  if (state !== '' && row !== undefined) return new CodedError(row[1], `${row[2]} (${state})`, { cause: thrown });
  // Any other answer of the database to our own statements is a fault of this program.
  if (state !== '') return new CodedError('internal', `The store refused a statement (${state}).`, { cause: thrown });
  if (TIMEOUTS.test(text))
    return new CodedError('store_timeout', 'The store did not answer in time.', { cause: thrown });
  return new CodedError('store_unavailable', 'The store cannot be reached.', { cause: thrown });
}
