/**
 * The engines of the fleet by model, kept up to date as their agents speak, so that a pick only reads. It takes facts in
 * and knows nothing of where they come from: the scheduler's directory and the simulator feed the same table.
 */
import type { EngineId } from '../../../lib/ids.ts';
import type { Endpoint } from '../../ports.ts';
import { type EngineFacts, type EngineSlot } from './engine_slot.ts';
import type { Reservations } from './reservations.ts';
import { createSpeedFit } from './speed_fit.ts';

/** The engines that stand for one model. */
export interface Pool {
  readonly model: string;
  readonly slots: readonly EngineSlot[];
  /** Bits of ENDPOINT_BIT that each of the slots answers. */
  readonly endpoints: readonly number[];
}

export const ENDPOINT_BIT: Readonly<Record<Endpoint, number>> = { chat: 1, completions: 2, embeddings: 4 };
const ANY_ENDPOINT = 7;

interface OpenPool extends Pool {
  readonly slots: EngineSlot[];
  readonly endpoints: number[];
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

export interface EngineTableOptions {
  readonly reservations: Reservations;
  /** A life is over: what is kept for it elsewhere can go. */
  readonly onEnded?: (slot: EngineSlot) => void;
}

export function createEngineTable({ reservations, onEnded }: EngineTableOptions): EngineTable {
  const byEngine = new Map<EngineId, EngineSlot>();
  const pools = new Map<string, OpenPool>();

  const leavePools = (slot: EngineSlot): void => {
    for (const { model } of slot.serves) {
      const pool = pools.get(model);
      const at = pool?.slots.indexOf(slot) ?? -1;
      if (pool === undefined || at < 0) continue;
      pool.slots.splice(at, 1);
      pool.endpoints.splice(at, 1);
      if (pool.slots.length === 0) pools.delete(model);
    }
  };
  const enterPools = (slot: EngineSlot): void => {
    for (const { model, endpoints } of slot.serves) {
      const pool = pools.get(model) ?? { model, slots: [], endpoints: [] };
      pools.set(model, pool);
      pool.slots.push(slot);
      pool.endpoints.push(bitsOf(endpoints));
    }
  };
  const unlist = (slot: EngineSlot): void => {
    leavePools(slot);
    byEngine.delete(slot.engine);
    slot.listed = false;
    reservations.forget(slot);
    onEnded?.(slot);
  };
  /** The same engine in its next life is as fast as before; with another model it is another engine. */
  const begin = (facts: EngineFacts, before: EngineSlot | undefined): EngineSlot => {
    const slot = reservations.slotOf(facts.engine, facts.incarnation);
    slot.listed = true;
    const known = before !== undefined && sameModels(before.serves, facts.serves);
    if (known) slot.fit = before.fit;
    else if (facts.prior !== undefined) slot.fit = createSpeedFit(facts.prior);
    slot.speed = slot.fit.speed;
    byEngine.set(facts.engine, slot);
    return slot;
  };
  return {
    put(facts) {
      const before = byEngine.get(facts.engine);
      const sameLife = before?.incarnation === facts.incarnation;
      if (before !== undefined && !sameLife) unlist(before);
      const slot = before !== undefined && sameLife ? before : begin(facts, before);
      slot.node = facts.node;
      slot.name = facts.name;
      slot.refusal = facts.refusal;
      slot.lastSeenAtMs = facts.lastSeenAtMs;
      slot.otherRequests = countOf(facts.otherRequests);
      slot.kvUsageRatio = ratioOf(facts.kvUsageRatio);
      slot.maxRequests = facts.maxRequests ?? Infinity;
      slot.maxSequences = facts.maxSequences ?? Infinity;
      if (!sameLife || !sameModels(slot.serves, facts.serves)) {
        leavePools(slot);
        slot.serves = facts.serves;
        enterPools(slot);
      }
      return slot;
    },
    remove(engine) {
      const slot = byEngine.get(engine);
      if (slot !== undefined) unlist(slot);
    },
    find: (engine) => byEngine.get(engine),
    pool: (model) => pools.get(model),
    get slots() {
      return byEngine.values();
    },
  };
}
