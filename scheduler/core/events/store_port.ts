/**
 * What the scheduler knows of its store. The log is append-only; current state is a read model that moves in the same
 * step. Expected outcomes are values; a CodedError says that the store could not do its part, and then nothing is known
 * of an append but what a repetition with the same idempotency id will say.
 */
import type { EventDraft, EventRow } from './event.ts';
import type { HeadProblem, KnownPlace, LogHead } from './head.ts';
import type { Area } from './kinds.ts';
import type { Entry } from './projection.ts';
import type { StoreHealth } from './store_state.ts';

/** `number`: exactly this version; 0 and `absent`: the entry must not be there. */
export type Expected = number | 'absent' | 'present' | 'any';

export interface AppendItem extends EventDraft {
  /** What the caller knows of the entry's version; `any` when absent. */
  readonly expected?: Expected;
}

/** A lease that the writer must still hold: the store refuses when a newer epoch is there. */
export interface Fence {
  readonly lease: string;
  readonly epoch: number;
}

export interface AppendRequest {
  /** Names this append for good: whoever repeats it gets the first one's answer. 1 to 128 printable characters. */
  readonly idempotencyId: string;
  /** 1 to MAX_APPEND events, written all or none. */
  readonly items: readonly AppendItem[];
  readonly fence?: Fence;
}

export const MAX_APPEND = 1000;

export type AppendOutcome =
  | {
      readonly kind: 'appended';
      readonly firstSeq: number;
      readonly lastSeq: number;
      /** Hash of the last of them. */
      readonly hash: string;
      /** It had been applied before, by an earlier try. */
      readonly repeated: boolean;
    }
  /** The entry of item `index` has another version; 0: it is not there. */
  | { readonly kind: 'conflict'; readonly index: number; readonly expected: Expected; readonly actual: number }
  | { readonly kind: 'invalid'; readonly index: number; readonly problem: string }
  /** The idempotency id was used for other items. */
  | { readonly kind: 'id_reused' }
  /** The lease is not held under this epoch any more; `epoch` is the newest, 0 when there is none. */
  | { readonly kind: 'fenced'; readonly epoch: number }
  /** The log is not the one that was known; nothing is written onto it. */
  | { readonly kind: 'behind'; readonly problem: HeadProblem };

/** A lease as it is now; times are durations by the store's own clock. */
export interface Lease {
  readonly name: string;
  readonly holder: string;
  /** Rises with each new holder, and never falls: the fencing token. */
  readonly epoch: number;
  /** Until it ends, if nobody renews it; 0 or less: it has ended. */
  readonly leftMs: number;
}

export type LeaseOutcome =
  | { readonly kind: 'held'; readonly lease: Lease }
  /** Somebody else holds it. */
  | { readonly kind: 'taken'; readonly lease: Lease }
  /** There is no such lease, or not under this holder and epoch any more. */
  | { readonly kind: 'lost'; readonly lease: Lease | undefined };

/** Leases are rows, not locks of a session: those do not survive a pooler. Holders are unique per process life. */
export interface LeaseStore {
  /**
   * Takes the lease when it is free or has ended; a holder that still has it keeps its epoch.
   * @param aboveEpoch the new epoch is higher than this: what agents have seen, after a store came back from a backup
   */
  acquire(name: string, holder: string, ttlMs: number, aboveEpoch?: number): Promise<LeaseOutcome>;
  /** Extends it, also after it has ended, as long as nobody else took it. */
  renew(name: string, holder: string, epoch: number, ttlMs: number): Promise<LeaseOutcome>;
  /** Ends it at once; the epoch stays known. */
  release(name: string, holder: string, epoch: number): Promise<LeaseOutcome>;
  look(name: string): Promise<Lease | undefined>;
}

export interface Checkpoint {
  readonly seq: number;
  /** Hash of the event `seq`. */
  readonly eventHash: string;
  readonly atMs: number;
  /** Canonical text of all entries. */
  readonly state: string;
  /** Seals the above under the log's key. */
  readonly mac: string;
}

export type ArchiveOutcome =
  | { readonly kind: 'archived'; readonly upTo: number; readonly events: number }
  /** What archiving needs first: a checkpoint at or after the event, and an anchor at or after that checkpoint. */
  | { readonly kind: 'not_covered'; readonly by: 'checkpoint' | 'anchor' };

export interface EventStore {
  append(request: AppendRequest): Promise<AppendOutcome>;
  /** The end of the log, and the store's wall clock. */
  head(): Promise<LogHead & { readonly nowMs: number }>;
  /** Rows after `afterSeq` in order, at most `limit` (up to MAX_READ) of them. */
  read(afterSeq: number, limit: number): Promise<readonly EventRow[]>;
  /** Rows after `afterSeq` as they come, until the signal fires; looks every `pollMs`. */
  follow(afterSeq: number, pollMs: number, signal: AbortSignal): AsyncIterable<readonly EventRow[]>;
  get(area: Area, kind: string, name: string): Promise<Entry | undefined>;
  /** Entries of an area by kind and name, after the given ones, at most `limit`. */
  list(area: Area, after: { readonly kind: string; readonly name: string }, limit: number): Promise<readonly Entry[]>;
  readonly leases: LeaseStore;
  /** Folds what is new onto the last checkpoint and keeps the result. Undefined when the log is empty. */
  checkpoint(): Promise<Checkpoint | undefined>;
  /** The newest checkpoint at or before both bounds; its seal has been verified. @throws CodedError store_corrupt */
  checkpointBefore(seq: number, atMs: number): Promise<Checkpoint | undefined>;
  /**
   * Hands the oldest rows to `keep` and removes them, up to the newest checkpoint that an anchor covers.
   * @param anchored the newest anchored place
   * @param keepEvents rows that stay in any case, counted from the end
   */
  archive(
    anchored: KnownPlace,
    keepEvents: number,
    keep: (rows: readonly EventRow[]) => Promise<void>,
  ): Promise<ArchiveOutcome>;
  /** A place that somebody (an anchor, an agent, a caller) has seen: the log must still have it. */
  remember(place: KnownPlace, logId: string): Promise<HeadProblem | undefined>;
  /** A person has looked at the gap and takes the log as it is. */
  acceptLog(): Promise<void>;
  health(): StoreHealth;
  close(): Promise<void>;
}

export const MAX_READ = 5000;
