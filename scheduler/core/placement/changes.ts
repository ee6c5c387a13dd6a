/**
 * What would have to change so that a node takes a replica, for each reason that speaks against it, and what preemption could do.
 */
import { conflictOn } from './affinity.ts';
import { type Board, lift, put, type Unit } from './board.ts';
import type { ReplicaId } from './contract.ts';
import type { Demand } from './demand.ts';
import { fit, NO_FIT } from './fit.ts';
import type { GangDomain, Reason } from './reasons.ts';

/** What would have to change for the node to take the replica; all of a verdict's changes together. */
export type Change =
  | { readonly change: 'wait_for_node' }
  | { readonly change: 'uncordon' }
  | { readonly change: 'end_drain' }
  | { readonly change: 'tolerate'; readonly key: string; readonly effect: string }
  | { readonly change: 'allow'; readonly field: 'regions' | 'architectures' | 'gpuModels'; readonly value: string }
  | { readonly change: 'upgrade_driver'; readonly to: string }
  | { readonly change: 'change_constraint'; readonly key: string }
  | { readonly change: 'label_node'; readonly key: string }
  | { readonly change: 'fewer_gpus'; readonly to: number }
  /** Repair or release some, delete the quarantines of others. */
  | { readonly change: 'release_gpus'; readonly gpus: readonly number[]; readonly quarantines: readonly string[] }
  | { readonly change: 'lift_quarantine'; readonly quarantines: readonly string[] }
  | { readonly change: 'share_gpus' }
  | { readonly change: 'free_gpu_memory'; readonly bytes: number }
  /** No GPU of the node is large enough even when empty. */
  | { readonly change: 'need_less_gpu_memory'; readonly toBytes: number }
  | { readonly change: 'drop_nvlink' }
  | { readonly change: 'free_host_memory'; readonly bytes: number }
  | { readonly change: 'free_ports'; readonly ports: readonly number[] }
  | { readonly change: 'move_away'; readonly deployment: string; readonly domain: string }
  | { readonly change: 'more_hosts'; readonly hosts: number; readonly domain?: GangDomain }
  /** Replicas of lower priority are in the way, and the deployment preempts nobody. */
  | { readonly change: 'allow_preemption'; readonly victims: readonly ReplicaId[] }
  /** Replicas that are not below it are in the way: with a priority above this it would take their place. */
  | { readonly change: 'raise_priority'; readonly above: number };

type ChangeOf = { readonly [By in Reason['by']]: (reason: Extract<Reason, { readonly by: By }>) => Change };

const CHANGES: ChangeOf = {
  node_unknown: () => ({ change: 'wait_for_node' }),
  health: () => ({ change: 'wait_for_node' }),
  stale: () => ({ change: 'wait_for_node' }),
  cordoned: () => ({ change: 'uncordon' }),
  draining: () => ({ change: 'end_drain' }),
  quarantine: ({ names }) => ({ change: 'lift_quarantine', quarantines: names }),
  taint: ({ taint }) => ({ change: 'tolerate', key: taint.key, effect: taint.effect }),
  region: ({ found }) => ({ change: 'allow', field: 'regions', value: found }),
  architecture: ({ found }) => ({ change: 'allow', field: 'architectures', value: found }),
  driver: ({ wanted }) => ({ change: 'upgrade_driver', to: wanted }),
  constraint: ({ key }) => ({ change: 'change_constraint', key }),
  gang_topology: ({ key }) => ({ change: 'label_node', key }),
  gpu_model: ({ found }) => ({ change: 'allow', field: 'gpuModels', value: found.join(', ') }),
  gpu_count: ({ foundGpus }) => ({ change: 'fewer_gpus', to: foundGpus }),
  gpu_health: ({ bad }) => ({
    change: 'release_gpus',
    gpus: bad.flatMap(({ gpu, names }) => (names === undefined ? [gpu] : [])),
    quarantines: [...new Set(bad.flatMap(({ names }) => names ?? []))],
  }),
  gpu_sharing: () => ({ change: 'share_gpus' }),
  gpu_memory: ({ needBytes, freeBytes, largestGpuBytes }) =>
    needBytes > largestGpuBytes
      ? { change: 'need_less_gpu_memory', toBytes: largestGpuBytes }
      : { change: 'free_gpu_memory', bytes: needBytes - freeBytes },
  nvlink: () => ({ change: 'drop_nvlink' }),
  host_memory: ({ needBytes, freeBytes }) => ({ change: 'free_host_memory', bytes: needBytes - freeBytes }),
  ports: ({ taken }) => ({ change: 'free_ports', ports: taken }),
  anti_affinity: ({ deployment, domain }) => ({ change: 'move_away', deployment, domain }),
  gang: ({ needHosts, foundHosts, domain }) => ({
    change: 'more_hosts',
    hosts: needHosts - foundHosts,
    ...(domain === undefined ? {} : { domain }),
  }),
};

export function changeFor(reason: Reason): Change {
  const of = CHANGES[reason.by] as (reason: Reason) => Change;
  return of(reason);
}

/** Whether the replica would fit if others on the node were preempted, and what stands between. */
export function preemptionChange(board: Board, demand: Demand, node: number): Change[] {
  const others = (board.onNode[node] ?? []).filter((unit) => unit.state === 'kept' || unit.state === 'placed');
  const lower = others.filter((unit) => unit.priority < demand.priority);
  if (lower.length > 0 && wouldFit(board, demand, node, lower))
    return demand.mayPreempt ? [] : [{ change: 'allow_preemption', victims: lower.map(idOf) }];
  const highest = Math.max(-1, ...others.map((unit) => unit.priority));
  if (highest < demand.priority || highest >= 100 || !wouldFit(board, demand, node, others)) return [];
  return [{ change: 'raise_priority', above: lowestThatHelps(board, demand, node, others) }];
}

const idOf = ({ deployment, index }: Unit): ReplicaId => ({ deployment, index });

function wouldFit(board: Board, demand: Demand, node: number, without: readonly Unit[]): boolean {
  const before = without.map((unit) => ({ unit, parts: unit.parts, state: unit.state }));
  for (const unit of without) lift(board, unit);
  const fits = conflictOn(board, node, demand) === undefined && fit(board, node, demand) !== NO_FIT;
  for (const { unit, parts, state } of before) put(board, unit, parts, state);
  return fits;
}

/** The lowest priority such that all replicas up to it make room when they go. */
function lowestThatHelps(board: Board, demand: Demand, node: number, others: readonly Unit[]): number {
  const priorities = [...new Set(others.map((unit) => unit.priority))].sort((a, b) => a - b);
  const found = priorities.find(
    (priority) =>
      priority >= demand.priority &&
      wouldFit(
        board,
        demand,
        node,
        others.filter((unit) => unit.priority <= priority),
      ),
  );
  return found ?? (priorities.at(-1) as number);
}
