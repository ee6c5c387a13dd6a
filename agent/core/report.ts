/** Says the state of engines in the words of the protocol: events and the names of states and kinds. */
import type { DrainProgress } from '../../proto/gen/fleet/v1/DrainProgress.ts';
import type { EngineEvent } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import type { ServedModel } from '../../proto/gen/fleet/v1/ServedModel.ts';
import type { EngineAddress } from '../ports.ts';
import type { EngineLife, Hold, LiveModel } from './lifecycle/life.ts';
import type { Verdict } from './preflight.ts';
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

const VERDICTS = {
  ok: 'CHECK_VERDICT_OK',
  warn: 'CHECK_VERDICT_WARN',
  fail: 'CHECK_VERDICT_FAIL',
  unknown: 'CHECK_VERDICT_UNKNOWN',
} as const satisfies Record<Verdict, string>;

/** What is known of a drain that goes on. */
export interface DrainView {
  readonly runningRequests: number;
  readonly etaMs?: number;
}

/** A person's drain in the words of the protocol. */
export const toDrain = (hold: Hold, view: DrainView | undefined): DrainProgress => ({
  sinceMs: hold.sinceMs,
  actor: hold.actor,
  reason: hold.reason,
  ...view,
});

/** A sleeping engine takes no requests: to schedulers it drains, and the reason says why. */
function stateOf(life: EngineLife): Pick<EngineEvent, 'state' | 'reason' | 'message'> {
  if (life.status === 'ready' && life.sleeping)
    return { state: 'ENGINE_STATE_DRAINING', reason: 'asleep', message: 'The engine sleeps; wake it to use it.' };
  const state = `ENGINE_STATE_${life.status.toUpperCase()}` as NonNullable<EngineEvent['state']>;
  return { state, reason: life.reason, message: life.message };
}

/** @param atMs wall-clock milliseconds since the epoch */
export function toEngineEvent(
  life: EngineLife,
  atMs: number,
  address: EngineAddress | undefined,
  drain?: DrainView,
): EngineEvent {
  const { spec, hold } = life;
  return {
    engine: spec.name,
    incarnation: life.incarnation,
    ...stateOf(life),
    atMs,
    kind: `ENGINE_KIND_${spec.kind.toUpperCase()}` as NonNullable<EngineEvent['kind']>,
    models: life.models.map((model) => servedModel(model, spec.kind)),
    restarts: life.restarts,
    generation: life.generation,
    checks: life.checks.map(({ name, verdict, detail }) => ({ name, verdict: VERDICTS[verdict], detail })),
    cause: life.cause ?? '',
    advice: life.advice ?? '',
    adopted: life.adopted,
    ...(hold === undefined ? {} : { drain: toDrain(hold, drain) }),
    ...(life.exitCode === undefined ? {} : { exitCode: life.exitCode }),
    ...(life.signal === undefined ? {} : { signal: life.signal }),
    ...(life.progressRatio === undefined ? {} : { progressRatio: life.progressRatio }),
    ...(life.etaMs === undefined ? {} : { etaMs: life.etaMs }),
    ...(life.pid === undefined ? {} : { pid: life.pid }),
    ...(address === undefined ? {} : { address: addressText(address) }),
  };
}

/** Whether two lives differ in what the journal keeps: a transition, or another reason for the same status. */
export const isTransition = (before: EngineLife | undefined, after: EngineLife): boolean =>
  before === undefined ||
  before.status !== after.status ||
  before.reason !== after.reason ||
  before.incarnation !== after.incarnation ||
  before.sleeping !== after.sleeping ||
  (before.hold === undefined) !== (after.hold === undefined);

/** Progress is told in steps of a hundredth, and the estimate in whole seconds: more would be noise. */
const shown = ({ progressRatio, etaMs }: EngineLife): string =>
  `${Math.round((progressRatio ?? 0) * 100)} ${etaMs === undefined ? '' : Math.round(etaMs / 1000)}`;

/** Whether two lives differ in anything that schedulers are told. */
export function differs(before: EngineLife | undefined, after: EngineLife): boolean {
  if (before === undefined || isTransition(before, after)) return true;
  return (
    before.message !== after.message ||
    shown(before) !== shown(after) ||
    before.generation !== after.generation ||
    before.pid !== after.pid ||
    before.exitCode !== after.exitCode
  );
}
