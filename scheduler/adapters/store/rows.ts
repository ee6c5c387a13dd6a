/** Rows of the database as the core's types, and the core's types as parameters. */
import { CodedError } from '../../../lib/errors.ts';
import type { EventRow } from '../../core/events/event.ts';
import type { LogHead } from '../../core/events/head.ts';
import { type Entry, entryBody, entryOf } from '../../core/events/projection.ts';
import type { Checkpoint, Lease } from '../../core/events/store_port.ts';
import type { SqlRow } from './sql_driver.ts';

const corrupt = (what: string): CodedError =>
  new CodedError('store_corrupt', `The store holds ${what} that cannot be read.`);

const text = (row: SqlRow, column: string): string => row[column] ?? '';

function whole(row: SqlRow, column: string): number {
  const value = Number(row[column] ?? Number.NaN);
  if (!Number.isSafeInteger(value)) throw corrupt(`a number in ${column}`);
  return value;
}

export function toEventRow(row: SqlRow): EventRow {
  return {
    seq: whole(row, 'seq'),
    atMs: whole(row, 'at_ms'),
    kind: text(row, 'kind'),
    resourceKind: text(row, 'resource_kind'),
    resourceName: text(row, 'resource_name'),
    prevHash: text(row, 'prev_hash'),
    hash: text(row, 'hash'),
    body: text(row, 'body'),
  };
}

export function toHead(row: SqlRow | undefined): LogHead & { readonly nowMs: number } {
  if (row === undefined) throw corrupt('no head of the log, or one');
  return {
    logId: text(row, 'log_id'),
    seq: whole(row, 'seq'),
    hash: text(row, 'hash'),
    atMs: whole(row, 'at_ms'),
    archivedSeq: whole(row, 'archived_seq'),
    archivedMac: text(row, 'archived_mac'),
    nowMs: whole(row, 'now_ms'),
  };
}

/** @throws CodedError store_corrupt */
export function toEntry(row: SqlRow): Entry {
  const [area, kind, name] = [text(row, 'area'), text(row, 'kind'), text(row, 'name')];
  const entry = entryOf(area, kind, name, whole(row, 'version'), text(row, 'body'));
  if (entry === undefined) throw corrupt(`an entry ${area}/${kind}/${name}`);
  return entry;
}

/** Entries as the statement `facts` aggregates them. */
export function toEntries(aggregated: string | null): Entry[] {
  if (aggregated === null) return [];
  return (JSON.parse(aggregated) as [string, string, string, number, string][]).map(
    ([area, kind, name, version, body]) => toEntry({ area, kind, name, version: String(version), body }),
  );
}

export function toLease(row: SqlRow): Lease {
  return {
    name: text(row, 'name'),
    holder: text(row, 'holder'),
    epoch: whole(row, 'epoch'),
    leftMs: whole(row, 'left_ms'),
  };
}

export function toCheckpoint(row: SqlRow): Checkpoint {
  return {
    seq: whole(row, 'seq'),
    eventHash: text(row, 'event_hash'),
    atMs: whole(row, 'at_ms'),
    state: text(row, 'state'),
    mac: text(row, 'mac'),
  };
}

export const entryParam = (entry: Entry): object => ({
  area: entry.area,
  kind: entry.kind,
  name: entry.name,
  version: entry.version,
  body: entryBody(entry),
});
