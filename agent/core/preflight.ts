/**
 * Looks at the host before an engine is started: each check gives a verdict with its figures, so that a person reads
 * why an engine does not start before it has failed for minutes. A failed check stops the start; what it needs to know
 * and cannot is `unknown` and stops nothing. The need of GPU memory is vLLM's own rule: at its start a device must have
 * at least `--gpu-memory-utilization` of its total memory free (gpu_worker.py, request_memory).
 */
import type { GpuSample, GpuState } from '../ports.ts';
import { type Diagnosis, rowDiagnosis, seenDiagnosis } from './crash_classifier.ts';
import type { AcceptedSpec } from './engine_spec.ts';
import { usableBytes } from './gpu_sample.ts';
import { mayShare } from './gpu_shares.ts';

export type Verdict = 'ok' | 'warn' | 'fail' | 'unknown';

export interface Check {
  readonly name: string;
  readonly verdict: Verdict;
  readonly detail: string;
}

export type PreflightOutcome =
  | { readonly kind: 'go'; readonly checks: readonly Check[] }
  | {
      readonly kind: 'stop';
      readonly checks: readonly Check[];
      readonly diagnosis: Diagnosis;
      /** The failed check as a sentence. */
      readonly message: string;
    };

/** What was found on the host; absent: could not be read. */
export interface PreflightFacts {
  readonly address?: 'free' | 'taken';
  readonly program?: 'found' | 'missing';
  readonly model?: ModelFacts;
  readonly hostMemoryAvailableBytes?: number;
  readonly cacheDiskFreeBytes?: number;
}

export type ModelFacts =
  /** Not a path: the engine asks a hub for it. */
  | { readonly kind: 'hub' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'unreadable'; readonly why: string }
  /** Leads out of the allowed folders, through a symbolic link. */
  | { readonly kind: 'outside' }
  /** There, but neither a folder with config.json (or params.json) nor a GGUF file. */
  | { readonly kind: 'not_a_model' }
  | { readonly kind: 'folder'; readonly bytes: number }
  | { readonly kind: 'gguf'; readonly bytes: number };

export interface PreflightInput {
  readonly spec: AcceptedSpec;
  readonly facts: PreflightFacts;
  readonly sample: GpuSample;
  /** Other engines of this agent that have a process, with their GPUs and addresses. */
  readonly others: readonly {
    readonly name: string;
    readonly gpuIds: readonly number[];
    readonly gpuMemoryShare?: number;
    readonly address?: string;
  }[];
  readonly addressText: string;
  readonly quarantinedGpus: readonly number[];
}

interface Finding {
  readonly check: Check;
  readonly diagnosis?: Diagnosis;
}

const GIB = 1024 ** 3;
/** vLLM's default of --gpu-memory-utilization (CacheConfig, 0.6 to 0.32). */
const DEFAULT_UTILIZATION = 0.9;
/** A process of vLLM on a CPU or beside a GPU needs about this much host memory for itself (measured, 0.32). */
const LEAST_HOST_BYTES = { vllm: 3.5 * GIB, llama: 0.25 * GIB, sim: 0.1 * GIB } as const;
/** Below this a compile cache or a log is likely to meet a full disk. */
const LOW_DISK_BYTES = GIB;
const NO_DISK_BYTES = 16 * 1024 ** 2;
/** --cpu-offload-gb was measured to use 1.9 times the host memory that is asked (vllm#56410). */
const OFFLOAD_FACTOR = 1.9;

const gib = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;

const found = (name: string, verdict: Verdict, detail: string): Finding => ({ check: { name, verdict, detail } });
const failed = (name: string, detail: string, diagnosis: Diagnosis): Finding => ({
  check: { name, verdict: 'fail', detail },
  diagnosis,
});

/** The value of a flag in the spellings that argparse takes; undefined when it is absent. */
export function flagValue(flags: readonly string[], name: string): string | undefined {
  for (const [index, flag] of flags.entries()) {
    const [key = '', ...value] = flag.split('=');
    if (key.replaceAll('_', '-') !== name) continue;
    return value.length > 0 ? value.join('=') : flags[index + 1];
  }
  return undefined;
}

function numberFlag(flags: readonly string[], name: string): number | undefined {
  const value = Number(flagValue(flags, name) ?? Number.NaN);
  return Number.isFinite(value) && value >= 0 ? value : undefined;
}

function checkAddress({ facts, others, addressText }: PreflightInput): Finding {
  const owner = others.find((other) => other.address === addressText);
  if (owner !== undefined) {
    return failed('address', `${addressText} belongs to engine ${owner.name}.`, rowDiagnosis('port_taken'));
  }
  if (facts.address === undefined) return found('address', 'unknown', `Whether ${addressText} is free is not known.`);
  if (facts.address === 'taken')
    return failed('address', `Another program listens on ${addressText}.`, rowDiagnosis('port_taken'));
  return found('address', 'ok', `${addressText} is free.`);
}

function checkProgram({ facts, spec }: PreflightInput): Finding {
  if (facts.program === undefined) return found('program', 'unknown', 'Whether the program is there is not known.');
  if (facts.program === 'missing')
    return failed('program', `The program of ${spec.kind} engines is not installed.`, seenDiagnosis('program'));
  return found('program', 'ok', 'The program is there.');
}

function checkModel({ facts, spec }: PreflightInput): Finding {
  const { model } = facts;
  const bad = (detail: string): Finding => failed('model', detail, rowDiagnosis('bad_model'));
  switch (model?.kind) {
    case undefined:
      return found('model', 'unknown', 'The model was not looked at.');
    case 'hub':
      return found('model', 'unknown', `${spec.model} is not a path; the engine asks its hub for it.`);
    case 'missing':
      return bad(`${spec.model} does not exist.`);
    case 'unreadable':
      return bad(`${spec.model} cannot be read (${model.why}).`);
    case 'outside':
      return bad(`${spec.model} leads outside of the folders that this agent allows (modelRoots).`);
    case 'not_a_model':
      return bad(`${spec.model} is neither a folder with config.json nor a GGUF file.`);
    case 'folder':
    case 'gguf':
      return found('model', 'ok', `${gib(model.bytes)} of weights.`);
  }
}

function checkHostMemory({ facts, spec }: PreflightInput): Finding {
  const { hostMemoryAvailableBytes: free } = facts;
  if (free === undefined) return found('host_memory', 'unknown', 'Free host memory could not be read.');
  const offload = (numberFlag(spec.extraFlags, '--cpu-offload-gb') ?? 0) * OFFLOAD_FACTOR;
  const pooled =
    (numberFlag(spec.extraFlags, '--swap-space') ?? 0) + (numberFlag(spec.extraFlags, '--kv-offloading-size') ?? 0);
  const weights = facts.model?.kind === 'gguf' && spec.kind === 'llama' ? facts.model.bytes : 0;
  const need = LEAST_HOST_BYTES[spec.kind] + (offload + pooled) * GIB + weights;
  const detail = `${gib(free)} are free, about ${gib(need)} are needed.`;
  if (free >= need) return found('host_memory', 'ok', detail);
  // The need is an estimate; only what the flags themselves ask for is certain.
  if (free < (offload + pooled) * GIB) return failed('host_memory', detail, rowDiagnosis('host_memory'));
  return found('host_memory', 'warn', detail);
}

function checkDisk({ facts }: PreflightInput): Finding {
  const { cacheDiskFreeBytes: free } = facts;
  if (free === undefined) return found('cache_disk', 'unknown', 'Free disk space could not be read.');
  if (free < NO_DISK_BYTES)
    return failed('cache_disk', `${gib(free)} are free for caches and logs.`, rowDiagnosis('disk_full'));
  return found('cache_disk', free < LOW_DISK_BYTES ? 'warn' : 'ok', `${gib(free)} are free for caches and logs.`);
}

function checkGpuIds({ spec, sample, others, quarantinedGpus }: PreflightInput): Finding {
  for (const id of spec.gpuIds) {
    const beside = others.filter((other) => other.gpuIds.includes(id));
    const [owner] = beside;
    if (owner !== undefined && !mayShare([spec, ...beside].map(({ gpuMemoryShare }) => gpuMemoryShare)))
      return failed('gpu_ids', `GPU ${id} is used by engine ${owner.name}.`, seenDiagnosis('host'));
    if (quarantinedGpus.includes(id)) return failed('gpu_ids', `GPU ${id} is quarantined.`, rowDiagnosis('gpu_fault'));
    if (sample.source !== 'none' && !sample.gpus.some((gpu) => gpu.index === id))
      return failed('gpu_ids', `GPU ${id} is not seen by the driver now.`, rowDiagnosis('gpu_fault'));
  }
  if (sample.source === 'none')
    return found('gpu_ids', 'unknown', `The GPUs cannot be read: ${sample.reason ?? 'there is no reader'}.`);
  return found('gpu_ids', 'ok', `GPU ${spec.gpuIds.join(', ')}.`);
}

/** Free bytes: what the driver keeps for itself is neither used nor free. */
const freeBytes = (gpu: GpuState): number =>
  gpu.memoryFreeBytes ?? (gpu.memoryTotalBytes as number) - (gpu.memoryUsedBytes as number);

const wholeBytes = (gpu: GpuState): number => usableBytes(gpu) ?? (gpu.memoryTotalBytes as number);

/** Bytes that the engine wants free on one GPU at its start; undefined: not known before it runs. */
function gpuNeedBytes(spec: AcceptedSpec, gpu: GpuState): number | undefined {
  if (spec.kind !== 'vllm' || gpu.memoryTotalBytes === undefined) return undefined;
  const absolute = numberFlag(spec.extraFlags, '--kv-cache-memory-bytes');
  if (absolute !== undefined) return absolute;
  return (numberFlag(spec.extraFlags, '--gpu-memory-utilization') ?? DEFAULT_UTILIZATION) * wholeBytes(gpu);
}

/** On a GH200 the operating system may own the GPU's memory as a NUMA node: then its page cache counts as used. */
const isNuma = (gpu: GpuState): boolean => gpu.numaNode !== undefined || gpu.addressingMode === 'ats';

function checkGpuMemory({ spec, sample }: PreflightInput): Finding {
  const lines: string[] = [];
  let verdict: Verdict = 'ok';
  for (const id of spec.gpuIds) {
    const gpu = sample.gpus.find((one) => one.index === id);
    const need = gpu === undefined ? undefined : gpuNeedBytes(spec, gpu);
    if (gpu?.memoryTotalBytes === undefined || gpu.memoryUsedBytes === undefined || need === undefined) {
      lines.push(`GPU ${id}: not known.`);
      if (verdict === 'ok') verdict = 'unknown';
      continue;
    }
    const free = freeBytes(gpu);
    const cache = isNuma(gpu) ? ' Page cache of the host counts as used on this GPU (addressing mode ats).' : '';
    lines.push(`GPU ${id}: ${gib(free)} of ${gib(wholeBytes(gpu))} are free, ${gib(need)} are needed.${cache}`);
    if (free < need) verdict = 'fail';
  }
  const detail = lines.join(' ');
  return verdict === 'fail'
    ? failed('gpu_memory', detail, rowDiagnosis('gpu_memory'))
    : found('gpu_memory', verdict, detail);
}

function checkAddressing({ spec, sample }: PreflightInput): Finding | undefined {
  const gpus = sample.gpus.filter((gpu) => spec.gpuIds.includes(gpu.index) && gpu.addressingMode !== undefined);
  const [first] = gpus;
  if (first === undefined) return undefined;
  const modes = new Set(gpus.map((gpu) => gpu.addressingMode));
  const nodes = gpus.map((gpu) => gpu.numaNode ?? 'none').join(', ');
  const detail = `Addressing mode ${[...modes].join(', ')}; NUMA node of the GPU ${nodes}.`;
  if (modes.size > 1)
    return found('addressing', 'warn', `${detail} The GPUs differ, so their used memory means different things.`);
  const offloads = numberFlag(spec.extraFlags, '--cpu-offload-gb') ?? 0;
  if (isNuma(first) && offloads > 0)
    return found('addressing', 'warn', `${detail} --cpu-offload-gb may be given memory of the GPU's own node.`);
  return found('addressing', 'ok', detail);
}

/** All checks, in the order in which a person would look. The first that failed names the reason. */
export function judgePreflight(input: PreflightInput): PreflightOutcome {
  const findings: (Finding | undefined)[] = [
    checkAddress(input),
    checkProgram(input),
    checkModel(input),
    checkHostMemory(input),
    checkDisk(input),
  ];
  if (input.spec.gpuIds.length > 0) findings.push(checkGpuIds(input), checkGpuMemory(input), checkAddressing(input));
  const made = findings.filter((finding) => finding !== undefined);
  const checks = made.map((finding) => finding.check);
  const stop = made.find((finding) => finding.diagnosis !== undefined);
  if (stop?.diagnosis === undefined) return { kind: 'go', checks };
  return { kind: 'stop', checks, diagnosis: stop.diagnosis, message: stop.check.detail };
}
