/**
 * What of a plan is pending only because something of the same plan has to stop first. The planner gives away no memory that
 * is still held, so a changed engine that may run on one full node alone has no place in the plan, though its own old engine
 * makes room for it there. Whoever looks at the plan is told so; the leader finds it by itself when the stop is confirmed.
 */
import { seededRandom } from '../../../lib/rng.ts';
import type {
  Assignment,
  FleetSnapshot,
  GpuSnapshot,
  Placement,
  PlacementPlan,
  ReplicaId,
  Stop,
} from '../placement/contract.ts';
import { planPlacement } from '../placement/planner.ts';

/** A pending replica that gets a place once these have stopped. */
export interface LaterStart {
  readonly assignment: Assignment;
  readonly after: readonly Stop[];
}

const keyOf = ({ deployment, index }: ReplicaId): string => `${index}/${deployment}`;

/** What placements give back on each GPU: `node/gpu` to the larger of what they were promised and what they use. */
function givenBack(placements: readonly Placement[]): ReadonlyMap<string, number> {
  const bytes = new Map<string, number>();
  for (const { parts } of placements) {
    for (const { node, gpus, gpuMemoryBytes, usedBytes = 0 } of parts) {
      for (const gpu of gpus) {
        const key = `${node}/${gpu}`;
        bytes.set(key, (bytes.get(key) ?? 0) + Math.max(gpuMemoryBytes, usedBytes));
      }
    }
  }
  return bytes;
}

/** The fleet as it would be once they have stopped. */
function withoutThem(snapshot: FleetSnapshot, gone: readonly Placement[]): FleetSnapshot {
  const back = givenBack(gone);
  const freed = (node: string, gpu: GpuSnapshot): GpuSnapshot => {
    const { freeBytes, totalBytes, index } = gpu;
    const bytes = back.get(`${node}/${index}`) ?? 0;
    return freeBytes === undefined ? gpu : { ...gpu, freeBytes: Math.min(totalBytes, freeBytes + bytes) };
  };
  return {
    ...snapshot,
    nodes: snapshot.nodes.map((node) => ({ ...node, gpus: node.gpus.map((gpu) => freed(node.name, gpu)) })),
    placements: snapshot.placements.filter((each) => !gone.includes(each)),
  };
}

/**
 * @param searchSteps bound of the search, as of the plan itself; nothing is searched where nothing waits or nothing stops
 * @returns the pending replicas of deployments that have a stop in the plan, where that stop makes room for them
 */
export function laterStarts(
  snapshot: FleetSnapshot,
  plan: Pick<PlacementPlan, 'pending' | 'stops' | 'assignments'>,
  searchSteps: number,
): LaterStart[] {
  if (plan.pending.length === 0 || plan.stops.length === 0) return [];
  const stopped = new Map(plan.stops.map((stop) => [keyOf(stop), stop]));
  const gone = snapshot.placements.filter((each) => stopped.has(keyOf(each)));
  // What the plan starts has its place already, and whoever waits must not be shown a place on top of it.
  const models = new Map(snapshot.deployments.map((each) => [each.name, each]));
  const started = plan.assignments.map(({ deployment, index, priority, parts }): Placement => {
    const { model = '', sharing = 'exclusive', tenant, ports } = models.get(deployment) ?? {};
    const more = { ...(tenant === undefined ? {} : { tenant }), ...(ports === undefined ? {} : { ports }) };
    return { deployment, index, model, priority, sharing, parts, ...more };
  });
  const then = withoutThem(snapshot, gone);
  const moved = new Set(started.map(keyOf));
  const placements = [...then.placements.filter((each) => !moved.has(keyOf(each))), ...started];
  const later = planPlacement({ ...then, placements }, { random: seededRandom(1), searchSteps });
  const pending = new Set(plan.pending.map(keyOf));
  return later.assignments.flatMap((assignment) => {
    if (!pending.has(keyOf(assignment)) || assignment.waitsFor.length > 0) return [];
    const nodes = new Set(assignment.parts.map(({ node }) => node));
    const after = plan.stops.filter(({ from }) => from.some((node) => nodes.has(node)));
    return after.length === 0 ? [] : [{ assignment, after }];
  });
}
