/** Says the state of engines in the words of the protocol: events and the names of states and kinds. */
import type { EngineEvent } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import type { ServedModel } from '../../proto/gen/fleet/v1/ServedModel.ts';
import type { EngineAddress } from '../ports.ts';
import type { EngineLife, LiveModel } from './engine_lifecycle.ts';
import type { EngineKindName } from './engine_spec.ts';

const CAPABILITIES: Readonly<Record<EngineKindName, readonly string[]>> = {
  vllm: ['chat', 'completions', 'embeddings'],
  llama: ['chat', 'completions'],
  sim: ['chat', 'completions', 'embeddings'],
};

export function addressText(address: EngineAddress): string {
  return address.kind === 'unix' ? `unix:${address.path}` : `tcp:${address.host}:${address.port}`;
}

function servedModel(model: LiveModel, kind: EngineKindName): ServedModel {
  return {
    id: model.id,
    capabilities: [...CAPABILITIES[kind]],
    simulated: model.simulated || kind === 'sim',
    ...(model.contextTokens === undefined ? {} : { contextTokens: model.contextTokens }),
    ...(model.createdS === undefined ? {} : { createdS: model.createdS }),
    ...(model.ownedBy === undefined ? {} : { ownedBy: model.ownedBy }),
  };
}

/** @param atMs wall-clock milliseconds since the epoch */
export function toEngineEvent(life: EngineLife, atMs: number, address: EngineAddress | undefined): EngineEvent {
  const { spec } = life;
  return {
    engine: spec.name,
    incarnation: life.incarnation,
    state: `ENGINE_STATE_${life.status.toUpperCase()}` as NonNullable<EngineEvent['state']>,
    reason: life.reason,
    message: life.message,
    atMs,
    kind: `ENGINE_KIND_${spec.kind.toUpperCase()}` as NonNullable<EngineEvent['kind']>,
    models: life.models.map((model) => servedModel(model, spec.kind)),
    restarts: life.restarts,
    generation: life.generation,
    ...(life.exitCode === undefined ? {} : { exitCode: life.exitCode }),
    ...(life.signal === undefined ? {} : { signal: life.signal }),
    ...(life.progressRatio === undefined ? {} : { progressRatio: life.progressRatio }),
    ...(life.pid === undefined ? {} : { pid: life.pid }),
    ...(address === undefined ? {} : { address: addressText(address) }),
  };
}

/** Whether two lives differ in anything that schedulers are told. */
export function differs(before: EngineLife | undefined, after: EngineLife): boolean {
  if (before === undefined) return true;
  return (
    before.status !== after.status ||
    before.incarnation !== after.incarnation ||
    before.reason !== after.reason ||
    before.message !== after.message ||
    before.progressRatio !== after.progressRatio ||
    before.generation !== after.generation ||
    before.pid !== after.pid
  );
}
