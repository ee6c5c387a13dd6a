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
  const held = new Map<EngineId, Held>();
  const leaving = new Uint8Array(maxLives);
  const free: number[] = [];
  let neverUsed = 0;
  let waiting: number[] = [];
  let swept: number[] = [];
  let count = 0;
  // The list of the last calls, valid for as long as no life has come or gone.
  const listed: EngineId[] = [];
  const listedLives = new Float64Array(maxLives);
  const listedSlots = new Int32Array(maxLives);

  const slotOf = (life: EngineLife): number => {
    for (let one = held.get(life.engine); one !== undefined; one = one.older) {
      if (one.incarnation === life.incarnation) return one.slot;
    }
    return -1;
  };

  const without = (from: Held | undefined, incarnation: number): Held | undefined => {
    if (from === undefined || from.incarnation === incarnation) return from?.older;
    return { ...from, older: without(from.older, incarnation) };
  };

  return {
    get count() {
      return count;
    },
    get leaving() {
      return waiting.length + swept.length;
    },
    slotOf,
    slotAt(life, index) {
      if (listed[index] === life.engine && listedLives[index] === life.incarnation) return listedSlots[index] as number;
      const slot = slotOf(life);
      if (index > listed.length || index >= maxLives) return slot;
      listed[index] = life.engine;
      listedLives[index] = life.incarnation;
      listedSlots[index] = slot;
      return slot;
    },
    ensure(life) {
      const known = slotOf(life);
      if (known >= 0) return known;
      const slot = free.pop() ?? (neverUsed < maxLives ? neverUsed++ : -1);
      if (slot < 0) return -1;
      held.set(life.engine, { incarnation: life.incarnation, slot, older: held.get(life.engine) });
      count++;
      listed.length = 0;
      return slot;
    },
    end(life) {
      const slot = slotOf(life);
      if (slot < 0) return -1;
      const rest = without(held.get(life.engine), life.incarnation);
      if (rest === undefined) held.delete(life.engine);
      else held.set(life.engine, rest);
      leaving[slot] = 1;
      waiting.push(slot);
      count--;
      listed.length = 0;
      return slot;
    },
    isLeaving: (slot) => leaving[slot] === 1,
    sweepBegins() {
      swept = waiting;
      waiting = [];
    },
    sweepEnded() {
      for (const slot of swept) leaving[slot] = 0;
      free.push(...swept);
      swept = [];
    },
  };
}
