/**
 * Which place of the bit sets stands for which life of which engine. A life that has ended is no longer found at once;
 * its place is given to another only when every block that may still name it has been swept, so that a new engine never
 * inherits a dead one's prefixes.
 */
import type { EngineId } from '../../../lib/ids.ts';
import type { EngineLife } from '../routing/contract.ts';

/** One life that is held; lives of the same engine hang on each other, the newest first. */
interface Held {
  readonly incarnation: number;
  readonly slot: number;
  readonly older: Held | undefined;
}

/** What a life's entry costs the heap, counted high: the map's places, the object, the engine's name. */
export const BYTES_PER_LIFE = 256;

export interface EngineLives {
  /** Lives that are known now. */
  readonly count: number;
  /** Slots that wait for a sweep to begin or to end. */
  readonly leaving: number;
  /** -1: not known. */
  slotOf(life: EngineLife): number;
  /** slotOf for the n-th of a list: the list is mostly that of the call before, and then needs no look-up. */
  slotAt(life: EngineLife, index: number): number;
  /** The slot of the life, which is known from now on; -1 when all are taken. */
  ensure(life: EngineLife): number;
  /** @returns the slot that it had, -1: it was not known */
  end(life: EngineLife): number;
  /** True for a slot whose life has ended and which may still stand in blocks. */
  isLeaving(slot: number): boolean;
  /** A sweep begins: what leaves by now is gone when it ends. */
  sweepBegins(): void;
  sweepEnded(): void;
}

export function createEngineLives(maxLives: number): EngineLives {
  return new LifeTable(maxLives);
}

class LifeTable implements EngineLives {
  count = 0;
  readonly #maxLives: number;
  readonly #held = new Map<EngineId, Held>();
  readonly #leaving: Uint8Array;
  readonly #free: number[] = [];
  #neverUsed = 0;
  #waiting: number[] = [];
  #swept: number[] = [];
  /** The list of the last calls, valid for as long as no life has come or gone. */
  readonly #listed: EngineId[] = [];
  readonly #listedLives: Float64Array;
  readonly #listedSlots: Int32Array;

  constructor(maxLives: number) {
    this.#maxLives = maxLives;
    this.#leaving = new Uint8Array(maxLives);
    this.#listedLives = new Float64Array(maxLives);
    this.#listedSlots = new Int32Array(maxLives);
  }

  get leaving(): number {
    return this.#waiting.length + this.#swept.length;
  }

  slotOf(life: EngineLife): number {
    for (let one = this.#held.get(life.engine); one !== undefined; one = one.older) {
      if (one.incarnation === life.incarnation) return one.slot;
    }
    return -1;
  }

  slotAt(life: EngineLife, index: number): number {
    if (this.#listed[index] === life.engine && this.#listedLives[index] === life.incarnation) {
      return this.#listedSlots[index] as number;
    }
    const slot = this.slotOf(life);
    if (index > this.#listed.length || index >= this.#maxLives) return slot;
    this.#listed[index] = life.engine;
    this.#listedLives[index] = life.incarnation;
    this.#listedSlots[index] = slot;
    return slot;
  }

  ensure(life: EngineLife): number {
    const known = this.slotOf(life);
    if (known >= 0) return known;
    const slot = this.#free.pop() ?? (this.#neverUsed < this.#maxLives ? this.#neverUsed++ : -1);
    if (slot < 0) return -1;
    this.#held.set(life.engine, { incarnation: life.incarnation, slot, older: this.#held.get(life.engine) });
    this.count++;
    this.#listed.length = 0;
    return slot;
  }

  end(life: EngineLife): number {
    const slot = this.slotOf(life);
    if (slot < 0) return -1;
    const rest = without(this.#held.get(life.engine), life.incarnation);
    if (rest === undefined) this.#held.delete(life.engine);
    else this.#held.set(life.engine, rest);
    this.#leaving[slot] = 1;
    this.#waiting.push(slot);
    this.count--;
    this.#listed.length = 0;
    return slot;
  }

  isLeaving(slot: number): boolean {
    return this.#leaving[slot] === 1;
  }

  sweepBegins(): void {
    this.#swept = this.#waiting;
    this.#waiting = [];
  }

  sweepEnded(): void {
    for (const slot of this.#swept) this.#leaving[slot] = 0;
    this.#free.push(...this.#swept);
    this.#swept = [];
  }
}

function without(from: Held | undefined, incarnation: number): Held | undefined {
  if (from === undefined || from.incarnation === incarnation) return from?.older;
  return { ...from, older: without(from.older, incarnation) };
}
