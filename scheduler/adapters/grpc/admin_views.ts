/** The scheduler's picture of the fleet as messages of admin.v1; a figure that nobody has read stays absent. */
import { CodedError } from '../../../lib/errors.ts';
import type { Candidate } from '../../../proto/gen/admin/v1/Candidate.ts';
import type { Engine } from '../../../proto/gen/admin/v1/Engine.ts';
import type { EngineRouting } from '../../../proto/gen/admin/v1/EngineRouting.ts';
import type { ExplainDeploymentResponse } from '../../../proto/gen/admin/v1/ExplainDeploymentResponse.ts';
import type { ExplainRequestResponse } from '../../../proto/gen/admin/v1/ExplainRequestResponse.ts';
import type { GetStatusResponse } from '../../../proto/gen/admin/v1/GetStatusResponse.ts';
import type { Model } from '../../../proto/gen/admin/v1/Model.ts';
import type { ModelFiles } from '../../../proto/gen/admin/v1/ModelFiles.ts';
import type { RoutingDecision } from '../../../proto/gen/admin/v1/RoutingDecision.ts';
import type { Node } from '../../../proto/gen/admin/v1/Node.ts';
import type { FleetDirectory } from '../../core/fleet/directory.ts';
import { modelsOf as modelsOfEngine } from '../../core/fleet/models.ts';
import { type EngineRecord, type NodeState, stateWord } from '../../core/fleet/state.ts';
import type { QueueView } from '../../core/queue/contract.ts';
import { breakerAdmits } from '../../core/routing/breaker.ts';
import type { DecisionTrace, Verdict } from '../../core/routing/decision.ts';
import { type EngineSlot, waitingPrefillMs } from '../../core/routing/engine_slot.ts';
import type { RequestLog } from '../../core/routing/request_log.ts';
import type { Reservations } from '../../core/routing/reservations.ts';
import type { Router } from '../../core/routing/router.ts';

/** What operators may look at; the run loop gives it. */
export interface Inspector {
  readonly directory: FleetDirectory;
  readonly log: RequestLog;
  readonly router: Pick<Router, 'engines'>;
  readonly reservations: Reservations;
  readonly draining: boolean;
  readonly runningRequests: number;
  /** Requests that wait for an engine, by model. */
  queues(): readonly QueueView[];
  /** Monotonic milliseconds. */
  nowMs(): number;
}

export interface AdminFleet {
  readonly inspector: Inspector;
  readonly schedulerId: string;
  readonly version: string;
  readonly term: number;
  /** Milliseconds since the epoch. */
  readonly startedAtMs: number;
}

export function statusOf(fleet: AdminFleet): GetStatusResponse {
  const { inspector, schedulerId, version, term, startedAtMs } = fleet;
  const { directory } = inspector;
  const nowMs = inspector.nowMs();
  let nodes = 0;
  let readyEngines = 0;
  for (const node of inspector.directory.state.nodes.values()) {
    if (node.connected) nodes += 1;
    for (const engine of node.engines.values())
      if (directory.whyNotRoutable(node, engine, nowMs) === undefined) readyEngines += 1;
  }
  const { draining, runningRequests } = inspector;
  return { schedulerId, version, term, startedAtMs, draining, nodes, readyEngines, runningRequests };
}

export function nodeOf(fleet: AdminFleet, node: NodeState): Node {
  const { hello, telemetry, desired, observedGeneration } = node;
  return {
    name: node.name,
    connected: node.connected,
    agentVersion: hello.agentVersion,
    connectedAtMs: node.connectedAtWallMs,
    lastSeenMs: node.lastSeenWallMs,
    host: hello.host,
    gpus: hello.gpus,
    telemetry: telemetry ?? null,
    lanes: fleet.inspector.directory.lanesOf(node.name),
    ...(desired?.generation === undefined ? {} : { desiredGeneration: desired.generation }),
    ...(observedGeneration === undefined ? {} : { observedGeneration }),
    rejections: [...node.rejections],
    gpuEvents: [...node.gpuEvents.values()].filter((event) => event.quarantined),
    nodeEvent: node.nodeEvent ?? null,
  };
}

/** What routing holds of one life of an engine. */
function routingOf(slot: EngineSlot, nowMs: number): EngineRouting {
  const { breaker, speed, fit } = slot;
  return {
    breaker: breaker.state,
    ...(breaker.state === 'open' ? { breakerDueMs: Math.max(0, breaker.dueAtMs - nowMs) } : {}),
    breakerOpened: breaker.opened,
    pendingPrefillTokens: slot.pendingPrefillTokens,
    pendingPrefillMs: waitingPrefillMs(slot, nowMs),
    contextTokens: slot.contextTokens,
    prefillBaseMs: speed.prefillBaseMs,
    prefillPerTokenMs: speed.prefillPerTokenMs,
    prefillPerSquareMs: speed.prefillPerTokenSquaredMs ?? 0,
    stepBaseMs: speed.stepBaseMs,
    stepPerSequenceMs: speed.stepPerSequenceMs,
    stepPerContextTokenMs: speed.stepPerContextTokenMs,
    observations: fit.taken,
    rejectedObservations: fit.rejected,
  };
}

export function engineOf(fleet: AdminFleet, node: NodeState, engine: EngineRecord): Engine {
  const { inspector } = fleet;
  const nowMs = inspector.nowMs();
  const slot = inspector.router.engines.find(engine.id);
  const ejected = slot !== undefined && !breakerAdmits(slot.breaker, nowMs);
  const refusal = inspector.directory.whyNotRoutable(node, engine, nowMs) ?? (ejected ? { by: 'breaker' } : undefined);
  return {
    node: node.name,
    event: { ...engine.event, models: [...engine.models] },
    reading: engine.reading ?? null,
    runningRequests: inspector.reservations.count(engine.id, engine.event.incarnation),
    routable: refusal === undefined,
    notRoutableReason: refusal?.by ?? '',
    history: [...engine.history],
    routing: slot === undefined ? null : routingOf(slot, nowMs),
    gpuIds: [...(node.desired?.engines?.find((spec) => spec.name === engine.name)?.gpuIds ?? [])],
  };
}

export function modelsOf(fleet: AdminFleet): Model[] {
  const queued = new Map(fleet.inspector.queues().map(({ model, requests }) => [model, requests]));
  return fleet.inspector.directory.models(fleet.inspector.nowMs()).map((model) => ({
    id: model.id,
    readyEngines: model.readyEngines,
    engines: model.engines,
    runningRequests: model.runningRequests,
    simulated: model.simulated,
    queuedRequests: queued.get(model.id) ?? 0,
    ...(model.contextTokens === undefined ? {} : { contextTokens: model.contextTokens }),
  }));
}

/** The files of models on the hosts, as their agents told. A lost host keeps what it had: its disk is still there. */
export function modelFilesOf(fleet: AdminFleet): ModelFiles[] {
  return [...fleet.inspector.directory.state.nodes.values()].flatMap(({ name, telemetry }) =>
    (telemetry?.models ?? []).map((reading) => ({ node: name, reading })),
  );
}

function candidateOf(verdict: Verdict): Candidate {
  const { engine } = verdict;
  if (verdict.kind === 'refused') return { engine, picked: false, refusedBy: verdict.by, detail: verdict.detail };
  return { engine, picked: verdict.kind === 'picked', cost: verdict.cost, parts: [...verdict.parts] };
}

function decisionOf({ mode, engines, refused, count }: DecisionTrace): RoutingDecision {
  return { mode: mode ?? '', engines, refused: Object.fromEntries(refused), candidates: count };
}

/** @throws CodedError not_found when the request is unknown or forgotten */
export function requestOf(fleet: AdminFleet, id: string): ExplainRequestResponse {
  const record = fleet.inspector.log.find(id);
  if (record === undefined)
    throw new CodedError('not_found', 'This request is not among the newest ones.', { param: 'request_id' });
  const { firstTokenAtMs, endedAtMs, outputTokens, queue } = record;
  return {
    requestId: record.id,
    model: record.model,
    tenant: record.tenant,
    outcome: record.outcome,
    errorCode: record.errorCode,
    receivedAtMs: record.receivedAtMs,
    policy: record.policy,
    candidates: record.decisions.flatMap(({ verdicts }) => verdicts.map(candidateOf)),
    decisions: record.decisions.map(decisionOf),
    providers: [...(record.providers ?? [])],
    ...(firstTokenAtMs === undefined ? {} : { firstTokenAtMs }),
    ...(endedAtMs === undefined ? {} : { endedAtMs }),
    ...(outputTokens === undefined ? {} : { outputTokens }),
    ...(queue === undefined ? {} : { queue: { ...queue.place, waitedMs: Math.round(queue.waitedMs) } }),
  };
}

/** Each engine and what it is for a model. @throws CodedError model_not_found */
export function deploymentOf(fleet: AdminFleet, model: string): ExplainDeploymentResponse {
  const { inspector } = fleet;
  if (!inspector.directory.models(inspector.nowMs()).some((known) => known.id === model)) {
    throw new CodedError('model_not_found', 'There is no model of this name.', { param: 'model' });
  }
  const { directory } = inspector;
  const nowMs = inspector.nowMs();
  const engines = [...inspector.directory.state.nodes.values()].flatMap((node) =>
    [...node.engines.values()].map((engine) => {
      const serves = modelsOfEngine(node, engine);
      const { state } = engine.event;
      if (!serves.includes(model))
        return { engine: engine.id, state, verdict: `serves ${serves.join(', ') || 'nothing yet'}` };
      const refusal = directory.whyNotRoutable(node, engine, nowMs);
      const running = inspector.reservations.count(engine.id, engine.event.incarnation);
      const verdict =
        refusal === undefined ? `serves it, ${running} running` : `cannot serve it: ${refusal.by}. ${refusal.detail}`;
      return { engine: engine.id, state, verdict: verdict.trim() || stateWord(state) };
    }),
  );
  return { model, engines };
}
