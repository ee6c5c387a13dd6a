/**
 * The fleet as placement sees it: what operators say of nodes, what agents tell, and what is promised. A node that has
 * places but that this scheduler has not heard of yet stands there with the GPUs of its places, so that a scheduler that
 * has just started does not take a fleet that has not dialled yet for a lost one.
 */
import type { NodeId } from '../../../lib/ids.ts';
import type { GpuFacts__Output } from '../../../proto/gen/fleet/v1/GpuFacts.ts';
import { modelName, modelsOnDisk } from '../fleet/models_on_disk.ts';
import type { FleetState, NodeState } from '../fleet/state.ts';
import type { FleetSnapshot, GpuSnapshot, NodeSnapshot, Placement, WantedDeployment } from '../placement/contract.ts';
import type { Declared, NodeResource, Place, ReconcileOptions } from './contract.ts';
import { isStanding, sharingOf } from './places.ts';
import { gpuHold, nodeHold } from './quarantines.ts';

export interface FleetFacts {
  readonly declared: Declared;
  readonly fleet: FleetState;
  /** Engines of the configuration on a node, and the GPUs that they have. */
  readonly configured: (node: string) => readonly { readonly name: string; readonly gpus: readonly number[] }[];
  readonly nowMs: number;
  /** When this scheduler began to lead, on the same clock: no node is lost before it had its time to come back. */
  readonly leadingSinceMs: number;
  readonly options: Pick<ReconcileOptions, 'nodeLostMs' | 'staleAfterMs'>;
}

export const REGION_LABEL = 'topology.kubernetes.io/region';
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };
/** An unknown node's GPU has room for what is promised there, and for nothing else. */
const NO_ROOM = 1;

/** Since when nobody has heard of a node, on the clock of `nowMs`; undefined: it is connected. */
export function silentSinceMs({ fleet, leadingSinceMs }: FleetFacts, name: string): number | undefined {
  const node = fleet.nodes.get(name as NodeId);
  if (node?.connected === true) return undefined;
  return Math.max(leadingSinceMs, node?.lastSeenAtMs ?? 0);
}

export function isLost(facts: FleetFacts, name: string): boolean {
  const sinceMs = silentSinceMs(facts, name);
  return sinceMs !== undefined && facts.nowMs - sinceMs >= facts.options.nodeLostMs;
}

/** Names of all nodes: those that have spoken, those that were declared, those that have places. */
export function nodeNames({ declared, fleet }: Pick<FleetFacts, 'declared' | 'fleet'>): string[] {
  const names = new Set<string>([...fleet.nodes.keys(), ...declared.nodes.keys()]);
  for (const place of declared.places) for (const part of place.parts) names.add(part.node);
  return [...names].sort();
}

/** What places hold of each GPU without being replicas that stay: `node/gpu` to bytes. */
type Promises = ReadonlyMap<string, number>;

/** An exclusive place that is on its way out keeps everybody else off its GPUs until it is gone. */
const ALL = Infinity;

function promisesOf(places: readonly Place[]): Promises {
  const promises = new Map<string, number>();
  for (const place of places) {
    if (isStanding(place)) continue;
    const isShared = sharingOf(place.spec) !== 'exclusive';
    for (const { node, gpus, gpuMemoryBytes } of place.parts) {
      for (const gpu of gpus) {
        const key = `${node}/${gpu}`;
        promises.set(key, (promises.get(key) ?? 0) + (isShared ? gpuMemoryBytes : ALL));
      }
    }
  }
  return promises;
}

function healthOf(told: string | undefined): GpuSnapshot['health'] {
  if (told === 'degraded') return 'degraded';
  return told === 'unhealthy' ? 'failed' : 'ok';
}

/**
 * What engines can have of a GPU together, in bytes; undefined: not known. The driver keeps some of the total for itself, so
 * two halves of the total are more than there is. An agent of an earlier version tells the total alone.
 */
export const programBytes = (
  gpu: Pick<GpuFacts__Output, 'memoryUsableBytes' | 'memoryTotalBytes'> | undefined,
): number | undefined => gpu?.memoryUsableBytes ?? gpu?.memoryTotalBytes;

function gpusOf(node: NodeState, facts: FleetFacts, promises: Promises): GpuSnapshot[] {
  const configured = facts.configured(node.name).flatMap(({ gpus }) => gpus);
  return node.hello.gpus.map((gpu) => {
    const { index, name, uuid } = gpu;
    const reading = node.telemetry?.gpus.find((each) => each.index === index);
    const totalBytes = programBytes(reading) ?? programBytes(gpu) ?? 0;
    const usedBytes = reading?.memoryUsedBytes;
    const event = node.gpuEvents.get(index);
    const held = gpuHold(facts.declared.quarantines, node.name, index, uuid);
    const quarantine =
      held?.why ??
      (event?.quarantined === true ? event.message : undefined) ??
      (reading?.health === 'quarantined' ? 'quarantined by its agent' : undefined);
    const promised = configured.includes(index) ? ALL : (promises.get(`${node.name}/${index}`) ?? 0);
    return {
      index,
      model: name ?? 'unknown',
      totalBytes,
      ...(usedBytes === undefined ? {} : { freeBytes: Math.max(0, totalBytes - usedBytes) }),
      promisedBytes: Math.min(totalBytes, promised),
      health: healthOf(reading?.health),
      ...(quarantine === undefined ? {} : { quarantine }),
      ...(held === undefined ? {} : { quarantinedBy: held.names }),
      ...(reading?.numaNode === undefined ? {} : { numaNode: reading.numaNode }),
      ...((reading?.c2cLinkCount ?? 0) > 0 ? { coherent: true } : {}),
    };
  });
}

/** GPUs of a node that has not spoken, as far as its places tell. */
function ghostGpus(name: string, places: readonly Place[]): GpuSnapshot[] {
  const held = new Map<number, number>();
  for (const place of places) {
    for (const { node, gpus, gpuMemoryBytes } of place.parts) {
      if (node !== name) continue;
      for (const gpu of gpus) held.set(gpu, (held.get(gpu) ?? 0) + (isStanding(place) ? gpuMemoryBytes : 0));
    }
  }
  return [...held]
    .sort(([left], [right]) => left - right)
    .map(([index, bytes]) => ({ index, model: 'unknown', totalBytes: Math.max(NO_ROOM, bytes), health: 'ok' }));
}

function memoryOf(node: NodeState): Pick<NodeSnapshot, 'hostMemory'> {
  const totalBytes = node.hello.host?.memoryBytes;
  if (totalBytes === undefined) return {};
  const usedBytes = node.telemetry?.host?.memoryUsedBytes;
  const freeBytes = usedBytes === undefined ? {} : { freeBytes: Math.max(0, totalBytes - usedBytes) };
  return { hostMemory: { totalBytes, ...freeBytes } };
}

/**
 * Engines that run on a node though nobody wants them: of an earlier configuration, or started again by an agent that was
 * away while its place was written off. What they hold is not known, so the node takes nothing until they are gone.
 */
export function unknownEngines({ declared, fleet, configured }: FleetFacts, name: string): string[] {
  const running = [...(fleet.nodes.get(name as NodeId)?.engines.values() ?? [])]
    .filter(({ event }) => event.state !== 'ENGINE_STATE_STOPPED')
    .map((engine) => engine.name);
  if (running.length === 0) return [];
  const placed = enginesOf(declared.places).get(name);
  const known = new Set(configured(name).map((engine) => engine.name));
  return running.filter((engine) => !known.has(engine) && placed?.has(engine) !== true);
}

const engines = new WeakMap<readonly Place[], ReadonlyMap<string, ReadonlySet<string>>>();

/** Names of the places' engines on each node; it is asked for node after node. */
function enginesOf(places: readonly Place[]): ReadonlyMap<string, ReadonlySet<string>> {
  const known = engines.get(places);
  if (known !== undefined) return known;
  const byNode = new Map<string, Set<string>>();
  for (const { engine, parts } of places) {
    for (const { node } of parts) {
      const mine = byNode.get(node) ?? new Set<string>();
      byNode.set(node, mine.add(engine));
    }
  }
  engines.set(places, byNode);
  return byNode;
}

function nodeHealth(facts: FleetFacts, name: string, resource: NodeResource | undefined): NodeSnapshot['health'] {
  if (resource?.spec.retired === true || isLost(facts, name)) return 'lost';
  return facts.fleet.nodes.get(name as NodeId)?.connected === true ? 'ready' : 'not_ready';
}

function nodeOf(facts: FleetFacts, name: string, promises: Promises): NodeSnapshot {
  const node = facts.fleet.nodes.get(name as NodeId);
  const resource = facts.declared.nodes.get(name);
  const { spec, labels = {} } = resource ?? {};
  const driverVersion = node?.hello.gpus.find((gpu) => gpu.driverVersion !== undefined)?.driverVersion;
  const architecture = node?.hello.host?.architecture ?? '';
  const quarantine = nodeHold(facts.declared.quarantines, name);
  return {
    name,
    region: spec?.region ?? labels[REGION_LABEL] ?? 'default',
    labels,
    architecture: ARCHITECTURES[architecture] ?? architecture,
    ...(driverVersion === undefined ? {} : { driverVersion }),
    // A drain that a person ordered at the agent keeps new replicas away; it moves none, as it may be short.
    cordoned: spec?.cordoned === true || node?.nodeEvent !== undefined || unknownEngines(facts, name).length > 0,
    draining: spec?.draining === true,
    ...(quarantine === undefined ? {} : { quarantine }),
    taints: spec?.taints ?? [],
    health: nodeHealth(facts, name, resource),
    lastSeenMs: node?.lastSeenAtMs ?? facts.leadingSinceMs,
    gpus: node === undefined ? ghostGpus(name, facts.declared.places) : gpusOf(node, facts, promises),
    ...(node === undefined ? {} : { ...memoryOf(node), modelsOnDisk: modelsOnDisk(node) }),
  };
}

/** The name under which placement knows the replicas of one revision. */
export const plannerName = (deployment: string, revision: string): string => `${deployment}@${revision}`;

function placementOf(place: Place, fleet: FleetState): Placement {
  const { deployment, revision, index, spec, priority, parts, engine } = place;
  return {
    deployment: plannerName(deployment, revision),
    index,
    model: modelName(spec),
    priority,
    ...(spec.tenant === undefined ? {} : { tenant: spec.tenant }),
    sharing: sharingOf(spec),
    parts: parts.map(({ node, gpus, gpuMemoryBytes, hostMemoryBytes }) => {
      const used = fleet.nodes.get(node as NodeId)?.engines.get(engine)?.reading?.gpuMemoryBytes;
      const usedBytes = used === undefined ? {} : { usedBytes: Math.floor(used / Math.max(1, gpus.length)) };
      return { node, gpus, gpuMemoryBytes, hostMemoryBytes, ...usedBytes };
    }),
  };
}

/** The snapshot for the planner. @param deployments all that is wanted, under their planner's names */
export function snapshotOf(facts: FleetFacts, deployments: readonly WantedDeployment[]): FleetSnapshot {
  const { declared, fleet, nowMs, options } = facts;
  const promises = promisesOf(declared.places);
  return {
    version: declared.seq,
    nowMs,
    staleAfterMs: options.staleAfterMs,
    nodes: nodeNames(facts).map((name) => nodeOf(facts, name, promises)),
    deployments,
    placements: declared.places.filter(isStanding).map((place) => placementOf(place, fleet)),
  };
}
