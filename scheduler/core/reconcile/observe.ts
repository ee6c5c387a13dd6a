/** What agents say of places: whether their engines run, and whether it is sure that they do not. */
import type { NodeId } from '../../../lib/ids.ts';
import type { FleetState, NodeState } from '../fleet/state.ts';
import type { ReplicaState } from '../rollout/contract.ts';
import type { Place } from './contract.ts';

export interface Observed {
  /** `unknown`: a node of it is not connected. `absent`: the agent has no such engine (yet). */
  readonly state: 'unknown' | 'absent' | 'starting' | 'ready' | 'draining' | 'stopping' | 'failed' | 'rejected';
  /** The agent's own words. */
  readonly detail: string;
  readonly node: string;
}

/** What a place that is to run is called, by what its agent says. */
export const RUNNING_STATE: Readonly<Record<Observed['state'], ReplicaState>> = {
  unknown: 'placed',
  absent: 'placed',
  starting: 'starting',
  ready: 'ready',
  draining: 'draining',
  stopping: 'stopping',
  failed: 'failed',
  rejected: 'failed',
};

/** The states of engines, the worst for a replica first. */
const WORDS: readonly (readonly [Observed['state'], readonly string[]])[] = [
  ['failed', ['FAILED', 'QUARANTINED']],
  ['stopping', ['STOPPING']],
  ['draining', ['DRAINING']],
  ['absent', ['STOPPED']],
  ['starting', ['PENDING', 'PREFLIGHT', 'STARTING', 'WARMING', 'BACKOFF', 'ADOPTED', 'UNSPECIFIED']],
  ['ready', ['READY']],
];

const STATE_OF: ReadonlyMap<string, Observed['state']> = new Map(
  WORDS.flatMap(([state, words]) => words.map((word) => [`ENGINE_STATE_${word}`, state] as const)),
);

/** What is worst for a replica comes first: a replica on several hosts is as its worst part. */
const ORDER: readonly Observed['state'][] = ['rejected', 'unknown', ...WORDS.map(([state]) => state)];

function observePart(fleet: FleetState, name: string, engine: string): Observed {
  const node = fleet.nodes.get(name as NodeId);
  if (node?.connected !== true) return { state: 'unknown', detail: `${name} is not connected`, node: name };
  const rejection = node.rejections.find((each) => each.engine === engine);
  if (rejection !== undefined) return { state: 'rejected', detail: rejection.message, node: name };
  const record = node.engines.get(engine);
  if (record === undefined) return { state: 'absent', detail: `${name} has not begun it`, node: name };
  const { state, reason, message } = record.event;
  return { state: STATE_OF.get(state) ?? 'starting', detail: message === '' ? reason : message, node: name };
}

/** What is known of a place: the state of its worst part. */
export function observe(fleet: FleetState, { engine, parts }: Place): Observed {
  const seen = parts.map((part) => observePart(fleet, part.node, engine));
  seen.sort((left, right) => ORDER.indexOf(left.state) - ORDER.indexOf(right.state));
  return seen[0] ?? { state: 'absent', detail: 'it has no part', node: '' };
}

/** Whether a node's agent has confirmed that it does not run the engine; its orders must lack it. */
export function isGoneFrom(node: NodeState | undefined, engine: string, generation: number | undefined): boolean {
  if (node?.connected !== true || generation === undefined) return false;
  // The agent has taken up exactly the orders that lack the engine, and has no such process.
  if (node.observedGeneration !== generation) return false;
  const state = node.engines.get(engine)?.event.state;
  return state === undefined || state === 'ENGINE_STATE_STOPPED';
}
