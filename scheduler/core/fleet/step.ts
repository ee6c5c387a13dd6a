/**
 * What the scheduler's picture of the fleet becomes when an agent says something, and what has to be done about it.
 * Rules: only the newest stream of a node counts; a hello is the full truth of a node; an event of an older incarnation
 * than the known one is late and changes nothing.
 */
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { DesiredState } from '../../../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineReading__Output } from '../../../proto/gen/fleet/v1/EngineReading.ts';
import type { EngineEvent__Output } from '../../../proto/gen/fleet/v1/EngineEvent.ts';
import type { GpuEvent__Output } from '../../../proto/gen/fleet/v1/GpuEvent.ts';
import type { Hello__Output } from '../../../proto/gen/fleet/v1/Hello.ts';
import type { NodeEvent__Output } from '../../../proto/gen/fleet/v1/NodeEvent.ts';
import type { SpecRejection__Output } from '../../../proto/gen/fleet/v1/SpecRejection.ts';
import type { Telemetry__Output } from '../../../proto/gen/fleet/v1/Telemetry.ts';
import {
  engineId,
  type EngineRecord,
  type FleetState,
  MAX_ENGINES_PER_NODE,
  MAX_GPUS_PER_NODE,
  MAX_HISTORY,
  MAX_NODES,
  type NodeState,
} from './state.ts';
import { mergeTelemetry } from './telemetry.ts';

export type FleetEvent =
  | {
      readonly kind: 'hello';
      readonly node: NodeId;
      readonly connection: number;
      readonly hello: Hello__Output;
      readonly desired: DesiredState | undefined;
    }
  | {
      readonly kind: 'telemetry';
      readonly node: NodeId;
      readonly connection: number;
      readonly telemetry: Telemetry__Output;
    }
  | {
      readonly kind: 'engine_event';
      readonly node: NodeId;
      readonly connection: number;
      readonly event: EngineEvent__Output;
    }
  | {
      readonly kind: 'desired_ack';
      readonly node: NodeId;
      readonly connection: number;
      readonly generation: number;
      readonly rejections: readonly SpecRejection__Output[];
    }
  | { readonly kind: 'gpu_event'; readonly node: NodeId; readonly connection: number; readonly event: GpuEvent__Output }
  | {
      readonly kind: 'node_event';
      readonly node: NodeId;
      readonly connection: number;
      readonly event: NodeEvent__Output;
    }
  /** What the node is to run has changed, by no word of its agent. */
  | {
      readonly kind: 'ordered';
      readonly node: NodeId;
      readonly connection: number;
      readonly desired: DesiredState | undefined;
    }
  | { readonly kind: 'goodbye'; readonly node: NodeId; readonly connection: number; readonly reason: string }
  | { readonly kind: 'session_lost'; readonly node: NodeId; readonly connection: number };

export type FleetEffect =
  /** An older stream spoke for the node until now. `restarted`: it was another life of the agent, whose requests are lost. */
  | {
      readonly kind: 'session_replaced';
      readonly node: NodeId;
      readonly connection: number;
      readonly restarted: boolean;
    }
  /** A life of an engine is over: what still runs on it can get no answer. */
  | { readonly kind: 'engine_ended'; readonly engine: EngineId; readonly incarnation: number }
  /** The message came too late or did not fit and was passed over. */
  | {
      readonly kind: 'passed_over';
      readonly what:
        | 'old_stream'
        | 'old_incarnation'
        | 'too_many_engines'
        | 'too_many_gpus'
        | 'delta_before_snapshot'
        | 'impossible_figure';
      /** How many of it; one when absent. */
      readonly count?: number;
    };

export interface StepContext {
  /** Monotonic milliseconds. */
  readonly nowMs: number;
  /** Milliseconds since the epoch. */
  readonly wallMs: number;
  /** Requests that this scheduler has on an engine now. */
  readonly reserved: (engine: EngineId, incarnation: number) => number;
}

const NOTHING: readonly FleetEffect[] = Object.freeze([]);

/** States of a process that may still be answering. */
const LIVE: ReadonlySet<string> = new Set([
  'ENGINE_STATE_READY',
  'ENGINE_STATE_DRAINING',
  'ENGINE_STATE_STOPPING',
  'ENGINE_STATE_WARMING',
  'ENGINE_STATE_STARTING',
  'ENGINE_STATE_ADOPTED',
]);

/** Reasons to stop an engine that answers nobody any more: who waits for it would wait for its end in vain. */
const SILENT: ReadonlySet<string> = new Set(['wedged', 'unhealthy']);

/** Whether what runs on the engine may still get its answer. */
const mayAnswer = ({ state, reason }: EngineEvent__Output): boolean =>
  LIVE.has(state) && !(state === 'ENGINE_STATE_STOPPING' && SILENT.has(reason));

/** Takes one event into the state; the effects are for the caller to carry out, in order. */
export function step(state: FleetState, event: FleetEvent, context: StepContext): readonly FleetEffect[] {
  if (event.kind === 'hello') return stepHello(state, event, context);
  const node = state.nodes.get(event.node);
  if (node === undefined || node.connection !== event.connection) return [{ kind: 'passed_over', what: 'old_stream' }];
  if (event.kind === 'ordered') {
    state.nodes.set(event.node, { ...node, desired: event.desired });
    return NOTHING;
  }
  const seen = { ...node, lastSeenAtMs: context.nowMs, lastSeenWallMs: context.wallMs };
  switch (event.kind) {
    case 'telemetry':
      return stepTelemetry(state, seen, event.telemetry, context);
    case 'engine_event':
      return stepEngine(state, seen, event.event);
    case 'desired_ack':
      state.nodes.set(event.node, { ...seen, observedGeneration: event.generation, rejections: event.rejections });
      return NOTHING;
    case 'gpu_event':
      return stepGpu(state, seen, event.event);
    case 'node_event':
      state.nodes.set(event.node, { ...seen, nodeEvent: event.event.draining ? event.event : undefined });
      return NOTHING;
    case 'goodbye':
      state.nodes.set(event.node, { ...seen, goodbye: event.reason });
      return NOTHING;
    case 'session_lost':
      state.nodes.set(event.node, { ...node, connected: false });
      return NOTHING;
  }
}

function stepHello(
  state: FleetState,
  event: FleetEvent & { kind: 'hello' },
  context: StepContext,
): readonly FleetEffect[] {
  const { hello } = event;
  const before = state.nodes.get(event.node);
  const effects: FleetEffect[] = [];
  const restarted = before !== undefined && before.sessionId !== hello.sessionId;
  if (before !== undefined && (before.connected || restarted)) {
    effects.push({ kind: 'session_replaced', node: event.node, connection: before.connection, restarted });
  }
  const engines = new Map<string, EngineRecord>();
  for (const told of hello.engines)
    engines.set(told.engine, recordOf(event.node, told, before?.engines.get(told.engine)));
  for (const old of before?.engines.values() ?? []) {
    const now = engines.get(old.name);
    if (now === undefined || now.event.incarnation !== old.event.incarnation || !mayAnswer(now.event)) {
      if (mayAnswer(old.event)) effects.push(ended(old));
    }
  }
  makeRoom(state, event.node);
  state.nodes.set(event.node, {
    name: event.node,
    connected: true,
    sessionId: hello.sessionId,
    connection: event.connection,
    hello,
    connectedAtWallMs: context.wallMs,
    lastSeenWallMs: context.wallMs,
    lastSeenAtMs: context.nowMs,
    telemetry: restarted ? undefined : before?.telemetry,
    hasSnapshot: false,
    telemetryAtMs: restarted ? undefined : before?.telemetryAtMs,
    desired: event.desired,
    observedGeneration: hello.observedGeneration,
    rejections: [],
    goodbye: undefined,
    engines,
    gpuEvents: gpusOf(hello, before),
    nodeEvent: hello.nodeEvent?.draining === true ? hello.nodeEvent : undefined,
  });
  return effects;
}

/** A hello names every GPU that is quarantined now; what was told of the others before still stands. */
function gpusOf(hello: Hello__Output, before: NodeState | undefined): ReadonlyMap<number, GpuEvent__Output> {
  const events = new Map<number, GpuEvent__Output>();
  for (const [index, event] of before?.gpuEvents ?? []) if (!event.quarantined) events.set(index, event);
  for (const event of hello.gpuEvents) events.set(event.index, event);
  return events;
}

function stepGpu(state: FleetState, node: NodeState, event: GpuEvent__Output): readonly FleetEffect[] {
  if (!node.gpuEvents.has(event.index) && node.gpuEvents.size >= MAX_GPUS_PER_NODE)
    return [{ kind: 'passed_over', what: 'too_many_gpus' }];
  state.nodes.set(node.name, { ...node, gpuEvents: new Map(node.gpuEvents).set(event.index, event) });
  return NOTHING;
}

function stepEngine(state: FleetState, node: NodeState, event: EngineEvent__Output): readonly FleetEffect[] {
  const before = node.engines.get(event.engine);
  if (before === undefined && node.engines.size >= MAX_ENGINES_PER_NODE)
    return [{ kind: 'passed_over', what: 'too_many_engines' }];
  if (before !== undefined && event.incarnation < before.event.incarnation) {
    return [{ kind: 'passed_over', what: 'old_incarnation' }];
  }
  const told = node.hasSnapshot ? node.telemetry?.engines.find(({ engine }) => engine === event.engine) : undefined;
  const record = recordOf(node.name, event, before, told);
  state.nodes.set(node.name, { ...node, engines: new Map(node.engines).set(event.engine, record) });
  if (before === undefined || !mayAnswer(before.event)) return NOTHING;
  const sameLife = event.incarnation === before.event.incarnation;
  return sameLife && mayAnswer(event) ? NOTHING : [ended(before)];
}

function ended(record: EngineRecord): FleetEffect {
  return { kind: 'engine_ended', engine: record.id, incarnation: record.event.incarnation };
}

/** @param told what telemetry has said of the engine, in case it was ahead of the event */
function recordOf(
  node: NodeId,
  event: EngineEvent__Output,
  before: EngineRecord | undefined,
  told?: EngineReading__Output,
): EngineRecord {
  const sameLife = before?.event.incarnation === event.incarnation;
  return {
    id: engineId(node, event.engine),
    node,
    name: event.engine,
    event,
    history: withEvent(before?.history ?? [], event),
    models: event.models.length > 0 ? event.models : (before?.models ?? []),
    reading: sameLife ? before?.reading : readingOf(event.incarnation, told),
    reservedAtReading: sameLife ? (before?.reservedAtReading ?? 0) : 0,
  };
}

/** Progress of one state replaces the entry before it, so that a slow start does not push the past out. */
function withEvent(
  history: readonly EngineEvent__Output[],
  event: EngineEvent__Output,
): readonly EngineEvent__Output[] {
  const last = history.at(-1);
  const same = last?.state === event.state && last.incarnation === event.incarnation && last.reason === event.reason;
  return [...(same ? history.slice(0, -1) : history.slice(-(MAX_HISTORY - 1))), event];
}

/** A reading of another life says nothing about this one. */
function readingOf(incarnation: number, told: EngineReading__Output | undefined): EngineReading__Output | undefined {
  return told?.incarnation === incarnation ? told : undefined;
}

function stepTelemetry(
  state: FleetState,
  node: NodeState,
  message: Telemetry__Output,
  context: StepContext,
): readonly FleetEffect[] {
  const merged = mergeTelemetry(node.hasSnapshot ? node.telemetry : undefined, message);
  if (merged === undefined) {
    state.nodes.set(node.name, node);
    return [{ kind: 'passed_over', what: 'delta_before_snapshot' }];
  }
  const { picture: telemetry, leftOut } = merged;
  const engines = withReadings(node.engines, telemetry, context);
  state.nodes.set(node.name, { ...node, telemetry, hasSnapshot: true, telemetryAtMs: context.nowMs, engines });
  return leftOut === 0 ? NOTHING : [{ kind: 'passed_over', what: 'impossible_figure', count: leftOut }];
}

/**
 * The engines with what the picture says of them now. An engine that a message does not name stands as it was, which
 * is news too: how many of its requests are ours is counted again.
 */
function withReadings(
  engines: ReadonlyMap<string, EngineRecord>,
  picture: Telemetry__Output,
  context: StepContext,
): ReadonlyMap<string, EngineRecord> {
  const told = new Map(picture.engines.map((entry) => [entry.engine, entry]));
  let next: Map<string, EngineRecord> | undefined;
  for (const record of engines.values()) {
    const { incarnation } = record.event;
    const reading = readingOf(incarnation, told.get(record.name));
    const reservedAtReading = reading === undefined ? 0 : context.reserved(record.id, incarnation);
    if (reading === record.reading && reservedAtReading === record.reservedAtReading) continue;
    next ??= new Map(engines);
    next.set(record.name, { ...record, reading, reservedAtReading });
  }
  return next ?? engines;
}

function makeRoom(state: FleetState, node: NodeId): void {
  if (state.nodes.has(node) || state.nodes.size < MAX_NODES) return;
  let oldest: NodeState | undefined;
  for (const each of state.nodes.values()) {
    if (!each.connected && (oldest === undefined || each.lastSeenAtMs < oldest.lastSeenAtMs)) oldest = each;
  }
  if (oldest !== undefined) state.nodes.delete(oldest.name);
}
