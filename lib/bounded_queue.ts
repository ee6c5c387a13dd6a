/**
 * A queue with two bounds, a count and a weight (bytes, tokens, whatever the caller counts), because a bound on the
 * count alone does not bound memory. What does not fit is handed back to the caller, never lost silently: whoever
 * pushes decides what a dropped item means (a metric, an error to a client).
 */

/** `refuse` hands the new item back; `drop_oldest` makes room for it by handing the oldest ones back. */
export type OverflowPolicy = 'refuse' | 'drop_oldest';

export interface QueueLimits {
  /** Most items at a time; an integer of at least 1. */
  readonly maxCount: number;
  /** Most weight at a time, in the unit of the weights that are pushed; at least 1. */
  readonly maxWeight: number;
  readonly overflow: OverflowPolicy;
}

export interface BoundedQueue<T> {
  /**
   * Adds `item`, which weighs `weight` (1 when absent, never negative). Returns what did not stay: the item itself when
   * it was refused, the oldest items when they were dropped for it, nothing when it fitted. An item heavier than the
   * whole queue is handed back under either policy and displaces nothing.
   */
  push(item: T, weight?: number): readonly T[];
  /** Takes the oldest item, or `undefined` when the queue is empty. */
  shift(): T | undefined;
  /** The oldest item without taking it. */
  peek(): T | undefined;
  /** Takes everything, oldest first. */
  drain(): T[];
  /** Takes every item for which `matches` is true, oldest first: for the cancellation of queued work. */
  removeWhere(matches: (item: T) => boolean): T[];
  readonly count: number;
  readonly weight: number;
}

const NOTHING: readonly never[] = Object.freeze([]);
/** Taken slots at the front are given back to the allocator once there are this many of them. */
const COMPACT_AFTER = 64;

interface Entry<T> {
  readonly item: T;
  readonly weight: number;
}

function requirePositive(name: string, value: number): void {
  if (!(value >= 1)) throw new RangeError(`${name} must be at least 1, not ${value}`);
}

function partition<T>(entries: readonly Entry<T>[], matches: (item: T) => boolean) {
  const removed: Entry<T>[] = [];
  const kept: Entry<T>[] = [];
  for (const entry of entries) (matches(entry.item) ? removed : kept).push(entry);
  return { removed, kept };
}

/** Creates an empty queue; limits below 1 are a programming error (RangeError). */
export function createBoundedQueue<T>(limits: QueueLimits): BoundedQueue<T> {
  requirePositive('maxCount', limits.maxCount);
  requirePositive('maxWeight', limits.maxWeight);
  let entries: Entry<T>[] = [];
  let head = 0;
  let totalWeight = 0;

  const take = (): Entry<T> | undefined => {
    const entry = entries[head];
    if (entry === undefined) return undefined;
    head += 1;
    totalWeight -= entry.weight;
    if (head >= COMPACT_AFTER && head * 2 >= entries.length) {
      entries = entries.slice(head);
      head = 0;
    }
    return entry;
  };
  const fits = (weight: number): boolean =>
    entries.length - head < limits.maxCount && totalWeight + weight <= limits.maxWeight;

  return {
    push(item, weight = 1) {
      if (!(weight >= 0)) throw new RangeError(`weight must be at least 0, not ${weight}`);
      if (weight > limits.maxWeight) return [item];
      let dropped: T[] | undefined;
      while (!fits(weight)) {
        if (limits.overflow === 'refuse') return [item];
        // The item alone would fit, so a queue that it does not fit in holds something.
        const oldest = take() as Entry<T>;
        dropped ??= [];
        dropped.push(oldest.item);
      }
      entries.push({ item, weight });
      totalWeight += weight;
      return dropped ?? NOTHING;
    },
    shift() {
      return take()?.item;
    },
    peek() {
      return entries[head]?.item;
    },
    drain() {
      const all = entries.slice(head).map((entry) => entry.item);
      entries = [];
      head = 0;
      totalWeight = 0;
      return all;
    },
    removeWhere(matches) {
      const { removed, kept } = partition(entries.slice(head), matches);
      for (const entry of removed) totalWeight -= entry.weight;
      entries = kept;
      head = 0;
      return removed.map((entry) => entry.item);
    },
    get count() {
      return entries.length - head;
    },
    get weight() {
      return totalWeight;
    },
  };
}
