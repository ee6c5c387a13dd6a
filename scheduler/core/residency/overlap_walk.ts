/**
 * Walks a prompt's blocks through the table and notes for each engine how many leading ones it holds. Engines fall out of
 * one bit set as the walk goes on, 32 at a time; where a block has the set and the age of the one before, which is the
 * rule within a prefix, a block costs one look into the table.
 */
import type { BlockTable } from './block_table.ts';
import type { EngineSets } from './engine_sets.ts';
import type { Evictions } from './evictions.ts';

export interface OverlapWalk {
  readonly bytes: number;
  /** Leading blocks held by the engine of `slot`, as of the last walk. */
  depthOf(slot: number): number;
  /** @param hashes two words a block, as in PromptBlocks */
  walk(hashes: Uint32Array): void;
}

export interface WalkParts {
  readonly table: BlockTable;
  readonly sets: EngineSets;
  readonly evictions: Evictions;
  /** Engines that tell of their evictions themselves. */
  readonly tells: Uint8Array;
  readonly maxSlots: number;
}

export function createOverlapWalk(parts: WalkParts): OverlapWalk {
  return new Walk(parts);
}

class Walk implements OverlapWalk {
  readonly bytes: number;
  readonly #parts: WalkParts;
  /** Engines that hold all blocks so far. */
  readonly #alive: Uint32Array;
  readonly #depths: Uint32Array;
  /** Slots whose depth is not 0, to be cleared before the next walk. */
  readonly #noted: Uint16Array;
  #notedCount = 0;
  /** Words of `alive` behind which none is set. */
  #aliveWords = 0;

  constructor(parts: WalkParts) {
    this.#parts = parts;
    this.#alive = new Uint32Array(Math.ceil(parts.maxSlots / 32));
    this.#depths = new Uint32Array(parts.maxSlots);
    this.#noted = new Uint16Array(parts.maxSlots);
    this.bytes = this.#alive.byteLength + this.#depths.byteLength + this.#noted.byteLength;
  }

  depthOf(slot: number): number {
    return this.#depths[slot] as number;
  }

  walk(hashes: Uint32Array): void {
    for (let i = 0; i < this.#notedCount; i++) this.#depths[this.#noted[i] as number] = 0;
    this.#notedCount = 0;
    const { table } = this.#parts;
    const blocks = hashes.length >>> 1;
    let set = 0;
    let tick = -1;
    this.#aliveWords = this.#parts.sets.usedWords;
    this.#alive.fill(0xffffffff, 0, this.#aliveWords);
    for (let block = 0; block < blocks; block++) {
      const place = table.find(hashes[2 * block] as number, hashes[2 * block + 1] as number);
      if (place < 0) {
        this.#end(block);
        return;
      }
      if (table.setOf(place) === set && table.tickAt(place) === tick) continue;
      set = table.setOf(place);
      tick = table.tickAt(place);
      if (!this.#keep(set, tick, block)) return;
    }
    this.#end(blocks);
  }

  /** Of the engines so far, keeps those of the set; @returns false when none is left */
  #keep(set: number, tick: number, block: number): boolean {
    const { sets, evictions } = this.#parts;
    const guess = evictions.mayBeDropped(tick);
    const alive = this.#alive;
    const { bits } = sets;
    const start = sets.startOf(set);
    let end = 0;
    for (let w = 0; w < this.#aliveWords; w++) {
      const before = alive[w] as number;
      if (before === 0) continue;
      let kept = before & (start < 0 ? sets.word(set, w) : (bits[start + w] as number));
      if (guess && kept !== 0) kept = this.#withoutDropped(kept, w, tick);
      if (kept !== 0) end = w + 1;
      if (kept === (before | 0)) continue;
      if (block > 0) this.#note(before & ~kept, w, block);
      alive[w] = kept;
    }
    this.#aliveWords = end;
    return end > 0;
  }

  #withoutDropped(bits: number, w: number, tick: number): number {
    const { evictions, tells } = this.#parts;
    let kept = bits;
    for (let rest = bits; rest !== 0; rest &= rest - 1) {
      const lowest = rest & -rest;
      const slot = w * 32 + 31 - Math.clz32(lowest);
      if (tells[slot] === 0 && evictions.dropped(slot, tick)) kept &= ~lowest;
    }
    return kept;
  }

  #end(block: number): void {
    if (block === 0) return;
    for (let w = 0; w < this.#aliveWords; w++) this.#note(this.#alive[w] as number, w, block);
  }

  #note(bits: number, w: number, depth: number): void {
    for (let rest = bits; rest !== 0; rest &= rest - 1) {
      const slot = w * 32 + 31 - Math.clz32(rest & -rest);
      this.#depths[slot] = depth;
      this.#noted[this.#notedCount++] = slot;
    }
  }
}
