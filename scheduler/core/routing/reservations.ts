/**
 * How many requests this scheduler has on each life of each engine. A place is taken in the same step as the pick, so
 * two picks never see the same free engine, and it is given back exactly once, whatever way the request ends. The count
 * belongs to a life of an engine: what a dead one leaves behind cannot make its successor look busy or, worse, idle.
 */
import type { EngineId } from '../../../lib/ids.ts';

/** A taken place. */
export interface Lease {
  readonly engine: EngineId;
  readonly incarnation: number;
  /** Gives the place back; further calls do nothing. */
  release(): void;
}

export interface Reservations {
  reserve(engine: EngineId, incarnation: number): Lease;
  readonly count: (engine: EngineId, incarnation: number) => number;
  /** All places of all engines. */
  readonly total: number;
  /** Lives that have at least one place taken; for tests that nothing stays behind. */
  readonly lives: number;
}

export function createReservations(): Reservations {
  const counts = new Map<EngineId, Map<number, number>>();
  let total = 0;
  const change = (engine: EngineId, incarnation: number, by: number): void => {
    const lives = counts.get(engine) ?? new Map<number, number>();
    const count = (lives.get(incarnation) ?? 0) + by;
    if (count === 0) lives.delete(incarnation);
    else lives.set(incarnation, count);
    if (lives.size === 0) counts.delete(engine);
    else counts.set(engine, lives);
    total += by;
  };
  return {
    reserve(engine, incarnation) {
      change(engine, incarnation, 1);
      let held = true;
      return {
        engine,
        incarnation,
        release() {
          if (!held) return;
          held = false;
          change(engine, incarnation, -1);
        },
      };
    },
    count: (engine, incarnation) => counts.get(engine)?.get(incarnation) ?? 0,
    get total() {
      return total;
    },
    get lives() {
      let lives = 0;
      for (const each of counts.values()) lives += each.size;
      return lives;
    },
  };
}
