/**
 * How much GPU memory an engine needs, before it ever ran: weights, KV cache, activations, and what every process takes. It is an
 * estimate from the model's own files; measured.ts corrects it by what engines of the same kind have shown. All in bytes, on
 * each GPU.
 *
 *     weights     = ((bytes of all tensors - table) * most layers of a stage / layers + table) / tensor parallel, with
 *                   table = vocabulary * hidden * bytes of a number; of one stage: the whole / tensor parallel
 *     KV a token  = full layers of a stage * 2 * ceil(KV heads / tensor parallel) * head size * bytes of a number
 *                   latent attention: layers of a stage * (rank + rope size) * bytes of a number, whole on every GPU
 *     KV          = tokens * KV a token + sequences * window layers * the same for min(window - 1 + batch, longest) tokens
 *     activations = batch tokens * live numbers of the widest layer + sequences * vocabulary, as in activationBytes
 *
 * With pipeline parallelism a GPU has the layers of its stage alone, at most ceil(layers / stages) (vLLM,
 * distributed/utils.py, get_pp_indices: as even as can be, what is left over goes to stages in the middle), and all GPUs
 * are promised what the fullest of them needs. The first stage has the table of embeddings and the last one the head, which
 * is as large, so one of them is counted whole. Where they are separate tensors the layers are overestimated by the other.
 *
 * Sources: the sizes of KV pages and what a sequence needs at most are those of vLLM (v1/kv_cache_interface.py: AttentionSpec,
 * MLAAttentionSpec, SlidingWindowSpec), where fp8_ds_mla is 656 bytes a token and layer; fewer KV heads than ranks are
 * repeated on each (vLLM, model_executor/models). Grouped heads: Ainslie et al., arXiv:2305.13245; latent attention:
 * DeepSeek-V2, arXiv:2405.04434.
 */
import type { ModelShape } from '../../../../lib/model_shape.ts';

export interface EngineUse {
  readonly tensorParallel: number;
  readonly pipelineParallel: number;
  /** Longest sequence; no more than the model's own. */
  readonly contextTokens: number;
  /** Sequences at a time, and how many tokens they have on average. */
  readonly sequences: number;
  readonly meanTokens: number;
  /** Most tokens of one step (vLLM: --max-num-batched-tokens). */
  readonly batchTokens: number;
  /** vLLM's --kv-cache-dtype. */
  readonly kvCacheDtype: 'auto' | 'fp8' | 'fp8_ds_mla';
}

export interface MemoryEstimate {
  readonly weightsBytes: number;
  readonly kvBytesPerToken: number;
  readonly kvBytes: number;
  readonly activationBytes: number;
  /** The driver's context, kernels, communication buffers and captured graphs of one process. */
  readonly overheadBytes: number;
  readonly totalBytes: number;
}

const GIB = 2 ** 30;
/** An assumption, on the safe side of what one vLLM process on one GPU shows; measurements replace it. */
const OVERHEAD_BYTES = 1.5 * GIB;
/** GPUs that compute together have buffers for what they send each other besides. */
const PARALLEL_OVERHEAD_BYTES = 1 * GIB;
/** Tokens of a page of KV cache, vLLM's default. */
const BLOCK_TOKENS = 16;
const FP8_DS_MLA_BYTES = 656;

/** @param weightBytes bytes of all tensors of the model (safetensors.ts) */
export function estimateMemory(shape: ModelShape, weightBytes: number, use: EngineUse): MemoryEstimate {
  const weightsBytes = weightsOnGpu(shape, weightBytes, use);
  const kvBytesPerToken = kvPerToken(shape, use);
  const kvBytes = kvBytesOf(shape, use, kvBytesPerToken);
  const activation = activationBytes(shape, use);
  const overheadBytes = OVERHEAD_BYTES + (use.tensorParallel * use.pipelineParallel > 1 ? PARALLEL_OVERHEAD_BYTES : 0);
  return {
    weightsBytes,
    kvBytesPerToken,
    kvBytes,
    activationBytes: activation,
    overheadBytes,
    totalBytes: weightsBytes + kvBytes + activation + overheadBytes,
  };
}

/** Of the fullest GPU. */
function weightsOnGpu(shape: ModelShape, weightBytes: number, use: EngineUse): number {
  const { tensorParallel, pipelineParallel } = use;
  if (pipelineParallel === 1) return Math.ceil(weightBytes / tensorParallel);
  // Layers that keep nothing of a token are in neither figure; they are divided as the others are.
  const layers = shape.fullLayers + shape.windowLayers;
  const tableBytes = Math.min(weightBytes, shape.vocabulary * shape.hidden * shape.dtypeBytes);
  const stage = onStage(layers, use) / layers;
  return Math.ceil(((weightBytes - tableBytes) * stage + tableBytes) / tensorParallel);
}

/** Most of so many layers that one stage has. */
const onStage = (layers: number, { pipelineParallel }: EngineUse): number => Math.ceil(layers / pipelineParallel);

/** Of one layer on one GPU. */
function layerBytesPerToken(shape: ModelShape, { tensorParallel, kvCacheDtype }: EngineUse): number {
  const numberBytes = kvCacheDtype === 'fp8' ? 1 : shape.dtypeBytes;
  if (shape.latentDim > 0) return kvCacheDtype === 'fp8_ds_mla' ? FP8_DS_MLA_BYTES : shape.latentDim * numberBytes;
  return 2 * Math.ceil(shape.kvHeads / tensorParallel) * shape.headDim * numberBytes;
}

/** Bytes that every further token of a sequence takes on each GPU: layers with a window stop taking more. */
export function kvPerToken(shape: ModelShape, use: EngineUse): number {
  return onStage(shape.fullLayers, use) * layerBytesPerToken(shape, use);
}

function kvBytesOf(shape: ModelShape, use: EngineUse, perToken: number): number {
  const longest = Math.min(use.contextTokens, shape.maxPositions ?? use.contextTokens);
  // An engine does not start unless one sequence of full length has room.
  const tokens = Math.max(longest, use.sequences * Math.min(longest, use.meanTokens));
  const full = blocks(tokens) * perToken;
  if (shape.windowLayers === 0) return full;
  const windowTokens = blocks(Math.min(shape.windowTokens - 1 + use.batchTokens, longest)) + BLOCK_TOKENS;
  // While it is prefilled a sequence has the whole batch besides its window; the others have their windows.
  const others = (use.sequences - 1) * (blocks(Math.min(shape.windowTokens, use.meanTokens, longest)) + BLOCK_TOKENS);
  return full + onStage(shape.windowLayers, use) * layerBytesPerToken(shape, use) * (windowTokens + others);
}

const blocks = (tokens: number): number => Math.ceil(tokens / BLOCK_TOKENS) * BLOCK_TOKENS;

/**
 * Bytes that live at once in the widest part of a step. Derived from the order of a decoder layer, as nothing is kept for a
 * backward pass: residual and normalised input (2 * hidden), then either the gate and up projections with their product
 * (3 * intermediate / ranks), or for experts the two projections and the output of each visited expert (3 * expert
 * intermediate / ranks + hidden, times the experts of a token); at the end the logits of each sequence in the model's type
 * and in float32 for sampling. Attention as vLLM computes it writes no matrix of scores.
 */
export function activationBytes(shape: ModelShape, { batchTokens, sequences, tensorParallel }: EngineUse): number {
  const dense = (3 * shape.intermediate) / tensorParallel;
  const experts = shape.expertsPerToken * ((3 * shape.expertIntermediate) / tensorParallel + shape.hidden);
  const widest = 2 * shape.hidden + (shape.expertsPerToken > 0 ? experts : dense);
  const logits = sequences * shape.vocabulary * (shape.dtypeBytes + 4);
  return Math.ceil(
    Math.max(batchTokens * widest * shape.dtypeBytes, logits + batchTokens * shape.hidden * shape.dtypeBytes),
  );
}
