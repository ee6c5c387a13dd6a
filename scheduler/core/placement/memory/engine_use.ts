/**
 * How an engine will use its model, as far as the flags of a deployment say, for the estimate of its memory. What they do not
 * say is set so that the estimate is rather too large: an engine that was promised too little does not start. Flags and
 * what they mean are vLLM's (its engine arguments page); the spellings with dashes and with underscores are one.
 */
import type { ModelShape } from '../../../../lib/model_shape.ts';
import type { EngineUse } from './estimate.ts';

/** What of a deployment decides. */
export interface UseFacts {
  readonly extraFlags: readonly string[];
  /** GPUs of one replica, over all of its hosts, and on each of them. */
  readonly gpus: number;
  readonly gpusPerHost: number;
  /** How a replica over several hosts is told to divide its model; absent: by the flags and the GPUs of one host. */
  readonly divided?: { readonly tensor: number; readonly pipeline: number };
  readonly maxConcurrentRequests?: number;
}

/** Where neither flags nor the model say how long a sequence may be. */
const CONTEXT_TOKENS = 8192;
const SEQUENCES = 32;
const MEAN_TOKENS = 1024;
/** vLLM's preset on large GPUs for a server. */
const BATCH_TOKENS = 8192;

/** After these flags the files do not say any more what lies on a GPU. */
const VOID_FLAGS = [
  '--cpu-offload-gb',
  '--load-format',
  '--num-gpu-blocks-override',
  '--speculative-config',
  '--speculative-model',
] as const;
/** A variable that gives stages of a pipeline unlike numbers of layers. */
const UNEVEN_STAGES = 'VLLM_PP_LAYER_PARTITION';
/** Quantised while they are loaded: less lies on the GPU than in the files. Other methods are those of the files. */
const LOADED_SMALLER: ReadonlySet<string> = new Set(['fp8', 'bitsandbytes', 'torchao', 'experts_int8', 'rtn', 'inc']);

type Flags = ReadonlyMap<string, string>;

/** By name, dashes instead of underscores; the last one counts. */
function flagsOf(extraFlags: readonly string[]): Flags {
  const flags = new Map<string, string>();
  for (const [at, flag] of extraFlags.entries()) {
    if (!flag.startsWith('-')) continue;
    const equals = flag.indexOf('=');
    const name = (equals < 0 ? flag : flag.slice(0, equals)).replaceAll('_', '-');
    const next = extraFlags[at + 1] ?? '';
    flags.set(name, equals >= 0 ? flag.slice(equals + 1) : next.startsWith('--') ? '' : next);
  }
  return flags;
}

const SUFFIX: Readonly<Record<string, number>> = { k: 1000, K: 1024, m: 1e6, M: 2 ** 20 };

/** A whole number above 0, also as `32k` (1000) or `32K` (1024). */
function numberOf(flags: Flags, ...names: readonly string[]): number | undefined {
  for (const name of names) {
    const match = /^(\d+(?:\.\d+)?)([kKmM]?)$/.exec(flags.get(name) ?? '');
    if (match === null) continue;
    const value = Math.floor(Number(match[1]) * (SUFFIX[match[2] as string] ?? 1));
    if (Number.isSafeInteger(value) && value > 0) return value;
  }
  return undefined;
}

function kvCacheDtype(flags: Flags): EngineUse['kvCacheDtype'] {
  const value = flags.get('--kv-cache-dtype') ?? 'auto';
  if (value === 'fp8_ds_mla') return value;
  return value.startsWith('fp8') ? 'fp8' : 'auto';
}

/** The flag or variable after which nothing can be estimated; undefined: there is none. */
export function voidFlag(
  extraFlags: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): string | undefined {
  if (environment[UNEVEN_STAGES] !== undefined) return UNEVEN_STAGES;
  const flags = flagsOf(extraFlags);
  const quantization = flags.get('--quantization') ?? flags.get('-q') ?? '';
  if (LOADED_SMALLER.has(quantization)) return `--quantization ${quantization}`;
  if (/^float(?:32)?$/.test(flags.get('--dtype') ?? '')) return '--dtype float32';
  return VOID_FLAGS.find((name) => flags.has(name));
}

/** An engine on several GPUs of its host is told to divide tensors among all of them that its stages leave. */
const tensorsOfHost = (gpusPerHost: number, pipeline: number): number =>
  gpusPerHost > 0 && gpusPerHost % pipeline === 0 ? gpusPerHost / pipeline : 1;

export function engineUseOf(facts: UseFacts, shape: ModelShape) {
  const { extraFlags, gpus, gpusPerHost, divided, maxConcurrentRequests } = facts;
  const flags = flagsOf(extraFlags);
  const pipelineParallel = divided?.pipeline ?? numberOf(flags, '--pipeline-parallel-size', '-pp') ?? 1;
  const tensorParallel =
    divided?.tensor ?? numberOf(flags, '--tensor-parallel-size', '-tp') ?? tensorsOfHost(gpusPerHost, pipelineParallel);
  const contextTokens = numberOf(flags, '--max-model-len') ?? shape.maxPositions ?? CONTEXT_TOKENS;
  return {
    tensorParallel: Math.min(tensorParallel, Math.max(1, gpus)),
    pipelineParallel: Math.min(pipelineParallel, Math.max(1, gpus)),
    contextTokens,
    sequences: numberOf(flags, '--max-num-seqs') ?? maxConcurrentRequests ?? SEQUENCES,
    meanTokens: MEAN_TOKENS,
    batchTokens: numberOf(flags, '--max-num-batched-tokens') ?? BATCH_TOKENS,
    kvCacheDtype: kvCacheDtype(flags),
  } satisfies EngineUse;
}

/** Whether a figure of the one says something of the other: the same parallelism, the same numbers, the same widest step. */
export const useKey = ({ tensorParallel, pipelineParallel, batchTokens, kvCacheDtype: kv }: EngineUse): string =>
  `${tensorParallel}/${pipelineParallel}/${batchTokens}/${kv}`;
