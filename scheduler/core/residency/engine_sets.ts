/**
 * Sets of engines, each kept once. The blocks of one prefix are nearly always held by the same engines, so a block names
 * its set by a number and equal sets have equal numbers: a prefix of four hundred blocks on a thousand engines costs one
 * bit set, and whoever walks the blocks sees by one comparison that nothing has changed. A set of one or two engines is
 * its own number and takes no memory at all. Sets count who refers to them; all memory is taken at the start.
 */

/** Names a set. 0 is the empty one; the top bit marks a number of the pool, else one or two engines stand in it. */
export type SetRef = number;

const POOLED = 0x80000000;
const HALF_BITS = 15;
const HALF = 2 ** HALF_BITS - 1;
/** One less than a half can name, because 0 stands for none. */
export const MAX_SLOTS = HALF - 1;
const NONE = 0xffffffff;

export interface EngineSets {
  readonly bytes: number;
  /** Words of a set that may hold a bit: grows with the engines seen, so that a small fleet walks few. */
  readonly usedWords: number;
  /** Additions that found the pool full and forgot the other engines of the set instead. */
  readonly shortened: number;
  /** The set with `slot`; the caller's reference to `ref` becomes one to the answer. */
  add(ref: SetRef, slot: number): SetRef;
  /** The set without `slot`; the caller's reference to `ref` becomes one to the answer. */
  remove(ref: SetRef, slot: number): SetRef;
  has(ref: SetRef, slot: number): boolean;
  /** The set without the engines for which `gone` holds, as far as it stands in its own number; one that is empty becomes 0. */
  pruned(ref: SetRef, gone: (slot: number) => boolean): SetRef;
  release(ref: SetRef): void;
  /** 32 engines of a set as bits: word w holds the slots 32 w to 32 w + 31. */
  word(ref: SetRef, w: number): number;
  /** The words of every set of the pool, for whoever walks many of them. */
  readonly bits: Uint32Array;
  /** Where the words of a set begin in `bits`; -1: the set stands in its own number. */
  startOf(ref: SetRef): number;
  /** Takes an engine out of every set of the pool, in place. Sets of one or two are the caller's: they stand in the table. */
  drop(slot: number): void;
}

function isInline(ref: SetRef): boolean {
  return (ref & POOLED) === 0;
}

/** The set of one engine. */
export function single(slot: number): SetRef {
  return slot + 1;
}

/** @returns the slots of an inline set, [-1, -1] for the empty one */
function inlineSlots(ref: SetRef): readonly [number, number] {
  return [(ref & HALF) - 1, ((ref >>> HALF_BITS) & HALF) - 1];
}

function pair(a: number, b: number): SetRef {
  const [low, high] = a < b ? [a, b] : [b, a];
  return (low + 1) | ((high + 1) << HALF_BITS);
}

function inlineHas(ref: SetRef, slot: number): boolean {
  return (ref & HALF) - 1 === slot || ((ref >>> HALF_BITS) & HALF) - 1 === slot;
}

function inlineWithout(ref: SetRef, slot: number): SetRef {
  const [a, b] = inlineSlots(ref);
  if (a === slot) return b < 0 ? 0 : single(b);
  return b === slot ? single(a) : ref;
}

function inlineWord(ref: SetRef, w: number): number {
  const [a, b] = inlineSlots(ref);
  return (a >>> 5 === w ? 1 << (a & 31) : 0) | (b >>> 5 === w ? 1 << (b & 31) : 0);
}

/** A word of 32 random-looking bits for each engine: the hash of a set is the exclusive or of its engines' words. */
function wordOfSlot(slot: number): number {
  let mixed = Math.imul(slot + 0x9e3779b9, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

export function createEngineSets(maxBytes: number, maxSlots: number): EngineSets {
  return new SetPool(maxBytes, maxSlots);
}

class SetPool implements EngineSets {
  readonly bytes: number;
  usedWords = 1;
  shortened = 0;
  readonly #wordsPerSet: number;
  readonly bits: Uint32Array;
  readonly #hashes: Uint32Array;
  readonly #references: Uint32Array;
  readonly #sizes: Uint16Array;
  /** Next set with the same head, or the next free one. */
  readonly #next: Uint32Array;
  readonly #heads: Uint32Array;
  #free = 0;
  /** What the last addition or removal did: the next block of the same prompt wants the same. */
  #lastFrom = 0;
  #lastSlot = -1;
  #lastTo = 0;

  constructor(maxBytes: number, maxSlots: number) {
    this.#wordsPerSet = Math.ceil(maxSlots / 32);
    const bytesPerSet = this.#wordsPerSet * 4 + 18;
    const sets = Math.max(1, Math.floor(maxBytes / bytesPerSet));
    this.bits = new Uint32Array(sets * this.#wordsPerSet);
    this.#hashes = new Uint32Array(sets);
    this.#references = new Uint32Array(sets);
    this.#sizes = new Uint16Array(sets);
    this.#next = new Uint32Array(sets);
    this.#heads = new Uint32Array(sets).fill(NONE);
    for (let i = 0; i < sets; i++) this.#next[i] = i + 1 < sets ? i + 1 : NONE;
    this.bytes = sets * bytesPerSet;
  }

  has(ref: SetRef, slot: number): boolean {
    return isInline(ref) ? inlineHas(ref, slot) : this.#bitOf(ref & ~POOLED, slot);
  }

  word(ref: SetRef, w: number): number {
    return isInline(ref) ? inlineWord(ref, w) : (this.bits[(ref & ~POOLED) * this.#wordsPerSet + w] as number);
  }

  startOf(ref: SetRef): number {
    return isInline(ref) ? -1 : (ref & ~POOLED) * this.#wordsPerSet;
  }

  add(ref: SetRef, slot: number): SetRef {
    if (this.has(ref, slot)) return ref;
    this.usedWords = Math.max(this.usedWords, (slot >>> 5) + 1);
    if (ref === 0) return single(slot);
    if (isInline(ref) && ref >>> HALF_BITS === 0) return pair(ref - 1, slot);
    return this.#changed(ref, slot);
  }

  remove(ref: SetRef, slot: number): SetRef {
    if (!this.has(ref, slot)) return ref;
    if (isInline(ref)) return inlineWithout(ref, slot);
    return (this.#sizes[ref & ~POOLED] as number) > 3 ? this.#changed(ref, slot) : this.#inlined(ref, slot);
  }

  pruned(ref: SetRef, gone: (slot: number) => boolean): SetRef {
    if (isInline(ref)) {
      const [a, b] = inlineSlots(ref);
      const left = a >= 0 && gone(a) ? inlineWithout(ref, a) : ref;
      return b >= 0 && gone(b) ? inlineWithout(left, b) : left;
    }
    if (this.#sizes[ref & ~POOLED] !== 0) return ref;
    this.release(ref);
    return 0;
  }

  release(ref: SetRef): void {
    if (isInline(ref)) return;
    const index = ref & ~POOLED;
    const left = (this.#references[index] as number) - 1;
    this.#references[index] = left;
    if (left > 0) return;
    this.#unlink(index);
    this.#next[index] = this.#free;
    this.#free = index;
    this.#lastSlot = -1;
  }

  drop(slot: number): void {
    for (let index = 0; index < this.#references.length; index++) {
      if (this.#references[index] !== 0 && this.#bitOf(index, slot)) this.#flipShown(index, slot);
    }
  }

  /** A small set of the pool without `slot`, as its own number. */
  #inlined(ref: SetRef, slot: number): SetRef {
    let left = 0;
    for (let w = 0; w < this.usedWords; w++) {
      for (let bits = this.word(ref, w); bits !== 0; bits &= bits - 1) {
        const other = w * 32 + 31 - Math.clz32(bits & -bits);
        if (other !== slot) left = left === 0 ? single(other) : pair(left - 1, other);
      }
    }
    this.release(ref);
    return left;
  }

  /** Changes a set that others may look up, in place. */
  #flipShown(index: number, slot: number): void {
    this.#unlink(index);
    this.#flip(index, slot);
    this.#hashes[index] = ((this.#hashes[index] as number) ^ wordOfSlot(slot)) >>> 0;
    this.#link(index);
    this.#lastSlot = -1;
  }

  /** The set with one engine more or less, which is not inline before or not after. */
  #changed(ref: SetRef, slot: number): SetRef {
    if (ref === this.#lastFrom && slot === this.#lastSlot) {
      const to = this.#lastTo;
      this.#references[to & ~POOLED] = (this.#references[to & ~POOLED] as number) + 1;
      this.release(ref);
      return to;
    }
    const hash = (this.#hashOf(ref) ^ wordOfSlot(slot)) >>> 0;
    let index = this.#findEqual(ref, slot, hash);
    if (index === NONE && !isInline(ref) && this.#references[ref & ~POOLED] === 1) {
      this.#flipShown(ref & ~POOLED, slot);
      return ref;
    }
    if (index === NONE) index = this.#copyWith(ref, slot, hash);
    if (index === NONE) return this.#shorten(ref, slot);
    this.#references[index] = (this.#references[index] as number) + 1;
    const to = (index | POOLED) >>> 0;
    this.#lastFrom = ref;
    this.#lastSlot = slot;
    this.#lastTo = to;
    this.release(ref);
    return to;
  }

  /** The pool is full: what is told now is kept, and the rest of the set is forgotten, which is never a false promise. */
  #shorten(ref: SetRef, slot: number): SetRef {
    this.shortened++;
    const had = this.has(ref, slot);
    this.release(ref);
    return had ? 0 : single(slot);
  }

  #hashOf(ref: SetRef): number {
    if (!isInline(ref)) return this.#hashes[ref & ~POOLED] as number;
    const [a, b] = inlineSlots(ref);
    return wordOfSlot(a) ^ wordOfSlot(b);
  }

  #findEqual(ref: SetRef, slot: number, hash: number): number {
    let index = this.#heads[hash % this.#heads.length] as number;
    while (index !== NONE && !(this.#hashes[index] === hash && this.#equals(index, ref, slot))) {
      index = this.#next[index] as number;
    }
    return index;
  }

  #equals(index: number, ref: SetRef, slot: number): boolean {
    const start = index * this.#wordsPerSet;
    for (let w = 0; w < this.usedWords; w++) {
      const flipped = slot >>> 5 === w ? 1 << (slot & 31) : 0;
      if ((this.word(ref, w) ^ flipped) >>> 0 !== this.bits[start + w]) return false;
    }
    return true;
  }

  /** A free set made into a copy of `ref` with `slot` flipped; NONE when there is none. */
  #copyWith(ref: SetRef, slot: number, hash: number): number {
    const index = this.#free;
    if (index === NONE) return NONE;
    this.#free = this.#next[index] as number;
    const start = index * this.#wordsPerSet;
    for (let w = 0; w < this.usedWords; w++) this.bits[start + w] = this.word(ref, w);
    this.#sizes[index] = isInline(ref) ? 2 : (this.#sizes[ref & ~POOLED] as number);
    this.#flip(index, slot);
    this.#hashes[index] = hash;
    this.#link(index);
    return index;
  }

  #bitOf(index: number, slot: number): boolean {
    return ((this.bits[index * this.#wordsPerSet + (slot >>> 5)] as number) & (1 << (slot & 31))) !== 0;
  }

  #flip(index: number, slot: number): void {
    const at = index * this.#wordsPerSet + (slot >>> 5);
    const had = this.#bitOf(index, slot);
    this.bits[at] = (this.bits[at] as number) ^ (1 << (slot & 31));
    this.#sizes[index] = (this.#sizes[index] as number) + (had ? -1 : 1);
  }

  #link(index: number): void {
    const head = (this.#hashes[index] as number) % this.#heads.length;
    this.#next[index] = this.#heads[head] as number;
    this.#heads[head] = index;
  }

  #unlink(index: number): void {
    const head = (this.#hashes[index] as number) % this.#heads.length;
    let at = this.#heads[head] as number;
    if (at === index) {
      this.#heads[head] = this.#next[index] as number;
      return;
    }
    while (this.#next[at] !== index) at = this.#next[at] as number;
    this.#next[at] = this.#next[index] as number;
  }
}
