/**
 * The engines of the fleet by model, kept up to date as their agents speak, so that a pick only reads. It takes facts in
 * and knows nothing of where they come from: the scheduler's directory and the simulator feed the same table.
 */
import type { EngineId } from '../../../lib/ids.ts';
import type { Endpoint } from '../../ports.ts';
import { createEngineRows, ROW_SIZE, settleRow } from './engine_rows.ts';
import { ANY_ENDPOINT, ENDPOINT_BIT, type EngineFacts, type EngineSlot } from './engine_slot.ts';
import type { Reservations } from './reservations.ts';
import { createSpeedFit, createSpeedPool, type SpeedPool } from './speed_fit.ts';
import { NEUTRAL_SPEED } from './speed_priors.ts';
import { NO_RULES, type TrafficRules } from './traffic_rules.ts';
import { TrafficSplits } from './traffic_splits.ts';

/** The engines that stand for one model. */
export interface Pool {
  readonly model: string;
  readonly slots: readonly EngineSlot[];
  /** Where the row of each of them stands. */
  readonly rowsAt: readonly number[];
  /** Bits of ENDPOINT_BIT that each of them answers, and those that all do. */
  readonly endpoints: readonly number[];
  readonly commonEndpoints: number;
  /** Monotonic milliseconds; none of those that serve was seen last before it. A bound, which is not always the closest. */
  seenSinceMs: number;
  /** Engines among which requests are divided by weight. */
  divided: number;
}

interface OpenPool extends Pool {
  readonly slots: EngineSlot[];
  readonly rowsAt: number[];
  readonly endpoints: number[];
  commonEndpoints: number;
}

export interface EngineTable {
  /** An engine appears, changes, or begins a new life. */
  put(facts: EngineFacts): EngineSlot;
  /** The engine is no longer in the fleet. */
  remove(engine: EngineId): void;
  /** The present life of an engine. */
  find(engine: EngineId): EngineSlot | undefined;
  pool(model: string): Pool | undefined;
  readonly slots: Iterable<EngineSlot>;
  /** The numbers of all engines, and the groups that requests are divided among, by the number of the row. */
  readonly rows: Float64Array;
  readonly groups: Int32Array;
  readonly splits: TrafficSplits;
  /** From now on these rules say what revision an engine is of; every engine is asked for anew. */
  applyRules(rules: TrafficRules): void;
}

const countOf = (value: number): number => (value >= 0 && value < Infinity ? value : 0);
const ratioOf = (value: number | undefined): number =>
  value !== undefined && value >= 0 && value <= 1 ? value : Number.NaN;

const bitsOf = (endpoints: readonly Endpoint[]): number =>
  endpoints.length === 0 ? ANY_ENDPOINT : endpoints.reduce((bits, endpoint) => bits | ENDPOINT_BIT[endpoint], 0);

function sameModels(left: EngineFacts['serves'], right: EngineFacts['serves']): boolean {
  return (
    left === right ||
    (left.length === right.length &&
      left.every(
        ({ model, endpoints }, at) => model === right[at]?.model && bitsOf(endpoints) === bitsOf(right[at].endpoints),
      ))
  );
}

function noteSeen(pool: Pool | undefined, { refusal, lastSeenAtMs }: EngineSlot): void {
  if (pool !== undefined && refusal === undefined) pool.seenSinceMs = Math.min(pool.seenSinceMs, lastSeenAtMs);
}

/** Looks at every engine again: the bound is the closest then. */
export function settleSeen(pool: Pool): void {
  pool.seenSinceMs = Infinity;
  for (const slot of pool.slots) noteSeen(pool, slot);
}

/** Kinds of engines whose speeds are kept. */
const MOST_SPEED_POOLS = 4096;

export interface EngineTableOptions {
  readonly reservations: Reservations;
  /** A life is over: what is kept for it elsewhere can go. */
  readonly onEnded?: (slot: EngineSlot) => void;
  /** The size of its cache became known, or another. */
  readonly onSized?: (slot: EngineSlot) => void;
}

export function createEngineTable(options: EngineTableOptions): EngineTable {
  return new OpenTable(options);
}

class OpenTable implements EngineTable {
  readonly #options: EngineTableOptions;
  readonly #byEngine = new Map<EngineId, EngineSlot>();
  readonly #pools = new Map<string, OpenPool>();
  readonly #rows = createEngineRows();
  /** By model and the speed that the hardware promises; bounded, and begun anew when full. */
  readonly #speeds = new Map<string, SpeedPool>();
  readonly splits = new TrafficSplits();
  #rules = NO_RULES;

  constructor(options: EngineTableOptions) {
    this.#options = options;
  }

  get slots(): Iterable<EngineSlot> {
    return this.#byEngine.values();
  }

  get rows(): Float64Array {
    return this.#rows.data;
  }

  get groups(): Int32Array {
    return this.#rows.groups;
  }

  applyRules(rules: TrafficRules): void {
    this.#rules = rules;
    this.splits.clear();
    for (const slot of this.#byEngine.values()) {
      this.#recount(slot, this.#mark(slot));
      settleRow(slot);
    }
  }

  /** What the rules say of an engine. @returns by how many its pools have more engines that are divided: 1, 0 or -1 */
  #mark(slot: EngineSlot): number {
    slot.mark = this.#rules.markOf(slot.engine);
    const group = this.splits.groupOf(slot.mark);
    const change = (group === 0 ? 0 : 1) - (slot.group === 0 ? 0 : 1);
    slot.group = group;
    this.#rows.groups[slot.rowAt / ROW_SIZE] = group;
    return change;
  }

  #recount(slot: EngineSlot, change: number): void {
    if (change === 0) return;
    for (const { model } of slot.serves) {
      const pool = this.#pools.get(model);
      if (pool !== undefined) pool.divided += change;
    }
  }

  find(engine: EngineId): EngineSlot | undefined {
    return this.#byEngine.get(engine);
  }

  pool(model: string): Pool | undefined {
    return this.#pools.get(model);
  }

  put(facts: EngineFacts): EngineSlot {
    const before = this.#byEngine.get(facts.engine);
    const sameLife = before?.incarnation === facts.incarnation;
    if (before !== undefined && !sameLife) this.#unlist(before);
    const slot = before !== undefined && sameLife ? before : this.#begin(facts, before);
    slot.node = facts.node;
    slot.name = facts.name;
    slot.refusal = facts.refusal;
    slot.lastSeenAtMs = facts.lastSeenAtMs;
    slot.otherRequests = countOf(facts.otherRequests);
    slot.kvUsageRatio = ratioOf(facts.kvUsageRatio);
    this.#size(slot, countOf(facts.kvTokens ?? 0));
    slot.maxRequests = facts.maxRequests ?? Infinity;
    slot.maxSequences = facts.maxSequences ?? Infinity;
    // What others of its kind have taught counts for it too.
    slot.speed = slot.fit.speed;
    const moves = !sameLife || !sameModels(slot.serves, facts.serves);
    // Pools count with the group that a slot has in them.
    if (moves) this.#leavePools(slot);
    const change = this.#mark(slot);
    if (moves) {
      slot.serves = facts.serves;
      this.#enterPools(slot);
    } else this.#recount(slot, change);
    settleRow(slot);
    for (const { model } of slot.serves) noteSeen(this.#pools.get(model), slot);
    return slot;
  }

  /** The size of its cache is told once and again with each reading; only news is passed on. */
  #size(slot: EngineSlot, kvTokens: number): void {
    if (slot.kvTokens === kvTokens) return;
    slot.kvTokens = kvTokens;
    this.#options.onSized?.(slot);
  }

  remove(engine: EngineId): void {
    const slot = this.#byEngine.get(engine);
    if (slot !== undefined) this.#unlist(slot);
  }

  /** The same engine in its next life is as fast as before; with another model it is another engine. */
  #begin(facts: EngineFacts, before: EngineSlot | undefined): EngineSlot {
    const slot = this.#options.reservations.slotOf(facts.engine, facts.incarnation);
    slot.listed = true;
    const known = before !== undefined && sameModels(before.serves, facts.serves);
    slot.fit = known ? before.fit : createSpeedFit(this.#speedsOf(facts));
    this.#byEngine.set(facts.engine, slot);
    this.#rows.add(slot);
    return slot;
  }

  #unlist(slot: EngineSlot): void {
    this.#leavePools(slot);
    this.#byEngine.delete(slot.engine);
    slot.listed = false;
    this.#rows.remove(slot);
    this.#options.reservations.forget(slot);
    this.#options.onEnded?.(slot);
  }

  #speedsOf({ serves, prior = NEUTRAL_SPEED }: EngineFacts): SpeedPool {
    const key = JSON.stringify([serves[0]?.model, prior]);
    if (this.#speeds.size >= MOST_SPEED_POOLS && !this.#speeds.has(key)) this.#speeds.clear();
    const pool = this.#speeds.get(key) ?? createSpeedPool(prior);
    this.#speeds.set(key, pool);
    return pool;
  }

  #enterPools(slot: EngineSlot): void {
    for (const { model, endpoints } of slot.serves) {
      const empty = { slots: [], rowsAt: [], endpoints: [], commonEndpoints: ANY_ENDPOINT };
      const pool = this.#pools.get(model) ?? { model, ...empty, seenSinceMs: Infinity, divided: 0 };
      this.#pools.set(model, pool);
      pool.slots.push(slot);
      pool.rowsAt.push(slot.rowAt);
      pool.endpoints.push(bitsOf(endpoints));
      pool.commonEndpoints &= bitsOf(endpoints);
      if (slot.group !== 0) pool.divided += 1;
    }
  }

  #leavePools(slot: EngineSlot): void {
    for (const { model } of slot.serves) {
      const pool = this.#pools.get(model);
      const at = pool?.slots.indexOf(slot) ?? -1;
      if (pool === undefined || at < 0) continue;
      pool.slots.splice(at, 1);
      pool.rowsAt.splice(at, 1);
      pool.endpoints.splice(at, 1);
      if (slot.group !== 0) pool.divided -= 1;
      pool.commonEndpoints = pool.endpoints.reduce((common, bits) => common & bits, ANY_ENDPOINT);
      if (pool.slots.length === 0) this.#pools.delete(model);
    }
  }
}
