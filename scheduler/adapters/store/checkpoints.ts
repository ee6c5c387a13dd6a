/**
 * Checkpoints of the state and the archive of old events. A checkpoint is folded from the one before, not from the read
 * model, so that it is what the events say.
 */
import { CodedError } from '../../../lib/errors.ts';
import { archiveHash, checkpointHash, type Mac } from '../../core/events/chain.ts';
import {
  createProjection,
  eventsOf,
  type Projection,
  replay,
  restoreProjection,
  type Until,
} from '../../core/events/projection.ts';
import type { ArchiveOutcome, Checkpoint, EventStore } from '../../core/events/store_port.ts';
import { MAX_READ } from '../../core/events/store_port.ts';
import { toCheckpoint } from './rows.ts';
import type { SqlRow } from './sql_driver.ts';
import type { Statements } from './statements.ts';

type Ask = (sql: string, params: readonly string[]) => Promise<readonly SqlRow[]>;
type Log = Pick<EventStore, 'head' | 'read'>;

/** Idempotency ids are remembered at least so long: far longer than anybody repeats a request. */
const REMEMBER_MS = 7 * 86_400_000;
const LATEST = Number.MAX_SAFE_INTEGER;

export interface Checkpoints {
  checkpoint: EventStore['checkpoint'];
  checkpointBefore: EventStore['checkpointBefore'];
  archive: EventStore['archive'];
}

/** @throws CodedError store_corrupt */
export function openCheckpoint({ state, seq, atMs }: Checkpoint): Projection {
  const projection = restoreProjection(state, seq, atMs);
  if (projection === undefined) throw new CodedError('store_corrupt', `The checkpoint at event ${seq} cannot be read.`);
  return projection;
}

export const sealHolds = (checkpoint: Checkpoint, mac: Mac): boolean =>
  checkpointHash(mac, checkpoint.seq, checkpoint.eventHash, checkpoint.state) === checkpoint.mac;

/**
 * The state of the fleet at some point of the past, from the newest checkpoint before it.
 * @throws CodedError invalid_value for a time before the oldest state that is still there, store_corrupt
 */
export async function stateAt(log: Log & Pick<EventStore, 'checkpointBefore'>, until: Until): Promise<Projection> {
  const start = await log.checkpointBefore(until.seq ?? LATEST, until.atMs ?? LATEST);
  const { archivedSeq } = await log.head();
  if (archivedSeq > (start?.seq ?? 0))
    throw new CodedError(
      'invalid_value',
      `The events up to ${archivedSeq} are archived; the state before them is not in the store.`,
    );
  const projection = start === undefined ? createProjection() : openCheckpoint(start);
  for (;;) {
    const rows = await log.read(projection.seq(), MAX_READ);
    const before = projection.seq();
    const { reachedEnd } = replay(eventsOf(rows), until, projection);
    if (rows.length === 0 || reachedEnd) return projection;
    if (projection.seq() === before)
      throw new CodedError('store_corrupt', `The events after ${before} cannot be read.`);
  }
}

export function createCheckpoints(sql: Statements, mac: Mac, log: Log, write: Ask, read: Ask): Checkpoints {
  const checkpointBefore: EventStore['checkpointBefore'] = async (seq, atMs) => {
    const row = (await read(sql.checkpointBefore, [String(seq), String(atMs)]))[0];
    if (row === undefined) return undefined;
    const checkpoint = toCheckpoint(row);
    if (!sealHolds(checkpoint, mac))
      throw new CodedError('store_corrupt', `The checkpoint at event ${checkpoint.seq} does not verify.`);
    return checkpoint;
  };
  const remove = async (upTo: Checkpoint, archivedSeq: number, nowMs: number): Promise<ArchiveOutcome> => {
    const seal = archiveHash(mac, upTo.seq, upTo.eventHash);
    const params = [String(upTo.seq), String(archivedSeq), String(nowMs - REMEMBER_MS), seal];
    const [row] = await write(sql.archive, params);
    if (row?.['moved'] !== '1') throw new CodedError('store_busy', 'Another scheduler archives at the same time.');
    return { kind: 'archived', upTo: upTo.seq, events: Number(row['events']) };
  };
  return {
    checkpointBefore,
    async checkpoint() {
      const head = await log.head();
      if (head.seq === 0) return undefined;
      const projection = await stateAt({ ...log, checkpointBefore }, { seq: head.seq });
      if (projection.seq() !== head.seq) throw new CodedError('store_corrupt', 'The log ends before its head.');
      const state = projection.snapshot();
      const seal = checkpointHash(mac, head.seq, head.hash, state);
      await write(sql.putCheckpoint, [String(head.seq), head.hash, String(head.atMs), state, seal]);
      return { seq: head.seq, eventHash: head.hash, atMs: head.atMs, state, mac: seal };
    },
    async archive(anchored, keepEvents, keep) {
      const head = await log.head();
      const [row] = await log.read(anchored.seq - 1, 1);
      const isKnown = row?.seq === anchored.seq && row.hash === anchored.hash;
      if (!isKnown) return { kind: 'not_covered', by: 'anchor' };
      const upTo = await checkpointBefore(Math.min(anchored.seq, head.seq - keepEvents), LATEST);
      if (upTo === undefined || upTo.seq <= head.archivedSeq) return { kind: 'not_covered', by: 'checkpoint' };
      for (let at = head.archivedSeq; at < upTo.seq; ) {
        const rows = (await log.read(at, MAX_READ)).filter(({ seq }) => seq <= upTo.seq);
        if (rows.length === 0) throw new CodedError('store_corrupt', `The events after ${at} are not there.`);
        await keep(rows);
        at = rows.at(-1)?.seq ?? upTo.seq;
      }
      return await remove(upTo, head.archivedSeq, head.nowMs);
    },
  };
}
