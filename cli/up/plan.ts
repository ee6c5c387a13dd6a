/**
 * The engine specifications that `sophia up` asks for, made from the settings and from what was found on the machine.
 */
import type { EngineKind } from './engine_choice.ts';

export interface EnginePlan {
  readonly kind: EngineKind;
  /** Folder, file or hub id for the engine; the served name again for a simulation. */
  readonly model: string;
  readonly servedModelName: string;
  readonly count: number;
  readonly gpus: number;
  readonly cores: number;
  readonly extraFlags: readonly string[];
}

/** Engine specifications in the spelling of the scheduler's `nodes` setting. */
export function engineSpecs(plan: EnginePlan): object[] {
  return Array.from({ length: plan.count }, (_, index) => ({
    name: `${plan.kind}-${index}`,
    kind: plan.kind,
    model: plan.model,
    servedModelName: plan.servedModelName,
    gpuIds: plan.kind === 'vllm' && plan.gpus > 0 ? [index % plan.gpus] : [],
    extraFlags: [...plan.extraFlags],
    environment: plan.kind === 'vllm' && plan.gpus === 0 ? cpuEnvironment(plan, index) : {},
  }));
}

/** vLLM built for CPUs: each engine gets its own cores, because two on the same cores spin against each other. */
function cpuEnvironment(plan: EnginePlan, index: number): Record<string, string> {
  const share = Math.max(1, Math.floor(plan.cores / plan.count));
  const first = (index * share) % plan.cores;
  const last = Math.min(plan.cores - 1, first + share - 1);
  return {
    VLLM_CPU_OMP_THREADS_BIND: first === last ? String(first) : `${first}-${last}`,
    VLLM_CPU_KVCACHE_SPACE: '1',
    HF_HUB_OFFLINE: '1',
    VLLM_NO_USAGE_STATS: '1',
    DO_NOT_TRACK: '1',
  };
}
