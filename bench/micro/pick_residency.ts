/**
 * A stand-in for the index of prefixes, for the measurement of picks alone: it answers the same questions from one table
 * per first block, and keeps no chains. It is not the product's index; its memory and its time say nothing about that one.
 */
import type { EngineLife, Residency } from '../../scheduler/core/routing/contract.ts';

/** @param mostEngines engines that can be told apart */
export function standInResidency(mostEngines: number): Residency {
  /** By the first block: how many leading blocks each engine holds. */
  const held = new Map<number, Uint16Array>();
  const places = new Map<EngineLife, number>();
  const placeOf = (life: EngineLife): number => {
    const place = places.get(life) ?? places.size;
    places.set(life, place);
    return place;
  };
  return {
    overlap(engines, { hashes }, out) {
      const blocks = held.get(hashes[1] as number);
      for (let i = 0; i < engines.length; i++)
        out[i] = blocks === undefined ? 0 : (blocks[placeOf(engines[i] as EngineLife)] as number);
    },
    dispatched(life, { hashes }) {
      const first = hashes[1] as number;
      const blocks = held.get(first) ?? new Uint16Array(mostEngines);
      held.set(first, blocks);
      blocks[placeOf(life)] = hashes.length >>> 1;
    },
    corrected(life, { hashes, blockTokens }, cachedTokens) {
      const blocks = held.get(hashes[1] as number);
      if (blocks !== undefined) blocks[placeOf(life)] = Math.floor(cachedTokens / blockTokens);
    },
    forget: (life) => void places.delete(life),
    get bytes() {
      return held.size * mostEngines * Uint16Array.BYTES_PER_ELEMENT;
    },
  };
}
