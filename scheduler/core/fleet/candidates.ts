/**
 * Which engines come into question for a model, and why each of the others does not. The reason of a refusal is a word
 * that operators see in `sophia engine list` and `sophia explain request`.
 */
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { Endpoint } from '../../ports.ts';
import { type EngineRecord, type NodeState, stateWord } from './state.ts';

/** Why an engine may not be picked. A state's word (`draining`, `starting`, ...) stands for itself. */
export interface Refusal {
  readonly by: string;
  readonly detail: string;
}

/** One engine as the routing sees it. */
export interface Candidate {
  readonly engine: EngineId;
  readonly node: NodeId;
  /** Name of the engine on its node. */
  readonly name: string;
  readonly incarnation: number;
  /** Requests of this scheduler that are on the engine now. */
  readonly reserved: number;
  /** Requests of others, from the newest reading. */
  readonly otherRequests: number;
  readonly refusal: Refusal | undefined;
}

export interface CandidateContext {
  /** Monotonic milliseconds. */
  readonly nowMs: number;
  /** A node that said nothing for this long may hang: it is taken only when there is no other. */
  readonly staleAfterMs: number;
  readonly hasLane: (node: NodeId) => boolean;
  readonly reserved: (engine: EngineId, incarnation: number) => number;
}

/** Whether an engine may be picked at all, whatever the request; `undefined` means it may. */
export function whyNotRoutable(node: NodeState, engine: EngineRecord, context: CandidateContext): Refusal | undefined {
  const { event } = engine;
  if (!node.connected) return { by: 'node_lost', detail: `The agent of ${node.name} is not connected.` };
  if (node.nodeEvent !== undefined) return { by: 'node_draining', detail: `${node.name} drains as a whole.` };
  if (event.state !== 'ENGINE_STATE_READY') return { by: stateWord(event.state), detail: event.message };
  if (!context.hasLane(node.name)) return { by: 'no_lane', detail: `${node.name} has opened no lane.` };
  const silentMs = context.nowMs - node.lastSeenAtMs;
  if (silentMs > context.staleAfterMs) {
    return { by: 'stale_telemetry', detail: `${node.name} has said nothing for ${Math.round(silentMs)} ms.` };
  }
  return undefined;
}

/** Looks at one engine for one request. */
export function candidateOf(
  node: NodeState,
  engine: EngineRecord,
  wanted: { readonly model: string; readonly endpoint: Endpoint },
  context: CandidateContext,
): Candidate {
  const { incarnation } = engine.event;
  const reserved = context.reserved(engine.id, incarnation);
  const refusal =
    whyNotRoutable(node, engine, context) ?? lacksEndpoint(engine, wanted) ?? isFull(node, engine.name, reserved);
  const otherRequests = Math.max(0, knownLoad(engine) - engine.reservedAtReading);
  return { engine: engine.id, node: node.name, name: engine.name, incarnation, reserved, otherRequests, refusal };
}

function lacksEndpoint(
  engine: EngineRecord,
  wanted: { readonly model: string; readonly endpoint: Endpoint },
): Refusal | undefined {
  const served = engine.models.find((model) => model.id === wanted.model);
  if (served === undefined || served.capabilities.length === 0 || served.capabilities.includes(wanted.endpoint))
    return undefined;
  return { by: 'no_endpoint', detail: `It serves ${served.capabilities.join(', ')}, not ${wanted.endpoint}.` };
}

function isFull(node: NodeState, name: string, reserved: number): Refusal | undefined {
  const most = node.desired?.engines?.find((spec) => spec.name === name)?.limits?.maxConcurrentRequests;
  if (most === undefined || reserved < most) return undefined;
  return { by: 'at_capacity', detail: `It has ${reserved} of at most ${most} requests.` };
}

/** The agent's own count is exact; the engine's counters tell of requests that did not come through an agent. */
function knownLoad(engine: EngineRecord): number {
  const { reading } = engine;
  if (reading === undefined) return 0;
  return Math.max(reading.relayedRequests ?? 0, (reading.runningRequests ?? 0) + (reading.waitingRequests ?? 0));
}
