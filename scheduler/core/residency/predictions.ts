/**
 * What was foretold of each request on its way, until the engine's answer can be compared with it. A fixed table: a
 * prediction whose place another takes is lost, and then the answer simply teaches nothing.
 */

/** Words of a prediction: hash high and low of the prompt's last block, slot + 1 (0: free), blocks foretold, their age. */
const WORDS = 5;

export interface Prediction {
  readonly foretoldBlocks: number;
  /** When the last foretold block had been used before; -1: not known. */
  readonly foretoldTick: number;
}

export interface Predictions {
  readonly bytes: number;
  /** The first of equal requests on their way counts: the later ones saw what it left. */
  note(slot: number, high: number, low: number, prediction: Prediction): void;
  /** Takes the prediction out. */
  take(slot: number, high: number, low: number): Prediction | undefined;
  /** Takes out all of a slot. */
  drop(slot: number): void;
}

export function createPredictions(places: number): Predictions {
  const words = new Int32Array(places * WORDS);
  const startOf = (slot: number, low: number): number =>
    (((low ^ Math.imul(slot + 1, 0x9e3779b1)) >>> 0) % places) * WORDS;
  const isAt = (at: number, slot: number, high: number, low: number): boolean =>
    words[at + 2] === slot + 1 && words[at] === (high | 0) && words[at + 1] === (low | 0);
  return {
    bytes: words.byteLength,
    note(slot, high, low, { foretoldBlocks, foretoldTick }) {
      const at = startOf(slot, low);
      if (isAt(at, slot, high, low)) return;
      words[at] = high;
      words[at + 1] = low;
      words[at + 2] = slot + 1;
      words[at + 3] = foretoldBlocks;
      words[at + 4] = foretoldTick;
    },
    take(slot, high, low) {
      const at = startOf(slot, low);
      if (!isAt(at, slot, high, low)) return undefined;
      words[at + 2] = 0;
      return { foretoldBlocks: words[at + 3] as number, foretoldTick: words[at + 4] as number };
    },
    drop(slot) {
      for (let at = 2; at < words.length; at += WORDS) if (words[at] === slot + 1) words[at] = 0;
    },
  };
}
