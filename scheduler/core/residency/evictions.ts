/**
 * What an engine that does not tell is guessed to have evicted. An engine drops what it used longest ago, so all that it
 * has dropped lies before one moment: its horizon. Two things move it: the engine's own size where it is known (so many
 * new blocks since push so many old ones out), and answers that had fewer cached tokens than foretold. One such answer may
 * have other causes (the request before was cut before its prefill), so two must agree. An engine that time and again
 * had nothing at all of what was foretold caches nothing, and is believed to until it reports a cached token.
 */
import { isBefore, isOutdated, ticksSince } from './block_table.ts';

/** Moments kept for each engine: the horizon is right to one sixteenth of the engine's size. */
const MARKS = 16;
const NEVER = -1;
/** Answers in a row without one cached token, where some were foretold, after which an engine is thought not to cache. */
const MISSES_TO_DISTRUST = 8;
/** A block sent this short ago may not have been prefilled yet: that it is missing says nothing of evictions. */
const FRESH_TICKS = 10;

export const EVICTION_BYTES_PER_SLOT = 4 * (MARKS + 5) + 2;

export interface Evictions {
  /** True when the engine is thought to have dropped a block that it used last at `tick`. */
  dropped(slot: number, tick: number): boolean;
  /** False for a block of this age that no engine can have dropped: the common case, told cheaply. */
  mayBeDropped(tick: number): boolean;
  /** Blocks that fit into the engine's cache; 0: not known. */
  setCapacity(slot: number, blocks: number): void;
  /** New blocks were put in at `tick`. */
  filled(slot: number, blocks: number, tick: number): void;
  /**
   * An answer to compare with what was foretold.
   * @param foretoldTick when the last of the foretold blocks had been used before, -1: others hold it too, so not known
   */
  observed(slot: number, outcome: 'held' | 'less' | 'nothing', foretoldTick: number, nowTick: number): void;
  distrusts(slot: number): boolean;
  /** The slot is about to stand for another life. */
  reset(slot: number): void;
}

export function createEvictions(slots: number): Evictions {
  return new HorizonTable(slots);
}

class HorizonTable implements Evictions {
  readonly #horizons: Int32Array;
  readonly #suspects: Int32Array;
  readonly #capacities: Uint32Array;
  readonly #filled: Uint32Array;
  readonly #pushed: Uint32Array;
  readonly #marks: Uint32Array;
  readonly #misses: Uint8Array;
  /** The youngest horizon of any engine; it only ever moves on. */
  #youngest = NEVER;

  constructor(slots: number) {
    this.#horizons = new Int32Array(slots).fill(NEVER);
    this.#suspects = new Int32Array(slots).fill(NEVER);
    this.#capacities = new Uint32Array(slots);
    this.#filled = new Uint32Array(slots);
    this.#pushed = new Uint32Array(slots);
    this.#marks = new Uint32Array(slots * MARKS);
    this.#misses = new Uint8Array(slots);
  }

  dropped(slot: number, tick: number): boolean {
    const horizon = this.#horizons[slot] as number;
    return this.distrusts(slot) || (horizon !== NEVER && isBefore(tick, horizon));
  }

  mayBeDropped(tick: number): boolean {
    return this.#youngest !== NEVER && isBefore(tick, this.#youngest);
  }

  distrusts(slot: number): boolean {
    return (this.#misses[slot] as number) >= MISSES_TO_DISTRUST;
  }

  setCapacity(slot: number, blocks: number): void {
    this.#capacities[slot] = blocks;
  }

  filled(slot: number, blocks: number, tick: number): void {
    // Ticks wrap: a moment that is days past would some day seem to lie ahead.
    if (isOutdated(this.#horizons[slot] as number, tick)) this.#horizons[slot] = NEVER;
    if (isOutdated(this.#suspects[slot] as number, tick)) this.#suspects[slot] = NEVER;
    if (isOutdated(this.#youngest, tick)) this.#youngest = NEVER;
    const share = Math.ceil((this.#capacities[slot] as number) / MARKS);
    if (share === 0) return;
    const total = Math.min((this.#filled[slot] as number) + blocks, share * MARKS);
    this.#filled[slot] = total % share;
    for (let left = total; left >= share; left -= share) this.#mark(slot, tick);
  }

  observed(slot: number, outcome: 'held' | 'less' | 'nothing', foretoldTick: number, nowTick: number): void {
    this.#misses[slot] = outcome === 'nothing' ? Math.min((this.#misses[slot] as number) + 1, MISSES_TO_DISTRUST) : 0;
    const suspect = this.#suspects[slot] as number;
    if (outcome === 'held') {
      if (suspect !== NEVER && foretoldTick !== NEVER && !isBefore(suspect, foretoldTick)) this.#suspects[slot] = NEVER;
      return;
    }
    if (foretoldTick === NEVER || ticksSince(foretoldTick, nowTick) < FRESH_TICKS) return;
    if (suspect === NEVER) {
      this.#suspects[slot] = foretoldTick;
      return;
    }
    const older = isBefore(suspect, foretoldTick) ? suspect : foretoldTick;
    this.#suspects[slot] = older === suspect ? foretoldTick : suspect;
    this.#raise(slot, older + 1);
  }

  reset(slot: number): void {
    this.#horizons[slot] = NEVER;
    this.#suspects[slot] = NEVER;
    this.#capacities[slot] = 0;
    this.#filled[slot] = 0;
    this.#pushed[slot] = 0;
    this.#misses[slot] = 0;
  }

  /** One more sixteenth of the cache was filled; what was used before the sixteenth-last mark is out. */
  #mark(slot: number, tick: number): void {
    const pushed = this.#pushed[slot] as number;
    const at = slot * MARKS + (pushed % MARKS);
    if (pushed >= MARKS) this.#raise(slot, this.#marks[at] as number);
    this.#marks[at] = tick;
    this.#pushed[slot] = pushed + 1;
  }

  #raise(slot: number, tick: number): void {
    const horizon = this.#horizons[slot] as number;
    if (horizon === NEVER || isBefore(horizon, tick)) this.#horizons[slot] = tick;
    if (this.#youngest === NEVER || isBefore(this.#youngest, tick)) this.#youngest = tick;
  }
}
