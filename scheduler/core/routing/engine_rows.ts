/**
 * What a pick reads of each engine, as numbers side by side: one row of doubles per engine, written when something about
 * the engine changes. A pick over thousands of engines walks over these rows and touches no object.
 */
import { type EngineSlot, prefillWorkMs, stepMs } from './engine_slot.ts';
import { FILTERS } from './filters.ts';

/** Places in a row. */
export const ROW = {
  /** 0: no filter has anything against the engine, whatever the request and the time. */
  gate: 0,
  requests: 1,
  /** Prefill that waits, milliseconds; of it the oldest prompt's, and since when that one is the oldest. */
  waitMs: 2,
  headMs: 3,
  headSinceMs: 4,
  /** Half a step is still to go where something runs: 0.5, else 0. */
  busy: 5,
  /** A step with one sequence more, without that sequence's context, and what each token of context adds. */
  stepMs: 6,
  stepPerContextMs: 7,
  prefillBaseMs: 8,
  perTokenMs: 9,
  perSquareMs: 10,
  /** How many answers' time must pass until there is room for one sequence more. */
  room: 11,
} as const;
export const ROW_SIZE = 12;

/** Above this part of the KV cache an engine begins to hold back or recompute sequences. */
const KV_TIGHT = 0.9;
const FIRST_ROWS = 64;

export interface EngineRows {
  /** All rows, one after another; replaced when it grows. */
  readonly data: Float64Array;
  /** The group of each row's engine, by the number of the row. */
  readonly groups: Int32Array;
  /** Gives the slot a row. */
  add(slot: EngineSlot): void;
  remove(slot: EngineSlot): void;
}

export function createEngineRows(): EngineRows {
  let data = new Float64Array(FIRST_ROWS * ROW_SIZE);
  let groups = new Int32Array(FIRST_ROWS);
  const holders: (EngineSlot | undefined)[] = [];
  const free: number[] = [];
  const view = (at: number): Float64Array => data.subarray(at * ROW_SIZE, (at + 1) * ROW_SIZE);
  const grow = (): void => {
    const larger = new Float64Array(data.length * 2);
    larger.set(data);
    data = larger;
    const more = new Int32Array(groups.length * 2);
    more.set(groups);
    groups = more;
    for (const [at, slot] of holders.entries()) if (slot !== undefined) slot.row = view(at);
  };
  return {
    get data() {
      return data;
    },
    get groups() {
      return groups;
    },
    add(slot) {
      const at = free.pop() ?? holders.length;
      if ((at + 1) * ROW_SIZE > data.length) grow();
      holders[at] = slot;
      slot.rowAt = at * ROW_SIZE;
      slot.row = view(at);
      settleRow(slot);
    },
    remove(slot) {
      if (slot.rowAt < 0) return;
      const at = slot.rowAt / ROW_SIZE;
      holders[at] = undefined;
      free.push(at);
      slot.rowAt = -1;
      slot.row = undefined;
    },
  };
}

/** Writes the slot's row anew: to be called whenever anything of the slot has changed. */
export function settleRow(slot: EngineSlot): void {
  const { row, head, speed } = slot;
  if (row === undefined) return;
  const running = slot.reservedRequests + slot.otherRequests;
  row[ROW.gate] = FILTERS.every((filter) => filter.clear?.(slot) ?? true) ? 0 : 1;
  row[ROW.requests] = running;
  row[ROW.waitMs] = prefillWorkMs(speed, slot.pendingPrefillTokens, slot.pendingPrefillSquares);
  row[ROW.headMs] = head === undefined ? 0 : prefillWorkMs(speed, head.tokens, head.squares);
  row[ROW.headSinceMs] = slot.headSinceMs;
  row[ROW.busy] = running > 0 ? 0.5 : 0;
  row[ROW.stepMs] = stepMs(speed, running + 1, slot.contextTokens);
  // Requests of other schedulers are believed to be like the one that is asked for.
  row[ROW.stepPerContextMs] = speed.stepPerContextTokenMs * (1 + slot.otherRequests);
  row[ROW.prefillBaseMs] = speed.prefillBaseMs;
  row[ROW.perTokenMs] = speed.prefillPerTokenMs;
  row[ROW.perSquareMs] = speed.prefillPerTokenSquaredMs ?? 0;
  row[ROW.room] = roomOf(slot, running);
}

/** Answers end evenly over the time of one: a place comes free after its part of that time. */
function roomOf(slot: EngineSlot, running: number): number {
  const over = Math.max(0, running + 1 - slot.maxSequences) / slot.maxSequences;
  const tight = slot.kvUsageRatio > KV_TIGHT ? (slot.kvUsageRatio - KV_TIGHT) / (1 - KV_TIGHT) : 0;
  return over + tight / Math.max(1, running);
}
