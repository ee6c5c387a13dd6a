/**
 * The hash chain. Each row's hash is a keyed MAC over the hash before and the row's own bytes, so that nobody who has
 * only the database can write a row that verifies (Schneier and Kelsey, "Secure Audit Logs to Support Computer
 * Forensics", 1999). A row keeps the hash before it as well: a row is then provably genuine by itself, and damage to one
 * does not hide what its neighbours say.
 */
import { encodeEvent, type EventRow, type FleetEvent } from './event.ts';

/** HMAC-SHA-256 under the log's key over the UTF-8 bytes of `text`, as 64 hex digits. */
export type Mac = (text: string) => string;

/** The purposes are told apart in the MAC's input, so that a value of one cannot stand for another. */
const PURPOSES = {
  genesis: 'sophia.log.v1',
  event: 'sophia.event.v1',
  checkpoint: 'sophia.checkpoint.v1',
  archive: 'sophia.archive.v1',
} as const;

/** What stands as the hash before the first row of the log with this id. */
export const genesisHash = (mac: Mac, logId: string): string => mac(`${PURPOSES.genesis}\n${logId}`);

export const rowHash = (mac: Mac, prevHash: string, body: string): string =>
  mac(`${PURPOSES.event}\n${prevHash}\n${body}`);

/** Seals a checkpoint: `state` is the canonical text of the entries after the event `seq` with this hash. */
export const checkpointHash = (mac: Mac, seq: number, eventHash: string, state: string): string =>
  mac(`${PURPOSES.checkpoint}\n${seq}\n${eventHash}\n${state}`);

/** Seals that the rows up to `seq` were archived: else their absence could be explained away by one number. */
export const archiveHash = (mac: Mac, seq: number, eventHash: string): string =>
  mac(`${PURPOSES.archive}\n${seq}\n${eventHash}`);

/** The row of an event after the row with `prevHash`. */
export function sealEvent(mac: Mac, prevHash: string, event: FleetEvent): EventRow {
  const body = encodeEvent(event);
  return {
    seq: event.seq,
    atMs: event.atMs,
    kind: event.kind,
    resourceKind: event.resource.kind,
    resourceName: event.resource.name,
    prevHash,
    hash: rowHash(mac, prevHash, body),
    body,
  };
}
