/**
 * The table of known prompt blocks: block hash -> the set of engines that hold it. It is set-associative as a processor's
 * cache is: a hash belongs to one bucket of eight places, so that a look-up touches two cache lines, an insertion never
 * moves another entry, nothing is ever rehashed, and the memory is what it was on the first day whatever the traffic.
 * A full bucket gives up its oldest block, and of equally old ones the one deepest in its prompt: an engine as well drops
 * the ends of prompts before their beginnings, and a chain without its beginning is worth nothing.
 */

/** 32-bit words of an entry: hash high, hash low, age and depth, set of engines (0: the place is free). */
const ENTRY_WORDS = 4;
const PLACES = 8;
const BUCKET_WORDS = PLACES * ENTRY_WORDS;
const DEPTH_BITS = 12;
const MAX_DEPTH = 2 ** DEPTH_BITS - 1;
const TICKS = 2 ** (32 - DEPTH_BITS);
/** Ages are told apart by the second, for 12 days; after that they wrap, and an old block may pass for a young one. */
const TICK_MS = 1000;

/** The tick of a monotonic time; a clock that says nothing sensible is tick 0. */
export function tickOf(nowMs: number): number {
  return (Math.floor(nowMs / TICK_MS) >>> 0) % TICKS;
}

/** Ticks from `tick` to `nowTick`, wrapped. */
export function ticksSince(tick: number, nowTick: number): number {
  return (nowTick - tick + TICKS) % TICKS;
}

/** True when `tick` is before `limit`, as far as half a turn of the wrapped clock tells. */
export function isBefore(tick: number, limit: number): boolean {
  const distance = ticksSince(tick, limit);
  return distance > 0 && distance < TICKS / 2;
}

/** True for a moment (-1: none) that is so far back that wrapping would soon make it lie ahead. */
export function isOutdated(tick: number, nowTick: number): boolean {
  return tick >= 0 && ticksSince(tick, nowTick) > TICKS / 4;
}

export interface BlockTable {
  readonly bytes: number;
  /** Places in the whole table. */
  readonly capacity: number;
  /** The place of a known block, -1 when it is not known. */
  find(high: number, low: number): number;
  /**
   * The place for a block that is about to get an engine; its set may be empty. -1 when every place of its bucket is
   * worth more. What stood there is given to `onEvicted`.
   */
  claim(high: number, low: number, tick: number, depth: number): number;
  setOf(place: number): number;
  /** Stores the set of engines; 0 frees the place. */
  setEngines(place: number, set: number): void;
  tickAt(place: number): number;
  /** The block was used: the age starts anew. */
  touch(place: number, tick: number, depth: number): void;
  /** The place of the n-th entry of the table, for whoever walks all of them. */
  placeAt(index: number): number;
}

/**
 * @param maxBytes upper bound of the table's memory, at least one bucket
 * @param onEvicted told of the set of each block that has to go
 */
export function createBlockTable(maxBytes: number, onEvicted: (set: number) => void): BlockTable {
  const buckets = Math.max(1, Math.floor(maxBytes / (BUCKET_WORDS * 4)));
  const words = new Uint32Array(buckets * BUCKET_WORDS);
  const startOf = (low: number): number => Math.floor(((low >>> 0) / 2 ** 32) * buckets) * BUCKET_WORDS;

  const find = (high: number, low: number): number => {
    const start = startOf(low);
    const end = start + BUCKET_WORDS;
    for (let place = start; place < end; place += ENTRY_WORDS) {
      if (words[place + 1] === low && words[place] === high && words[place + 3] !== 0) return place;
    }
    return -1;
  };

  /** A free place, else the one that is worth least, else -1 when that is the newcomer itself. */
  const victimIn = (start: number, tick: number, depth: number): number => {
    let victim = -1;
    let worst = depth;
    for (let place = start; place < start + BUCKET_WORDS; place += ENTRY_WORDS) {
      if (words[place + 3] === 0) return place;
      const used = words[place + 2] as number;
      const badness = ticksSince(used >>> DEPTH_BITS, tick) * (MAX_DEPTH + 1) + (used & MAX_DEPTH);
      if (badness <= worst) continue;
      worst = badness;
      victim = place;
    }
    return victim;
  };

  const touch = (place: number, tick: number, depth: number): void => {
    words[place + 2] = ((tick << DEPTH_BITS) | Math.min(depth, MAX_DEPTH)) >>> 0;
  };

  return {
    bytes: words.byteLength,
    capacity: buckets * PLACES,
    find,
    claim(high, low, tick, depth) {
      const known = find(high, low);
      if (known >= 0) {
        touch(known, tick, depth);
        return known;
      }
      const place = victimIn(startOf(low), tick, Math.min(depth, MAX_DEPTH));
      if (place < 0) return -1;
      const old = words[place + 3] as number;
      if (old !== 0) onEvicted(old);
      words[place] = high;
      words[place + 1] = low;
      words[place + 3] = 0;
      touch(place, tick, depth);
      return place;
    },
    setOf: (place) => words[place + 3] as number,
    setEngines(place, set) {
      words[place + 3] = set;
    },
    tickAt: (place) => (words[place + 2] as number) >>> DEPTH_BITS,
    touch,
    placeAt: (index) => index * ENTRY_WORDS,
  };
}
