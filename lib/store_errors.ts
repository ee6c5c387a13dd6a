/** The part of the error registry that is about the scheduler's store; error_table.ts takes it in. */
import type { ErrorSpec } from './error_table.ts';

const down = (when: string, next: string, retry = true): ErrorSpec => ({
  http: 503,
  grpc: 'UNAVAILABLE',
  type: 'server_error',
  retry,
  when,
  next,
});

const broken = (when: string, next: string): ErrorSpec => ({
  http: 500,
  grpc: 'FAILED_PRECONDITION',
  type: 'server_error',
  retry: false,
  when,
  next,
});

export const STORE_ERRORS = {
  store_unavailable: down(
    'The store cannot be reached, or the connection broke; a change may or may not have been made.',
    'Send the change again: what was made already is not made twice. Serving goes on meanwhile.',
  ),
  store_timeout: down(
    'The store did not answer in time; a change may or may not have been made.',
    'Send the change again: what was made already is not made twice. Look at the load of the store.',
  ),
  store_busy: down(
    'Others changed the store at the same time, more often than a change is tried again.',
    'Send the change again.',
  ),
  store_read_only: down(
    'The store takes no changes: it is a replica, or was made read-only.',
    'Point the scheduler at the primary, or make the store writable again.',
  ),
  store_full: down('The disk of the store is full.', 'Free space on the disk of the store; reading goes on meanwhile.'),
  store_refused: broken(
    'The store refused the connection or the statement: wrong user, missing right, or no such database.',
    'Correct the address of the store, or grant what the message names.',
  ),
  store_locked: broken(
    'The data folder of the embedded store cannot be held by this process alone.',
    'Stop the process that the message names, or put the folder on a local disk.',
  ),
  store_schema: broken(
    'The tables of the store are not those that this version knows.',
    'Do what the message says: run the newer version, or put the changed migration back.',
  ),
  store_corrupt: broken(
    'What the store holds does not verify or cannot be read.',
    'Run `sophia audit verify`, and restore the store from a backup.',
  ),
} as const satisfies Record<string, ErrorSpec>;
