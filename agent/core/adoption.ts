/**
 * What an adopted engine is when no order tells: read from the plan with which it was launched. It only stands until a
 * desired state names the engine; a wish with the same hash takes the process over as it is.
 */
import type { LaunchPlan } from '../ports.ts';
import type { AcceptedSpec, EngineKindName, EngineTimeLimits } from './engine_spec.ts';
import { flagValue } from './preflight.ts';

function kindOf(plan: LaunchPlan): EngineKindName {
  const [first = ''] = plan.args;
  if (first === 'serve') return 'vllm';
  return first.includes('/sim/') ? 'sim' : 'llama';
}

/** The plan with the secret of its engine, which is in the environment that the engine was launched with. */
export function withKey(plan: LaunchPlan): LaunchPlan {
  const apiKey = plan.environment['VLLM_API_KEY'];
  if (plan.address.kind !== 'tcp' || apiKey === undefined) return plan;
  return { ...plan, address: { ...plan.address, apiKey } };
}

export function specFromPlan(plan: LaunchPlan, limits: EngineTimeLimits): AcceptedSpec {
  const kind = kindOf(plan);
  const model = (kind === 'vllm' ? plan.args[1] : flagValue(plan.args, '--model')) ?? '';
  const gpus = plan.environment['CUDA_VISIBLE_DEVICES'] ?? '';
  return {
    name: plan.engine,
    kind,
    model,
    servedModelName: flagValue(plan.args, '--served-model-name') ?? model,
    gpuIds: gpus === '' ? [] : gpus.split(',').map(Number),
    extraFlags: [],
    environment: {},
    ...(plan.address.kind === 'unix' ? { unixSocket: plan.address.path } : { tcpPort: plan.address.port }),
    limits,
    hash: plan.specHash,
  };
}
