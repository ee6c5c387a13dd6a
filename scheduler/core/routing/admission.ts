/**
 * Which engines may be picked for a request. The filters are asked only where something may be against an engine: what
 * an engine's own state says is settled when it changes, so in a healthy fleet a pick looks at one number per engine.
 * Whoever is passed over is named with the reason, up to a bound, and counted beyond it.
 */
import type { DecisionMode, RefusedVerdict } from './decision.ts';
import { MOST_REFUSED } from './decision.ts';
import { ROW } from './engine_rows.ts';
import type { EngineSlot } from './engine_slot.ts';
import { type Pool, settleSeen } from './engine_table.ts';
import type { Filter, FilterAsk } from './filters/filter.ts';
import { FILTERS } from './filters.ts';

/** Ejection is ignored once more than this part of the engines is ejected (Envoy's healthy panic threshold). */
export const PANIC_RATIO = 0.5;

/** The engines that may be picked: entries 0 to `count` - 1; the arrays are used again for the next request. */
export interface OpenSet {
  readonly slots: EngineSlot[];
  rowsAt: Int32Array;
  count: number;
}

export interface Admitted {
  readonly refused: ReadonlyMap<string, number>;
  readonly verdicts: readonly RefusedVerdict[];
  readonly mode: DecisionMode | undefined;
}

const NO_REFUSALS: ReadonlyMap<string, number> = new Map();
const NO_VERDICTS: readonly RefusedVerdict[] = [];
export const NOBODY: Admitted = { refused: NO_REFUSALS, verdicts: NO_VERDICTS, mode: undefined };

export function createOpenSet(): OpenSet {
  return { slots: [], rowsAt: new Int32Array(64), count: 0 };
}

/** Fills `open` with the engines of the pool that may be picked. */
export function admit(pool: Pool, ask: Omit<FilterAsk, 'answers'>, rows: Float64Array, open: OpenSet): Admitted {
  const { slots, rowsAt, endpoints } = pool;
  if (open.rowsAt.length < slots.length) open.rowsAt = new Int32Array(slots.length * 2);
  open.count = 0;
  const filterAsk = { ...ask, answers: 0 };
  if (ask.nowMs - pool.seenSinceMs > ask.staleAfterMs) settleSeen(pool);
  const asked = FILTERS.filter((filter) => filter.sparesAll?.(pool, filterAsk) === false);
  const sorting = new Sorting(open, filterAsk);
  for (let i = 0; i < slots.length; i++) {
    const at = rowsAt[i] as number;
    const closed = rows[at + ROW.gate] !== 0;
    if (!closed && asked.length === 0) {
      open.slots[open.count] = slots[i] as EngineSlot;
      open.rowsAt[open.count++] = at;
      continue;
    }
    filterAsk.answers = endpoints[i] as number;
    sorting.ask(slots[i] as EngineSlot, closed ? FILTERS : asked);
  }
  return sorting.end();
}

/** Sorts the engines that something may be against. */
class Sorting {
  readonly #open: OpenSet;
  readonly #ask: FilterAsk;
  readonly #ejected: [EngineSlot, Filter][] = [];
  readonly #silent: [EngineSlot, Filter][] = [];
  #refused: Map<string, number> | undefined;
  #verdicts: RefusedVerdict[] | undefined;

  constructor(open: OpenSet, ask: FilterAsk) {
    this.#open = open;
    this.#ask = ask;
  }

  ask(slot: EngineSlot, filters: readonly Filter[]): void {
    const filter = filters.find((each) => !each.admits(slot, this.#ask));
    if (filter === undefined) this.#add(slot);
    else if (filter.strength === 'ejected') this.#ejected.push([slot, filter]);
    else if (filter.strength === 'unless_last') this.#silent.push([slot, filter]);
    else this.#refuse(slot, filter);
  }

  /** Ejection never empties a model: too many open breakers are no longer heeded, and silent nodes are the last resort. */
  end(): Admitted {
    const { length } = this.#ejected;
    const panic = length > PANIC_RATIO * (this.#open.count + length);
    for (const [slot, filter] of this.#ejected) {
      if (panic) this.#add(slot);
      else this.#refuse(slot, filter);
    }
    const last = this.#open.count === 0 && this.#silent.length > 0;
    for (const [slot, filter] of this.#silent) {
      if (last) this.#add(slot);
      else this.#refuse(slot, filter);
    }
    const mode = last ? 'stale' : panic ? 'panic' : undefined;
    return { refused: this.#refused ?? NO_REFUSALS, verdicts: this.#verdicts ?? NO_VERDICTS, mode };
  }

  #add(slot: EngineSlot): void {
    const open = this.#open;
    open.slots[open.count] = slot;
    open.rowsAt[open.count++] = slot.rowAt;
  }

  #refuse(slot: EngineSlot, filter: Filter): void {
    const { by, detail } = filter.why(slot, this.#ask);
    this.#refused ??= new Map();
    this.#refused.set(by, (this.#refused.get(by) ?? 0) + 1);
    this.#verdicts ??= [];
    if (this.#verdicts.length < MOST_REFUSED) this.#verdicts.push({ kind: 'refused', engine: slot.engine, by, detail });
  }
}
