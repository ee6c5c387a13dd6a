/**
 * Who is beside whom: required anti-affinity refuses a domain, preferred terms make it dearer or better. It hangs on what is on
 * the board, and so is kept out of the tables of scores and added when a node is picked.
 */
import type { Board, Unit } from './board.ts';
import type { Conflict, Demand, Domains, SoftTerm } from './demand.ts';

/** How many parts of a deployment's units are in a domain. */
function partsIn(units: readonly Unit[], domains: Domains, domain: number): number {
  let count = 0;
  for (const unit of units) for (const part of unit.parts) if (domains.of[part.node] === domain) count += 1;
  return count;
}

/** The first required term that speaks against a node; nodes without the label are no domain. */
export function conflictOn(board: Board, node: number, { conflicts }: Demand): Conflict | undefined {
  return conflicts.find(({ other, domains }) => {
    const domain = domains.of[node] as number;
    return domain >= 0 && partsIn(board.serving[other] as Unit[], domains, domain) > 0;
  });
}

export interface Surroundings {
  /** What a node gains by the replicas around it, if one more of the demand were put there; below 0 for a loss. */
  at(node: number): number;
  /** No node gains more. */
  readonly most: number;
}

/** @returns undefined: the deployment says nothing of others, and no required term of others concerns it */
export function surroundings(board: Board, demand: Demand): Surroundings | undefined {
  if (demand.soft.length === 0 && demand.conflicts.length === 0) return undefined;
  const tables: { readonly of: Int32Array; readonly gains: Float64Array }[] = [];
  const add = (other: number, { of, names }: Domains, gain: number): void => {
    const units = board.serving[other] as Unit[];
    if (units.length === 0) return;
    const gains = new Float64Array(names.length);
    for (const unit of units) {
      for (const { node } of unit.parts) {
        const domain = of[node] as number;
        if (domain >= 0) gains[domain] = (gains[domain] as number) + gain;
      }
    }
    tables.push({ of, gains });
  };
  // Each of a pair of own replicas feels the other.
  for (const { other, domains, gain } of demand.soft) add(other, domains, other === demand.id ? 2 * gain : gain);
  for (const { other, domains } of demand.conflicts) add(other, domains, -Infinity);
  if (tables.length === 0) return undefined;
  return {
    at(node) {
      let sum = 0;
      for (const { of, gains } of tables) {
        const domain = of[node] as number;
        if (domain >= 0) sum += gains[domain] as number;
      }
      return sum;
    },
    most: tables.reduce((sum, { gains }) => sum + gains.reduce((best, gain) => Math.max(best, gain), 0), 0),
  };
}

/** What all preferred terms of a deployment come to, for the objective: each replica counts those of the other around it. */
export function affinitySum(board: Board, demand: Demand): number {
  let sum = 0;
  for (const term of demand.soft) sum += termSum(board, demand, term);
  return sum;
}

function termSum(board: Board, demand: Demand, { other, domains, gain }: SoftTerm): number {
  const counts = new Map<number, number>();
  for (const unit of board.serving[other] as Unit[]) {
    for (const { node } of unit.parts) {
      const domain = domains.of[node] as number;
      if (domain >= 0) counts.set(domain, (counts.get(domain) ?? 0) + 1);
    }
  }
  let sum = 0;
  for (const unit of board.serving[demand.id] as Unit[]) {
    for (const { node } of unit.parts) {
      const domain = domains.of[node] as number;
      if (domain < 0) continue;
      sum += gain * ((counts.get(domain) ?? 0) - (other === demand.id ? 1 : 0));
    }
  }
  return sum;
}
