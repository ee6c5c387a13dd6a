/**
 * What one scheduler knows of the fleet, and all of it comes from what agents push. The table of nodes belongs to the
 * run loop and is changed in place by step.ts alone; the values in it are never changed, only replaced, so whoever holds
 * one holds a consistent picture.
 */
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { DesiredState } from '../../../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineEvent__Output } from '../../../proto/gen/fleet/v1/EngineEvent.ts';
import type { EngineReading__Output } from '../../../proto/gen/fleet/v1/EngineReading.ts';
import type { GpuEvent__Output } from '../../../proto/gen/fleet/v1/GpuEvent.ts';
import type { Hello__Output } from '../../../proto/gen/fleet/v1/Hello.ts';
import type { NodeEvent__Output } from '../../../proto/gen/fleet/v1/NodeEvent.ts';
import type { ServedModel__Output } from '../../../proto/gen/fleet/v1/ServedModel.ts';
import type { SpecRejection__Output } from '../../../proto/gen/fleet/v1/SpecRejection.ts';
import type { Telemetry__Output } from '../../../proto/gen/fleet/v1/Telemetry.ts';

/** Transitions that are kept per engine. */
export const MAX_HISTORY = 32;
/** Engines that are kept per node; an agent with more is refused. */
export const MAX_ENGINES_PER_NODE = 256;
/** Nodes that are kept; lost ones are forgotten first, longest lost first. */
export const MAX_NODES = 4096;
/** GPUs whose newest event is kept per node. */
export const MAX_GPUS_PER_NODE = 256;

export interface EngineRecord {
  readonly id: EngineId;
  readonly node: NodeId;
  /** Name of the engine on its node. */
  readonly name: string;
  /** The newest transition: the whole truth about the engine. */
  readonly event: EngineEvent__Output;
  /** Newest transitions, oldest first, at most MAX_HISTORY. */
  readonly history: readonly EngineEvent__Output[];
  /** What it serves, or what it served when it last said so: a restarting engine keeps its models known. */
  readonly models: readonly ServedModel__Output[];
  readonly reading: EngineReading__Output | undefined;
  /**
   * Requests that this scheduler had on the engine when its agent last said how it stands, be it by silence about it: the
   * part of the reading that is ours.
   */
  readonly reservedAtReading: number;
}

export interface NodeState {
  readonly name: NodeId;
  readonly connected: boolean;
  /** Life of the agent process; lanes name it. */
  readonly sessionId: string;
  /** Number of the stream that speaks for the node; messages of an older stream count no more. */
  readonly connection: number;
  readonly hello: Hello__Output;
  readonly connectedAtWallMs: number;
  readonly lastSeenWallMs: number;
  /** Monotonic milliseconds. */
  readonly lastSeenAtMs: number;
  /** The picture that the node's messages make together; of an earlier session until this one has sent a snapshot. */
  readonly telemetry: Telemetry__Output | undefined;
  /** Whether this session has sent a snapshot, so that deltas mean something. */
  readonly hasSnapshot: boolean;
  /** Monotonic milliseconds; when telemetry came last. */
  readonly telemetryAtMs: number | undefined;
  readonly desired: DesiredState | undefined;
  readonly observedGeneration: number | undefined;
  readonly rejections: readonly SpecRejection__Output[];
  readonly goodbye: string | undefined;
  readonly engines: ReadonlyMap<string, EngineRecord>;
  /** The newest event of each GPU that had one, by index. */
  readonly gpuEvents: ReadonlyMap<number, GpuEvent__Output>;
  /** What the node said last about its drain; undefined: it serves. */
  readonly nodeEvent: NodeEvent__Output | undefined;
}

export interface FleetState {
  readonly nodes: Map<NodeId, NodeState>;
}

export function emptyFleet(): FleetState {
  return { nodes: new Map() };
}

/** Name of an engine in the whole fleet. */
export function engineId(node: NodeId, engine: string): EngineId {
  return `${node}/${engine}` as EngineId;
}

/** Finds an engine by its name in the fleet. */
export function findEngine(state: FleetState, id: EngineId): EngineRecord | undefined {
  const slash = id.indexOf('/');
  return state.nodes.get(id.slice(0, slash) as NodeId)?.engines.get(id.slice(slash + 1));
}

/** `draining` for ENGINE_STATE_DRAINING: the word that people and reasons use. */
export function stateWord(state: string): string {
  return state.replace('ENGINE_STATE_', '').toLowerCase();
}
