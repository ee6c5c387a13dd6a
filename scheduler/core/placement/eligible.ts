/**
 * Which nodes a deployment may use at all, and what they are worth by themselves. Nodes that are alike in all that any filter
 * of nodes looks at form a class, and deployments that ask the same share the answer, so that thousands of nodes and
 * deployments come to a few questions.
 */
import type { Board } from './board.ts';
import type { FleetSnapshot, NodeSnapshot, WantedDeployment } from './contract.ts';
import type { Demand } from './demand.ts';
import type { NodeAsk } from './filters/filter.ts';
import { NODE_FILTERS } from './filters.ts';
import { valueOf } from './requirements.ts';
import { NODE_SCORES } from './scores.ts';

export interface Eligibility {
  /** By node: what it is worth by itself; -Infinity: it may not be used. It is overwritten by the next call. */
  of(demand: Demand): Float64Array;
}

export function createEligibility({ fleet, demands }: Board, snapshot: FleetSnapshot): Eligibility {
  const keys = labelKeys(demands);
  const { classOf, members } = classify(fleet.nodes, keys, snapshot);
  const byKey = new Map<string, Float64Array>();
  const bonuses = modelBonuses(fleet.nodes);
  const classScores = ({ nodeKey, wanted }: Demand): Float64Array => {
    const found = byKey.get(nodeKey) ?? Float64Array.from(members, (node) => worth(node, wanted, snapshot));
    byKey.set(nodeKey, found);
    return found;
  };
  const out = new Float64Array(fleet.nodes.length);
  let last: Demand | undefined;
  return {
    of(demand) {
      if (demand === last) return out;
      last = demand;
      const scores = classScores(demand);
      for (let n = 0; n < out.length; n++) out[n] = scores[classOf[n] as number] as number;
      for (const { node, bonus } of bonuses.get(demand.wanted.model) ?? []) out[node] = (out[node] as number) + bonus;
      return out;
    },
  };
}

/** What a class of nodes is worth, without what hangs on the model. */
function worth(node: NodeSnapshot, wanted: WantedDeployment, ask: NodeAsk): number {
  for (const filter of NODE_FILTERS) if (filter.refuses(node, wanted, ask) !== undefined) return -Infinity;
  let sum = 0;
  for (const score of NODE_SCORES) if (score.byModel !== true) sum += score.weight * score.of(node, wanted);
  return sum;
}

/** The weighted sum of the node scores. */
export function nodeWorth(node: NodeSnapshot, wanted: WantedDeployment): number {
  let sum = 0;
  for (const score of NODE_SCORES) sum += score.weight * score.of(node, wanted);
  return sum;
}

/** Labels and attributes that any deployment asks for. */
function labelKeys(demands: readonly Demand[]): string[] {
  const keys = new Set<string>();
  for (const { wanted } of demands) {
    for (const { key } of wanted.constraints ?? []) keys.add(key);
    for (const { requirement } of wanted.preferences ?? []) keys.add(requirement.key);
    if (wanted.gangTopologyKey !== undefined) keys.add(wanted.gangTopologyKey);
  }
  return [...keys];
}

function classify(
  nodes: readonly NodeSnapshot[],
  keys: readonly string[],
  { nowMs, staleAfterMs }: NodeAsk,
): { readonly classOf: Int32Array; readonly members: readonly NodeSnapshot[] } {
  const ids = new Map<string, number>();
  const members: NodeSnapshot[] = [];
  const classOf = Int32Array.from(nodes, (node) => {
    const models = new Set(node.gpus.map((gpu) => gpu.model));
    const isStale = nowMs - node.lastSeenMs > staleAfterMs;
    const what = [node.region, node.architecture, node.driverVersion, node.health, node.cordoned, node.draining];
    const isHeld = node.quarantine !== undefined;
    const asked = keys.map((key) => valueOf(node, key));
    const key = JSON.stringify([what, isStale, isHeld, node.taints, [...models], asked]);
    const found = ids.get(key);
    if (found !== undefined) return found;
    ids.set(key, members.length);
    return members.push(node) - 1;
  });
  return { classOf, members };
}

interface Bonus {
  readonly node: number;
  readonly bonus: number;
}

/** By model: the nodes that have something of it, and what that is worth. */
function modelBonuses(nodes: readonly NodeSnapshot[]): ReadonlyMap<string, readonly Bonus[]> {
  const map = new Map<string, Bonus[]>();
  for (const [n, node] of nodes.entries()) {
    for (const model of new Set([...(node.modelsOnDisk ?? []), ...(node.warmCaches ?? [])])) {
      const wanted: WantedDeployment = { name: '', model, replicas: 0, gpusPerHost: 0, gpuMemoryBytes: 0 };
      let bonus = 0;
      for (const score of NODE_SCORES) if (score.byModel === true) bonus += score.weight * score.of(node, wanted);
      const list = map.get(model) ?? [];
      map.set(model, list);
      list.push({ node: n, bonus });
    }
  }
  return map;
}
