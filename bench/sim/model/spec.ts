/**
 * Which engines stand in the simulated fleet: for each trace a row of measured timings and a KV cache that follow from
 * stated hardware, chosen before any run and never fitted to an outcome. docs/SIMULATOR.md says why each was taken.
 */
import { ENGINE_DEFAULTS, TIMING_ROWS, type TimingRow, type TimingRowName } from '../../../lib/engine_timing.ts';

export interface EngineSpec {
  readonly row: TimingRow;
  readonly kvTokens: number;
  readonly maxSequences: number;
  readonly maxBatchedTokens: number;
  readonly blockTokens: number;
  /** Of the whole model, over all its GPUs: what a prefix weighs when it is copied from engine to engine. */
  readonly kvBytesPerToken: number;
}

/** What a model's weights and KV take; bytes are of the whole model. */
interface ModelFacts {
  readonly weightsBytes: number;
  /** 2 (K and V) x layers x KV heads x head size x 2 bytes. */
  readonly kvBytesPerToken: number;
}

const GIB = 2 ** 30;
const H100_BYTES = 79.6 * GIB;
const H200_BYTES = 139.8 * GIB;
/** vLLM's --gpu-memory-utilization. */
const USED_SHARE = 0.9;
/** Activations, graphs and the communication buffers of one GPU: what vLLM's profile run keeps back, rounded. */
const WORKSPACE_BYTES = 2.5 * GIB;

const LLAMA_70B: ModelFacts = { weightsBytes: 70.6e9 * 2, kvBytesPerToken: 2 * 80 * 8 * 128 * 2 };
const LLAMA_8B: ModelFacts = { weightsBytes: 8.03e9 * 2, kvBytesPerToken: 2 * 32 * 8 * 128 * 2 };
const QWEN_32B: ModelFacts = { weightsBytes: 32.8e9 * 2, kvBytesPerToken: 2 * 64 * 8 * 128 * 2 };

/** KV tokens that fit beside the weights, as vLLM computes it. */
function kvTokensOf(model: ModelFacts, weightShare: number, gpus: number, gpuBytes: number): number {
  const room = gpus * (gpuBytes * USED_SHARE - WORKSPACE_BYTES) - model.weightsBytes * weightShare;
  return Math.floor(room / model.kvBytesPerToken);
}

/**
 * Qwen3-32B on two H100: no measured row, so the 70B bf16 TP4 row, whose GPUs carry nearly the same weights (35.3 GB
 * against 32.8), with each term scaled by what it reads or computes per GPU: weights for the fixed and the per-token
 * costs, KV bytes per token for the context, layers x heads for attention in prefill. An assumption, and labelled so.
 */
function qwen32bRow(): TimingRow {
  const from = TIMING_ROWS['70b-bf16-h100-tp4'];
  const weights = QWEN_32B.weightsBytes / 2 / (LLAMA_70B.weightsBytes / 4);
  const context = QWEN_32B.kvBytesPerToken / 2 / (LLAMA_70B.kvBytesPerToken / 4);
  const attention = (64 * 64) / 2 / ((80 * 64) / 4);
  return Object.freeze({
    model: '32B',
    precision: 'bf16',
    gpu: 'H100',
    tensorParallel: 2,
    prefillBaseMs: from.prefillBaseMs * weights,
    prefillMsPerToken: from.prefillMsPerToken * weights,
    prefillMsPerTokenSquared: from.prefillMsPerTokenSquared * attention,
    decodeBaseMs: from.decodeBaseMs * weights,
    decodeMsPerSequence: from.decodeMsPerSequence * weights,
    decodeMsPerContextToken: from.decodeMsPerContextToken * context,
  });
}

function spec(row: TimingRow, model: ModelFacts, kvTokens: number): EngineSpec {
  const { maxSequences, maxBatchedTokens, blockTokens } = ENGINE_DEFAULTS;
  const { kvBytesPerToken } = model;
  return Object.freeze({ row, kvTokens, maxSequences, maxBatchedTokens, blockTokens, kvBytesPerToken });
}

/** An engine of the measured table on GPUs with so much memory; `weightShare` is 0.5 for fp8. */
function measured(name: TimingRowName, model: ModelFacts, weightShare: number, gpuBytes: number): EngineSpec {
  const row = TIMING_ROWS[name];
  return spec(row, model, kvTokensOf(model, weightShare, row.tensorParallel, gpuBytes));
}

/** The engines that --row takes. */
export const ENGINE_SPECS = Object.freeze({
  '8b-bf16-h100': measured('8b-bf16-h100', LLAMA_8B, 1, H100_BYTES),
  '8b-fp8-h100': measured('8b-fp8-h100', LLAMA_8B, 0.5, H100_BYTES),
  '8b-fp8-h200': measured('8b-fp8-h200', LLAMA_8B, 0.5, H200_BYTES),
  '70b-bf16-h100-tp4': measured('70b-bf16-h100-tp4', LLAMA_70B, 1, H100_BYTES),
  '70b-fp8-h100-tp4': measured('70b-fp8-h100-tp4', LLAMA_70B, 0.5, H100_BYTES),
  '70b-fp8-h100-tp2': measured('70b-fp8-h100-tp2', LLAMA_70B, 0.5, H100_BYTES),
  '70b-fp8-h200-tp4': measured('70b-fp8-h200-tp4', LLAMA_70B, 0.5, H200_BYTES),
  // llm-d states the KV tokens of its pods; its figure is taken instead of ours.
  'qwen3-32b-bf16-h100-tp2': spec(qwen32bRow(), QWEN_32B, ENGINE_DEFAULTS.kvTokens),
});

export type EngineSpecName = keyof typeof ENGINE_SPECS;
export const ENGINE_SPEC_NAMES = Object.keys(ENGINE_SPECS) as EngineSpecName[];

/** One parameter of an engine that --sensitivity moves, with what it scales. */
export interface Scaling {
  readonly name: string;
  readonly prefill: number;
  readonly decode: number;
  readonly kv: number;
}

export const UNSCALED: Scaling = { name: 'as stated', prefill: 1, decode: 1, kv: 1 };

/** Each parameter on its own, 30 % down and up. */
export const SENSITIVITY: readonly Scaling[] = [
  UNSCALED,
  { ...UNSCALED, name: 'prefill -30 %', prefill: 0.7 },
  { ...UNSCALED, name: 'prefill +30 %', prefill: 1.3 },
  { ...UNSCALED, name: 'decode -30 %', decode: 0.7 },
  { ...UNSCALED, name: 'decode +30 %', decode: 1.3 },
  { ...UNSCALED, name: 'KV -30 %', kv: 0.7 },
  { ...UNSCALED, name: 'KV +30 %', kv: 1.3 },
];

/** The engine with its times and its cache scaled. */
export function scaled(engine: EngineSpec, by: Scaling): EngineSpec {
  const { row } = engine;
  return {
    ...engine,
    kvTokens: Math.floor(engine.kvTokens * by.kv),
    row: {
      ...row,
      prefillBaseMs: row.prefillBaseMs * by.prefill,
      prefillMsPerToken: row.prefillMsPerToken * by.prefill,
      prefillMsPerTokenSquared: row.prefillMsPerTokenSquared * by.prefill,
      decodeBaseMs: row.decodeBaseMs * by.decode,
      decodeMsPerSequence: row.decodeMsPerSequence * by.decode,
      decodeMsPerContextToken: row.decodeMsPerContextToken * by.decode,
    },
  };
}
