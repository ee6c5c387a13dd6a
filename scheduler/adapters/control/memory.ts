/**
 * The state in memory: a fold of the log, its newest events for whoever describes something, and who wants to be told.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { FleetEvent } from '../../core/events/event.ts';
import { createProjection, eventsOf, type Projection, restoreProjection } from '../../core/events/projection.ts';
import type { EventStore } from '../../core/events/store_port.ts';

/** Rows folded at once: between two batches the process does other work. */
const FOLD_ROWS = 500;
const MAX_RECENT = 1000;
const LATEST = Number.MAX_SAFE_INTEGER;

/** What is in memory. */
export interface Memory {
  projection: Projection;
  isRead: boolean;
  /** Hash of the last event that was folded. */
  hash: string;
  /** The newest checkpoint that is known, 0 for none. */
  checkpointSeq: number;
  readonly recent: FleetEvent[];
  readonly listeners: Set<(events: readonly FleetEvent[]) => void>;
  readonly readers: (() => void)[];
}

export const tell = ({ listeners }: Memory, events: readonly FleetEvent[]): void => {
  for (const listener of listeners) listener(events);
};

function remember(memory: Memory, events: readonly FleetEvent[]): void {
  memory.recent.push(...events.slice(-MAX_RECENT));
  if (memory.recent.length > MAX_RECENT) memory.recent.splice(0, memory.recent.length - MAX_RECENT);
}

/** The state of the newest checkpoint, and the newest events before it for `describe`. */
export async function restore(memory: Memory, store: EventStore): Promise<void> {
  memory.recent.length = 0;
  const checkpoint = await store.checkpointBefore(LATEST, LATEST);
  memory.checkpointSeq = checkpoint?.seq ?? 0;
  if (checkpoint === undefined) {
    memory.projection = createProjection();
    return;
  }
  const projection = restoreProjection(checkpoint.state, checkpoint.seq, checkpoint.atMs);
  if (projection === undefined)
    throw new CodedError('store_corrupt', `The checkpoint at event ${checkpoint.seq} cannot be read.`);
  const before = await store.read(Math.max(0, checkpoint.seq - FOLD_ROWS), FOLD_ROWS);
  memory.projection = projection;
  memory.hash = checkpoint.eventHash;
  remember(
    memory,
    [...eventsOf(before)].filter(({ seq }) => seq <= checkpoint.seq),
  );
}

/** Folds all that is new in the log. */
export async function readNew(memory: Memory, store: EventStore): Promise<void> {
  for (;;) {
    const after = memory.projection.seq();
    const rows = await store.read(after, FOLD_ROWS);
    const events = [...eventsOf(rows)];
    for (const event of events) memory.projection.apply(event);
    memory.hash = rows.at(-1)?.hash ?? memory.hash;
    remember(memory, events);
    if (events.length > 0) tell(memory, events);
    if (rows.length < FOLD_ROWS) return;
    if (memory.projection.seq() === after)
      throw new CodedError('store_corrupt', `The events after ${after} cannot be read.`);
  }
}

export function createMemory(): Memory {
  return {
    projection: createProjection(),
    isRead: false,
    hash: '',
    checkpointSeq: 0,
    recent: [],
    listeners: new Set(),
    readers: [],
  };
}
