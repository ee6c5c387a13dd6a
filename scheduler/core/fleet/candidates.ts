/**
 * What the fleet says of an engine, in the terms of routing: whether it serves, which models it answers, what others have
 * on it. The reason of a refusal is a word that operators see in `sophia engine list` and `sophia explain request`.
 */
import { EMBEDDED_MAX_SEQUENCES } from '../../../lib/engine_defaults.ts';
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { EngineSpec } from '../../../proto/gen/fleet/v1/EngineSpec.ts';
import type { ServedModel__Output } from '../../../proto/gen/fleet/v1/ServedModel.ts';
import type { Endpoint } from '../../ports.ts';
import type { EngineFacts, Refusal } from '../routing/engine_slot.ts';
import { priorOf } from '../routing/speed_priors.ts';
import { isGangMember } from './gang_member.ts';
import { isGone, modelsOf } from './models.ts';
import { type EngineRecord, type NodeState, stateWord } from './state.ts';

export interface CandidateContext {
  /** Monotonic milliseconds. */
  readonly nowMs: number;
  /** A node that said nothing for this long may hang: it is taken only when there is no other. */
  readonly staleAfterMs: number;
  readonly hasLane: (node: NodeId) => boolean;
  readonly reserved: (engine: EngineId, incarnation: number) => number;
}

/** Whether an engine may be picked at all, whatever the request and the time; `undefined` means it may. */
function whyNotServing(node: NodeState, engine: EngineRecord, hasLane: boolean): Refusal | undefined {
  const { event } = engine;
  if (!node.connected) return { by: 'node_lost', detail: `The agent of ${node.name} is not connected.` };
  if (node.nodeEvent !== undefined) return { by: 'node_draining', detail: `${node.name} drains as a whole.` };
  if (isGangMember(node, engine.name))
    return { by: 'gang_member', detail: 'It computes for the replica; the leader of the gang takes its requests.' };
  if (event.state !== 'ENGINE_STATE_READY') return { by: stateWord(event.state), detail: event.message };
  if (!hasLane) return { by: 'no_lane', detail: `${node.name} has opened no lane.` };
  return undefined;
}

/** As the routing sees it now, without what one request or the engine's breaker adds; `undefined` means it may. */
export function whyNotRoutable(node: NodeState, engine: EngineRecord, context: CandidateContext): Refusal | undefined {
  const refusal = whyNotServing(node, engine, context.hasLane(node.name));
  if (refusal !== undefined) return refusal;
  const silentMs = context.nowMs - node.lastSeenAtMs;
  if (silentMs > context.staleAfterMs) {
    return { by: 'stale_telemetry', detail: `${node.name} has said nothing for ${Math.round(silentMs)} ms.` };
  }
  return undefined;
}

/** What the table of engines is told of one engine. */
export function factsOf(node: NodeState, engine: EngineRecord, hasLane: boolean): EngineFacts {
  const { reading, event } = engine;
  const spec = node.desired?.engines?.find(({ name }) => name === engine.name);
  return {
    engine: engine.id,
    incarnation: event.incarnation,
    node: node.name,
    name: engine.name,
    serves: servesOf(node, engine),
    refusal: whyNotServing(node, engine, hasLane),
    lastSeenAtMs: node.lastSeenAtMs,
    otherRequests: knownLoad(engine) - engine.reservedAtReading,
    kvUsageRatio: reading?.kvCacheUsageRatio,
    kvTokens: reading?.kvCacheTokens,
    maxRequests: spec?.limits?.maxConcurrentRequests,
    maxSequences: maxSequencesOf(spec),
    prior: priorOf({
      model: modelsOf(node, engine)[0] ?? '',
      gpu: node.hello.gpus[0]?.name ?? '',
      gpus: Math.max(1, spec?.gpuIds?.length ?? 1),
    }),
  };
}

/** What the specification says with vLLM's flag, which all kinds of engines know, or else the kind's own default. */
function maxSequencesOf(spec: EngineSpec | undefined): number | undefined {
  const flags = spec?.extraFlags ?? [];
  const at = flags.findLastIndex((flag) => flag === MAX_SEQUENCES || flag.startsWith(`${MAX_SEQUENCES}=`));
  if (at < 0) return spec?.kind === 'ENGINE_KIND_LLAMA' ? EMBEDDED_MAX_SEQUENCES : undefined;
  const [, inline] = (flags[at] as string).split('=');
  const count = Number(inline ?? flags[at + 1]);
  return Number.isSafeInteger(count) && count > 0 ? count : undefined;
}

const MAX_SEQUENCES = '--max-num-seqs';
const ENDPOINTS: readonly Endpoint[] = ['chat', 'completions', 'embeddings'];

/** What an engine answers for a model, by what it says that the model can do. */
export const endpointsOf = ({ capabilities }: Pick<ServedModel__Output, 'capabilities'>): Endpoint[] =>
  ENDPOINTS.filter((endpoint) => capabilities.includes(endpoint));

/** By the list that an engine's record keeps, so that a reading a second makes no new lists. */
const served = new WeakMap<readonly ServedModel__Output[], EngineFacts['serves']>();

function servesOf(node: NodeState, engine: EngineRecord): EngineFacts['serves'] {
  const { models } = engine;
  if (isGone(engine)) return [];
  if (models.length === 0) return modelsOf(node, engine).map((model) => ({ model, endpoints: [] }));
  const known = served.get(models);
  if (known !== undefined) return known;
  const serves = models.map((model) => ({ model: model.id, endpoints: endpointsOf(model) }));
  served.set(models, serves);
  return serves;
}

/** The agent's own count is exact; the engine's counters tell of requests that did not come through an agent. */
function knownLoad(engine: EngineRecord): number {
  const { reading } = engine;
  if (reading === undefined) return 0;
  return Math.max(reading.relayedRequests ?? 0, (reading.runningRequests ?? 0) + (reading.waitingRequests ?? 0));
}
