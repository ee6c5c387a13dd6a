/**
 * Keeps an engine's batches in order. They are numbered from 0; one that is missing was lost on the way, and the engine
 * can send the newest ones again. What comes meanwhile waits, bounded; what is still missing after that is gone, and with
 * it the picture of the cache.
 */

export interface Batch<Payload> {
  readonly seq: number;
  readonly payload: Payload;
}

export type SequenceStep<Payload> =
  | { readonly kind: 'apply'; readonly batches: readonly Batch<Payload>[]; readonly lost: boolean }
  /** Batches from `from` on are to be asked for again; what comes live waits until they have come. */
  | { readonly kind: 'replay'; readonly from: number }
  | { readonly kind: 'wait' };

export interface Sequencer<Payload> {
  /** The number that comes next. */
  readonly next: number;
  readonly waiting: boolean;
  /** Batches that came twice. */
  readonly repeated: number;
  live(batch: Batch<Payload>): SequenceStep<Payload>;
  /** The engine has sent again what it still had, in order. */
  replayed(batches: readonly Batch<Payload>[]): SequenceStep<Payload>;
}

/** Batches of one step each that may come while older ones are sent again: many seconds of a busy engine. */
const MAX_WAITING = 4096;

/** @param next the first number that is wanted; what the engine published before is asked for at once */
export function createSequencer<Payload>(next: number): Sequencer<Payload> {
  return new Order(next);
}

class Order<Payload> implements Sequencer<Payload> {
  next: number;
  waiting = true;
  repeated = 0;
  #held: Batch<Payload>[] = [];

  constructor(next: number) {
    this.next = next;
  }

  live(batch: Batch<Payload>): SequenceStep<Payload> {
    if (this.waiting) {
      this.#held.push(batch);
      // The oldest of too many is dropped: that it is missing will show.
      if (this.#held.length > MAX_WAITING) this.#held.shift();
      return { kind: 'wait' };
    }
    if (batch.seq < this.next) {
      this.repeated += 1;
      return { kind: 'wait' };
    }
    if (batch.seq > this.next) {
      this.waiting = true;
      this.#held = [batch];
      return { kind: 'replay', from: this.next };
    }
    this.next = batch.seq + 1;
    return { kind: 'apply', batches: [batch], lost: false };
  }

  replayed(batches: readonly Batch<Payload>[]): SequenceStep<Payload> {
    const all = [...batches, ...this.#held].sort((a, b) => a.seq - b.seq);
    this.#held = [];
    this.waiting = false;
    const apply: Batch<Payload>[] = [];
    let lost = false;
    for (const batch of all) {
      if (batch.seq < this.next) {
        this.repeated += 1;
        continue;
      }
      if (batch.seq > this.next) {
        // Everything before the gap is in doubt as well: what was removed in it is still believed.
        lost = true;
        apply.length = 0;
      }
      apply.push(batch);
      this.next = batch.seq + 1;
    }
    return { kind: 'apply', batches: apply, lost };
  }
}
