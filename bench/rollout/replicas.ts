/**
 * Where the replicas of the one deployment are, and what is ordered of the nodes: as many of each revision as the rollout
 * wants, each on the node that has fewest. What real placement does with GPUs is not measured here.
 */
import type { NodeId } from '../../lib/ids.ts';
import type { EngineSpec } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import {
  type EngineRecord,
  engineId,
  type FleetState,
  findEngine,
  stateWord,
} from '../../scheduler/core/fleet/state.ts';
import type { ReplicaFacts, ReplicaState, Revision } from '../../scheduler/core/rollout/contract.ts';
import { engineName } from '../../scheduler/core/reconcile/places.ts';
import type { DeploymentSpec } from '../../scheduler/core/resources/contract.ts';

export interface PlacedReplica {
  readonly node: NodeId;
  /** Name of its engine on the node. */
  readonly name: string;
  readonly revision: Revision;
  /** It is ordered away, and stays in the list until its engine has stopped. */
  leaving: boolean;
  /** Its agent has told of it. */
  seen: boolean;
  orderedAtMs: number;
}

/** An order that no agent has taken up after so long was taken back before it got there. */
const UNSEEN_MS = 5000;
const STATES: Readonly<Record<string, ReplicaState>> = {
  ready: 'ready',
  draining: 'draining',
  stopping: 'stopping',
  failed: 'failed',
};

export const keyOf = ({ node, name }: PlacedReplica): string => engineId(node, name);

export class Replicas {
  readonly list: PlacedReplica[] = [];
  readonly #deployment: string;
  #next = 0;

  constructor(deployment: string) {
    this.#deployment = deployment;
  }

  /** Drops those that have stopped, and says how the others are. */
  look(fleet: FleetState, nowMs: number): ReplicaFacts[] {
    const facts: ReplicaFacts[] = [];
    for (let at = this.list.length - 1; at >= 0; at--) {
      const replica = this.list[at] as PlacedReplica;
      const engine = findEngine(fleet, engineId(replica.node, replica.name));
      if (engine !== undefined) replica.seen = true;
      const word = engine === undefined ? 'placed' : stateWord(engine.event.state);
      const isGone = replica.seen
        ? engine === undefined || word === 'stopped'
        : nowMs - replica.orderedAtMs > UNSEEN_MS;
      if (replica.leaving && isGone) this.list.splice(at, 1);
      else facts.unshift(refusedBy(fleet, replica) ?? factsOf(replica, engine, word));
    }
    return facts;
  }

  /** Adds and orders away until each revision has as many as are wanted. @returns whether any order changed */
  settle(
    wanted: Readonly<Record<string, number>>,
    known: ReadonlyMap<string, Revision>,
    world: { readonly nodes: readonly NodeId[]; readonly fleet: FleetState; readonly nowMs: number },
  ): boolean {
    let changed = false;
    for (const id of new Set([...this.list.map(({ revision }) => revision.id), ...Object.keys(wanted)])) {
      const there = this.list.filter(({ revision, leaving }) => revision.id === id && !leaving);
      const revision = known.get(id);
      for (let count = there.length; count < (wanted[id] ?? 0) && revision !== undefined; count++) {
        this.#add(revision, world.nodes, world.nowMs);
        changed = true;
      }
      const isReady = ({ node, name }: PlacedReplica): number =>
        findEngine(world.fleet, engineId(node, name))?.event.state === 'ENGINE_STATE_READY' ? 1 : 0;
      const order = there.toSorted((a, b) => isReady(a) - isReady(b));
      for (const replica of order.slice(0, Math.max(0, there.length - (wanted[id] ?? 0)))) {
        replica.leaving = true;
        replica.orderedAtMs = world.nowMs;
        changed = true;
      }
    }
    return changed;
  }

  #add(revision: Revision, nodes: readonly NodeId[], nowMs: number): void {
    const countOn = (node: NodeId): number => this.list.filter((each) => each.node === node && !each.leaving).length;
    const [node] = nodes.toSorted((a, b) => countOn(a) - countOn(b));
    if (node === undefined) return;
    this.#next += 1;
    const name = engineName(this.#deployment, this.#next, revision.id, 1);
    this.list.push({ node, name, revision, leaving: false, seen: false, orderedAtMs: nowMs });
  }

  /** What a node is to run. */
  ordersFor(node: NodeId): EngineSpec[] {
    return this.list.filter((each) => each.node === node && !each.leaving).map(specOf);
  }
}

/** An agent that refuses a specification never starts it. */
function refusedBy(fleet: FleetState, replica: PlacedReplica): ReplicaFacts | undefined {
  const rejection = fleet.nodes.get(replica.node)?.rejections.find(({ engine }) => engine === replica.name);
  if (rejection === undefined || replica.leaving) return undefined;
  return { key: keyOf(replica), revision: replica.revision.id, state: 'failed', reason: rejection.message };
}

function factsOf(replica: PlacedReplica, engine: EngineRecord | undefined, word: string): ReplicaFacts {
  const { event } = engine ?? {};
  return {
    key: keyOf(replica),
    revision: replica.revision.id,
    state: replica.leaving ? 'stopping' : word === 'placed' ? 'placed' : (STATES[word] ?? 'starting'),
    reason: event === undefined ? '' : `${event.reason} ${event.message}`.trim(),
    restarts: Math.max(0, (event?.incarnation ?? 1) - 1),
    gpu: 'ok',
  };
}

function specOf({ name, revision }: PlacedReplica): EngineSpec {
  const spec = revision.spec as unknown as DeploymentSpec;
  return {
    name,
    kind: 'ENGINE_KIND_SIM',
    model: spec.model,
    servedModelName: spec.servedModelName,
    gpuIds: [],
    extraFlags: [...spec.extraFlags],
    environment: { ...spec.environment },
    limits: { startTimeoutMs: 60_000, drainTimeoutMs: 30_000, stopTimeoutMs: 3000 },
  };
}
