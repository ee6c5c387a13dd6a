/**
 * How much GPU memory a new replica is promised, and by which rule. Stated: the deployment says it. Estimated: from the
 * model's own files, corrected by what engines of it were seen to use. Whole GPU: neither is known. It counts for new places
 * alone: one that stands keeps what it was promised, so nothing is moved or started anew because more is known.
 *
 * vLLM takes its share of a GPU whatever the model needs (knowledge of its flag --gpu-memory-utilization). So the estimate is
 * the share where a deployment bears others on its GPUs. Where it has them to itself it is left its preset of nine tenths, and
 * the estimate says which GPUs are large enough.
 */
import type { ModelFacts } from '../fleet/model_facts.ts';
import { modelName } from '../fleet/models_on_disk.ts';
import type { FleetState } from '../fleet/state.ts';
import type { GpuSharing } from '../placement/contract.ts';
import { gib } from '../placement/explain_text.ts';
import { voidFlag } from '../placement/memory/engine_use.ts';
import { estimateMemory } from '../placement/memory/estimate.ts';
import { type CorrectedEstimate, correctEstimate } from '../placement/memory/measured.ts';
import type { DeploymentSpec } from '../resources/contract.ts';
import { programBytes } from './fleet_view.ts';
import { measuredOf, type ModelKnowledge, useOf } from './model_book.ts';

/** Of a GPU that an engine has to itself without a stated need: what vLLM takes of it when nothing is said. */
export const WHOLE_GPU_SHARE = 0.9;

export interface GpuSize {
  readonly model: string;
  readonly bytes: number;
}

/** The sizes of GPUs that there are, each once: what programs can have of them. */
export function gpuSizes({ nodes }: FleetState): readonly GpuSize[] {
  const sizes = new Map<string, GpuSize>();
  for (const { hello } of nodes.values()) {
    for (const gpu of hello.gpus) {
      const { name: model = '' } = gpu;
      const bytes = programBytes(gpu);
      if (bytes !== undefined) sizes.set(`${bytes} ${model}`, { model, bytes });
    }
  }
  return [...sizes.values()];
}

export type MemoryNeed = {
  /** On each GPU, for the planner. */
  readonly gpuMemoryBytes: number;
  /** Absent: as the planner presets it. */
  readonly sharing?: GpuSharing;
} & (
  | { readonly rule: 'no_gpu' | 'stated' }
  | {
      readonly rule: 'estimated';
      readonly estimate: CorrectedEstimate;
      /** It bears others: the engine is told this as its share, and its place says so from then on. */
      readonly shares: boolean;
    }
  /** `why`: no estimate counts, in words. */
  | { readonly rule: 'whole_gpu'; readonly why: string }
);

export interface NeedContext {
  readonly sizes: readonly GpuSize[];
  readonly models: ModelKnowledge;
}

type Estimated = { readonly estimate: CorrectedEstimate } | { readonly why: string };

const NOT_SEEN = 'no host has looked at the files of the model yet';

function missingOf({ weightBytes, shape, problem }: ModelFacts): string {
  const what = [...(weightBytes === undefined ? ['its weights'] : []), ...(shape === undefined ? ['its shape'] : [])];
  return `${what.join(' and ')} cannot be read${problem === '' ? '' : ` (${problem})`}`;
}

/** An estimate for an engine of this specification, or why there is none. */
export function estimateOf(run: DeploymentSpec, models: ModelKnowledge): Estimated {
  const model = modelName(run);
  const facts = models.factsOf(model);
  if (facts === undefined) return { why: NOT_SEEN };
  const { shape, weightBytes } = facts;
  if (shape === undefined || weightBytes === undefined) return { why: missingOf(facts) };
  const flag = voidFlag(run.extraFlags, run.environment);
  if (flag !== undefined) return { why: `with ${flag} the files do not say what lies on a GPU` };
  const use = useOf(run, shape);
  const estimate = estimateMemory(shape, weightBytes, use);
  const hasWindows = shape.windowLayers > 0;
  const measurements = models.figuresOf(model, use).map((each) => measuredOf(each, estimate, hasWindows));
  return { estimate: correctEstimate(estimate, measurements) };
}

/** What vLLM would take of the smallest of these GPUs of which that much holds `leastBytes`; undefined: there is none. */
function wholeGpu(sizes: readonly GpuSize[], gpuModels: readonly string[] | undefined, leastBytes: number) {
  const shares = sizes
    .filter(({ model }) => gpuModels === undefined || gpuModels.includes(model))
    .map(({ bytes }) => Math.floor(bytes * WHOLE_GPU_SHARE))
    .filter((bytes) => bytes >= leastBytes);
  return shares.length === 0 ? undefined : Math.min(...shares);
}

const saysItsShare = ({ extraFlags }: DeploymentSpec): boolean =>
  extraFlags.some((flag) =>
    /^--(?:gpu-memory-utilization|kv-cache-memory-bytes)(?:=|$)/.test(flag.replaceAll('_', '-')),
  );

/**
 * @param run what runs, of the revision that is placed
 * @param now the deployment as it is: who may share and which GPUs it may use
 */
export function memoryNeed(run: DeploymentSpec, now: DeploymentSpec, { sizes, models }: NeedContext): MemoryNeed {
  if (run.gpusPerHost === 0) return { rule: 'no_gpu', gpuMemoryBytes: 0, sharing: 'exclusive' };
  const { sharing } = now;
  if (run.gpuMemoryBytes !== undefined)
    return { rule: 'stated', gpuMemoryBytes: run.gpuMemoryBytes, ...(sharing === undefined ? {} : { sharing }) };
  const whole = (why: string, leastBytes = 0): MemoryNeed => {
    const gpuMemoryBytes = wholeGpu(sizes, now.gpuModels, leastBytes) ?? 0;
    return { rule: 'whole_gpu', gpuMemoryBytes, sharing: 'exclusive', why };
  };
  const found = estimateOf(run, models);
  if ('why' in found) return whole(found.why);
  const { estimate } = found;
  const needBytes = Math.ceil(estimate.totalBytes);
  const estimated = (gpuMemoryBytes: number, shares: boolean): MemoryNeed => ({
    rule: 'estimated',
    gpuMemoryBytes,
    sharing: shares ? (sharing as GpuSharing) : 'exclusive',
    estimate,
    shares,
  });
  if (sharing !== undefined && sharing !== 'exclusive') {
    return saysItsShare(run)
      ? whole('its flags say what share it takes, so it shares with nobody')
      : estimated(needBytes, true);
  }
  if (run.engine !== 'vllm') return estimated(needBytes, false);
  const holds = wholeGpu(sizes, now.gpuModels, needBytes);
  if (holds !== undefined) return estimated(holds, false);
  // The weights are certain and the rest is not: an engine may start where an estimate says that it would not.
  const { weightsBytes } = estimate;
  if (wholeGpu(sizes, now.gpuModels, weightsBytes) === undefined) return estimated(needBytes, false);
  return whole(
    `no GPU holds the estimate of ${gib(needBytes)}, some hold the weights of ${gib(weightsBytes)}`,
    weightsBytes,
  );
}

/** What its place is to state as its need from then on: an engine that shares is told its share for good. */
export const promisedSpec = (spec: DeploymentSpec, need: MemoryNeed): DeploymentSpec =>
  need.rule === 'estimated' && need.shares ? { ...spec, gpuMemoryBytes: need.gpuMemoryBytes } : spec;

const PART_WORDS = {
  weightsBytes: 'weights',
  kvBytesPerToken: 'KV cache',
  activationBytes: 'activations',
  overheadBytes: 'process',
} as const;

function estimateText(estimate: CorrectedEstimate): string {
  const { weightsBytes, kvBytes, activationBytes, overheadBytes, totalBytes, measured } = estimate;
  const parts = `weights ${gib(weightsBytes)}, KV cache ${gib(kvBytes)}, activations ${gib(activationBytes)}, process ${gib(overheadBytes)}`;
  const seen = measured.map((part) => PART_WORDS[part as keyof typeof PART_WORDS]).join(', ');
  return `${gib(totalBytes)} by estimate from its files (${parts}${seen === '' ? '' : `; measured: ${seen}`})`;
}

/** Which rule is used and what it gives, for people; undefined: it needs no GPU. */
export function memoryText(need: MemoryNeed): string | undefined {
  const given = `${gib(need.gpuMemoryBytes)} on each GPU`;
  switch (need.rule) {
    case 'no_gpu':
      return undefined;
    case 'stated':
      return `${given}, as the deployment states`;
    case 'whole_gpu':
      return `${given}, nine tenths of the smallest that it may use, and the GPU to itself: ${need.why}`;
    case 'estimated':
      return need.gpuMemoryBytes > need.estimate.totalBytes + 1
        ? `${given}, nine tenths of the smallest GPU that holds ${estimateText(need.estimate)}; it has the GPU to itself`
        : `on each GPU ${estimateText(need.estimate)}`;
  }
}
