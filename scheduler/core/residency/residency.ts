/**
 * Which engines hold which prompt prefixes. Dispatches feed it, engines' own cache events make it exact where there are
 * any, and the cached tokens that answers report correct it where there are none. All memory is taken at the start and
 * what is old gives way: the index is as large after a year of distinct prompts as after a minute.
 */
import { BLOCK_TOKENS } from '../../../lib/prefix_hash.ts';
import type { EngineLife, PromptBlocks, Residency } from '../routing/contract.ts';
import { createBlockTable, tickOf } from './block_table.ts';
import { BYTES_PER_LIFE, createEngineLives } from './engine_lives.ts';
import { createEngineSets, MAX_SLOTS, single } from './engine_sets.ts';
import { createEvictions, EVICTION_BYTES_PER_SLOT } from './evictions.ts';
import { createOverlapWalk } from './overlap_walk.ts';
import { createPredictions } from './predictions.ts';

export interface ResidencyOptions {
  /** All memory of the index; at least 1 MiB. */
  readonly maxBytes: number;
  /** Lives of engines at a time, those included whose traces are still being swept away; default 5,120. */
  readonly maxLives?: number;
  /** Told, for each answer that says it, how many tokens were foretold to be cached and how many were. */
  readonly onCompared?: (foretoldTokens: number, cachedTokens: number) => void;
}

export interface ResidencyFigures {
  readonly lives: number;
  /** Blocks that had to go for others since the start. */
  readonly evictedBlocks: number;
  /** Sets of engines that were cut short because their pool was full, since the start. */
  readonly shortenedSets: number;
  /** Calls for an engine that found no room for another life, since the start. */
  readonly refusedLives: number;
  readonly capacityBlocks: number;
}

/** The index with what feeds it exactly; policies need only the Residency of it. */
export interface PrefixIndex extends Residency {
  /** The engine tells of its cache itself from now on: what it stored. Two words a block, as in PromptBlocks. */
  stored(life: EngineLife, hashes: Uint32Array, nowMs: number): void;
  removed(life: EngineLife, hashes: Uint32Array): void;
  /** The engine's cache is empty, or what is known of it is in doubt. */
  cleared(life: EngineLife): void;
  readonly figures: ResidencyFigures;
}

const MIN_BYTES = 2 ** 20;
const DEFAULT_LIVES = 5120;
const SET_SHARE = 1 / 8;
const PREDICTIONS_SHARE = 1 / 64;
const PREDICTION_BYTES = 20;
const MAX_PREDICTIONS = 16_384;
/** Share that lives may take of a small index. */
const LIVES_SHARE = 1 / 4;
/** Scratch memory of the walk and flags, for each slot. */
const WALK_BYTES_PER_SLOT = 8;
/**
 * What is missing of a prediction says something only when it is much: engines count whole blocks, of 128 tokens and more at
 * times, and what bytes are in tokens is an estimate.
 */
const LEAST_MISSING_TOKENS = 256;
/** Entries swept with each dispatch while a dead engine's traces are left: some microseconds. */
const SWEEP_STEP = 512;

const ignored = (): void => undefined;

/** @throws RangeError on less than 1 MiB */
export function createResidency(options: ResidencyOptions): PrefixIndex {
  if (!(options.maxBytes >= MIN_BYTES)) throw new RangeError(`the prefix index needs ${MIN_BYTES} bytes at least`);
  return new Index(options);
}

class Index implements PrefixIndex {
  readonly bytes: number;
  readonly #lives;
  readonly #sets;
  readonly #table;
  readonly #evictions;
  readonly #predictions;
  readonly #walk;
  readonly #onCompared: (foretoldTokens: number, cachedTokens: number) => void;
  /** 1: the engine of the slot sends cache events. */
  readonly #tells: Uint8Array;
  readonly #isLeaving = (slot: number): boolean => this.#lives.isLeaving(slot);
  #evictedBlocks = 0;
  #refusedLives = 0;
  /** Next entry to sweep; -1: no sweep is on. */
  #sweepAt = -1;

  constructor({ maxBytes, maxLives = DEFAULT_LIVES, onCompared = ignored }: ResidencyOptions) {
    this.#onCompared = onCompared;
    const perSlot = BYTES_PER_LIFE + EVICTION_BYTES_PER_SLOT + WALK_BYTES_PER_SLOT;
    const slots = Math.max(1, Math.min(maxLives, MAX_SLOTS, Math.floor((maxBytes * LIVES_SHARE) / perSlot)));
    this.#lives = createEngineLives(slots);
    this.#tells = new Uint8Array(slots);
    this.#evictions = createEvictions(slots);
    this.#sets = createEngineSets(Math.floor(maxBytes * SET_SHARE), slots);
    const places = Math.min(MAX_PREDICTIONS, Math.floor((maxBytes * PREDICTIONS_SHARE) / PREDICTION_BYTES));
    this.#predictions = createPredictions(places);
    const taken = slots * perSlot + this.#sets.bytes + this.#predictions.bytes;
    this.#table = createBlockTable(maxBytes - taken, (set) => {
      this.#evictedBlocks++;
      this.#sets.release(set);
    });
    const parts = { table: this.#table, sets: this.#sets, evictions: this.#evictions, tells: this.#tells };
    this.#walk = createOverlapWalk({ ...parts, maxSlots: slots });
    this.bytes = taken + this.#table.bytes;
  }

  get figures(): ResidencyFigures {
    return {
      lives: this.#lives.count,
      evictedBlocks: this.#evictedBlocks,
      shortenedSets: this.#sets.shortened,
      refusedLives: this.#refusedLives,
      capacityBlocks: this.#table.capacity,
    };
  }

  overlap(engines: readonly EngineLife[], { hashes }: PromptBlocks, out: Uint32Array): void {
    this.#walk.walk(hashes);
    for (let i = 0; i < engines.length; i++) {
      const slot = this.#lives.slotAt(engines[i] as EngineLife, i);
      out[i] = slot < 0 || this.#evictions.distrusts(slot) ? 0 : this.#walk.depthOf(slot);
    }
  }

  dispatched(life: EngineLife, { hashes }: PromptBlocks, nowMs: number): void {
    this.#sweep(SWEEP_STEP);
    const slot = this.#slotFor(life);
    const blocks = hashes.length >>> 1;
    if (slot < 0 || blocks === 0) return;
    const tick = tickOf(nowMs);
    const prediction = this.#foretell(slot, hashes);
    const held = prediction.foretoldBlocks;
    this.#predictions.note(slot, hashes[2 * blocks - 2] as number, hashes[2 * blocks - 1] as number, prediction);
    this.#evictions.filled(slot, blocks - held, tick);
    for (let block = 0; block < blocks; block++) {
      this.#put(slot, hashes[2 * block] as number, hashes[2 * block + 1] as number, tick, block);
    }
  }

  corrected(life: EngineLife, { blockTokens, hashes }: PromptBlocks, cachedTokens: number, nowMs: number): void {
    const slot = this.#lives.slotOf(life);
    if (slot < 0 || hashes.length < 2) return;
    const last = hashes.length - 2;
    const prediction = this.#predictions.take(slot, hashes[last] as number, hashes[last + 1] as number);
    if (!(cachedTokens >= 0)) return;
    const foretoldTokens = (prediction?.foretoldBlocks ?? 0) * blockTokens;
    if (prediction !== undefined) this.#onCompared(foretoldTokens, cachedTokens);
    if (foretoldTokens === 0 && cachedTokens === 0) return;
    const isLess = cachedTokens < foretoldTokens / 2 && foretoldTokens - cachedTokens >= LEAST_MISSING_TOKENS;
    const outcome = !isLess ? 'held' : cachedTokens === 0 ? 'nothing' : 'less';
    this.#evictions.observed(slot, outcome, prediction?.foretoldTick ?? -1, tickOf(nowMs));
  }

  withdrawn(life: EngineLife, { hashes }: PromptBlocks): void {
    const slot = this.#lives.slotOf(life);
    if (slot < 0 || hashes.length < 2) return;
    const last = hashes.length - 2;
    const prediction = this.#predictions.take(slot, hashes[last] as number, hashes[last + 1] as number);
    if (prediction !== undefined) this.#takeOut(slot, hashes.subarray(2 * prediction.foretoldBlocks));
  }

  stored(life: EngineLife, hashes: Uint32Array, nowMs: number): void {
    const slot = this.#slotFor(life);
    if (slot < 0) return;
    this.#tells[slot] = 1;
    const tick = tickOf(nowMs);
    for (let at = 0; at + 1 < hashes.length; at += 2) {
      this.#put(slot, hashes[at] as number, hashes[at + 1] as number, tick, 0);
    }
  }

  removed(life: EngineLife, hashes: Uint32Array): void {
    const slot = this.#lives.slotOf(life);
    if (slot >= 0) this.#takeOut(slot, hashes);
  }

  cleared(life: EngineLife): void {
    this.forget(life);
    this.#slotFor(life);
  }

  sized(life: EngineLife, tokens: number): void {
    const slot = this.#slotFor(life);
    if (slot >= 0) this.#evictions.setCapacity(slot, Math.floor(Math.max(0, tokens) / BLOCK_TOKENS));
  }

  forget(life: EngineLife): void {
    const slot = this.#lives.end(life);
    if (slot >= 0) this.#sets.drop(slot);
  }

  #slotFor(life: EngineLife): number {
    const known = this.#lives.slotOf(life);
    if (known >= 0) return known;
    let slot = this.#lives.ensure(life);
    if (slot < 0 && this.#lives.leaving > 0) {
      // Two whole sweeps at most: the one that is on, and one for those that left since it began.
      this.#sweep(Infinity);
      this.#sweep(Infinity);
      slot = this.#lives.ensure(life);
    }
    if (slot < 0) {
      this.#refusedLives++;
      return -1;
    }
    this.#evictions.reset(slot);
    this.#predictions.drop(slot);
    this.#tells[slot] = 0;
    return slot;
  }

  #put(slot: number, high: number, low: number, tick: number, depth: number): void {
    const place = this.#table.claim(high, low, tick, depth);
    if (place < 0) return;
    const old = this.#table.setOf(place);
    const set = this.#lives.leaving > 0 ? this.#sets.pruned(old, this.#isLeaving) : old;
    this.#table.setEngines(place, this.#sets.add(set, slot));
  }

  #takeOut(slot: number, hashes: Uint32Array): void {
    for (let at = 0; at + 1 < hashes.length; at += 2) {
      const place = this.#table.find(hashes[at] as number, hashes[at + 1] as number);
      if (place >= 0) this.#table.setEngines(place, this.#sets.remove(this.#table.setOf(place), slot));
    }
  }

  /** How many leading blocks the engine holds by now, and when it used the last of them if it alone holds that. */
  #foretell(slot: number, hashes: Uint32Array): { foretoldBlocks: number; foretoldTick: number } {
    let block = 0;
    let foretoldTick = -1;
    for (; 2 * block < hashes.length; block++) {
      const place = this.#table.find(hashes[2 * block] as number, hashes[2 * block + 1] as number);
      if (place < 0 || !this.#sets.has(this.#table.setOf(place), slot)) break;
      const tick = this.#table.tickAt(place);
      if (this.#tells[slot] === 0 && this.#evictions.dropped(slot, tick)) break;
      foretoldTick = this.#table.setOf(place) === single(slot) ? tick : -1;
    }
    return { foretoldBlocks: block, foretoldTick };
  }

  /** Looks at the next entries for engines that have gone. */
  #sweep(entries: number): void {
    if (this.#sweepAt < 0) {
      if (this.#lives.leaving === 0) return;
      this.#lives.sweepBegins();
      this.#sweepAt = 0;
    }
    const end = Math.min(this.#table.capacity, this.#sweepAt + entries);
    for (let index = this.#sweepAt; index < end; index++) this.#sweepEntry(this.#table.placeAt(index));
    this.#sweepAt = end;
    if (end < this.#table.capacity) return;
    this.#lives.sweepEnded();
    this.#sweepAt = -1;
  }

  #sweepEntry(place: number): void {
    const set = this.#table.setOf(place);
    if (set === 0) return;
    const left = this.#sets.pruned(set, this.#isLeaving);
    if (left !== set) this.#table.setEngines(place, left);
  }
}
