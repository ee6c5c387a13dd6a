/** Memory estimates against the published figures of known models, and headers of safetensors files with every kind of fault. */
import t from 'tap';
import { type EngineUse, estimateMemory, kvPerToken } from '../../../../scheduler/core/placement/memory/estimate.ts';
import { correctEstimate } from '../../../../scheduler/core/placement/memory/measured.ts';
import { type ModelShape, readModelShape } from '../../../../lib/model_shape.ts';
import { readSafetensorsHeader } from '../../../../lib/safetensors.ts';
import { GIB } from './support.ts';

const USE: EngineUse = {
  tensorParallel: 1,
  pipelineParallel: 1,
  contextTokens: 8192,
  sequences: 1,
  meanTokens: 1024,
  batchTokens: 2048,
  kvCacheDtype: 'auto',
};

const LLAMA_8B = {
  num_hidden_layers: 32,
  hidden_size: 4096,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  vocab_size: 128_256,
  intermediate_size: 14_336,
  torch_dtype: 'bfloat16',
  max_position_embeddings: 131_072,
};
const GEMMA_3 = {
  text_config: {
    num_hidden_layers: 62,
    hidden_size: 5376,
    num_attention_heads: 32,
    num_key_value_heads: 16,
    head_dim: 128,
    vocab_size: 262_208,
    sliding_window: 1024,
    sliding_window_pattern: 6,
  },
};
const DEEPSEEK = {
  num_hidden_layers: 61,
  hidden_size: 7168,
  num_attention_heads: 128,
  num_key_value_heads: 128,
  vocab_size: 129_280,
  kv_lora_rank: 512,
  qk_rope_head_dim: 64,
  num_experts_per_tok: 8,
  moe_intermediate_size: 2048,
  intermediate_size: 18_432,
};

function shape(config: unknown): ModelShape {
  const read = readModelShape(config);
  if (read.kind !== 'shape') throw new Error(`unknown: ${read.missing.join()}`);
  return read;
}

t.test('KV cache of known models: 128 KiB a token for Llama 3.1 8B, 70,272 bytes for DeepSeek V3', async (t) => {
  t.equal(kvPerToken(shape(LLAMA_8B), USE), 131_072);
  t.equal(kvPerToken(shape(LLAMA_8B), { ...USE, kvCacheDtype: 'fp8' }), 65_536);
  t.equal(kvPerToken(shape(LLAMA_8B), { ...USE, tensorParallel: 4 }), 32_768);
  t.equal(kvPerToken(shape(LLAMA_8B), { ...USE, tensorParallel: 16 }), 16_384, 'a KV head is on every rank at least');
  t.equal(kvPerToken(shape(LLAMA_8B), { ...USE, pipelineParallel: 2 }), 65_536);
  t.equal(kvPerToken(shape(DEEPSEEK), USE), 61 * 576 * 2);
  t.equal(kvPerToken(shape(DEEPSEEK), { ...USE, tensorParallel: 8 }), 61 * 576 * 2, 'latents are whole on every GPU');
  t.equal(kvPerToken(shape(DEEPSEEK), { ...USE, kvCacheDtype: 'fp8_ds_mla' }), 61 * 656);
});

t.test('layers with a window take what the window holds and no more', async (t) => {
  const gemma = shape(GEMMA_3);
  t.match(gemma, { fullLayers: 10, windowLayers: 52, windowTokens: 1024 });
  const layer = 2 * 16 * 128 * 2;
  t.equal(kvPerToken(gemma, USE), 10 * layer);
  const { kvBytes } = estimateMemory(gemma, 0, USE);
  t.equal(kvBytes, 8192 * 10 * layer + 52 * layer * (3072 + 16));
  const two = estimateMemory(gemma, 0, { ...USE, sequences: 2 });
  t.equal(two.kvBytes - kvBytes, 52 * layer * (1024 + 16));
});

t.test('which layers have a window is read in every spelling', async (t) => {
  const base = { num_hidden_layers: 4, hidden_size: 64, num_attention_heads: 4, vocab_size: 10 };
  const layers = (more: object): unknown => {
    const { fullLayers, windowLayers, windowTokens } = shape({ ...base, ...more });
    return [fullLayers, windowLayers, windowTokens];
  };
  t.same(layers({}), [4, 0, 0]);
  t.same(layers({ sliding_window: 8 }), [0, 4, 8]);
  t.same(layers({ sliding_window: null }), [4, 0, 0]);
  t.same(layers({ sliding_window: 8, use_sliding_window: false }), [4, 0, 0]);
  t.same(layers({ sliding_window: 8, use_sliding_window: true, max_window_layers: 3 }), [3, 1, 8]);
  t.same(layers({ sliding_window: 8, model_type: 'gemma2' }), [2, 2, 8]);
  const types = ['sliding_attention', 'full_attention', 'linear_attention', 'sliding_attention'];
  t.same(layers({ layer_types: types, sliding_window: 8 }), [1, 2, 8]);
  t.same(layers({ layer_types: types }), [3, 0, 0]);
});

t.test('other names of the same fields, defaults, and what is missing is named', async (t) => {
  const gpt = { n_layer: 2, n_embd: 64, n_head: 4, vocab_size: 10, n_positions: 128, dtype: 'float32' };
  t.match(shape(gpt), { hidden: 64, kvHeads: 4, headDim: 16, intermediate: 256, dtypeBytes: 4, maxPositions: 128 });
  t.equal(shape({ ...gpt, multi_query: true }).kvHeads, 1);
  t.equal(shape({ ...gpt, dtype: 'float8' }).dtypeBytes, 2);
  t.same(readModelShape({ hidden_size: 64, vocab_size: -1 }), {
    kind: 'unknown',
    missing: ['num_hidden_layers', 'num_attention_heads', 'vocab_size'],
  });
  t.match(readModelShape('text'), { kind: 'unknown' });
});

t.test('the sum: weights over the ranks, cache, activations and overhead', async (t) => {
  const estimate = estimateMemory(shape(LLAMA_8B), 16 * GIB, { ...USE, tensorParallel: 2, sequences: 64 });
  t.equal(estimate.weightsBytes, 8 * GIB);
  t.equal(estimate.kvBytes, 64 * 1024 * 65_536);
  const { weightsBytes, kvBytes, activationBytes, overheadBytes, totalBytes } = estimate;
  t.equal(totalBytes, weightsBytes + kvBytes + activationBytes + overheadBytes);
  t.ok(overheadBytes > estimateMemory(shape(LLAMA_8B), 0, USE).overheadBytes, 'buffers between ranks');
  t.equal(activationBytes, 2048 * (2 * 4096 + (3 * 14_336) / 2) * 2);
  t.equal(estimateMemory(shape(DEEPSEEK), 0, USE).activationBytes, 2048 * (2 * 7168 + 8 * (3 * 2048 + 7168)) * 2);
  const short = estimateMemory(shape({ ...LLAMA_8B, max_position_embeddings: 16 }), 0, {
    ...USE,
    batchTokens: 1,
    sequences: 512,
  });
  t.equal(short.activationBytes, 512 * 128_256 * 6 + 4096 * 2, 'the logits are widest');
  t.equal(short.kvBytes, 512 * 16 * 131_072);
});

t.test('a pipeline: its fullest stage has ceil(layers / stages) of them and one table of the vocabulary', async (t) => {
  const llama = shape(LLAMA_8B);
  // 8,030,261,248 numbers of two bytes, as Llama 3.1 8B has; a table is 128,256 * 4096 * 2 = 1,050,673,152 bytes.
  const all = 16_060_522_496;
  const at = (tensorParallel: number, pipelineParallel: number) =>
    estimateMemory(llama, all, { ...USE, tensorParallel, pipelineParallel });
  t.equal(at(1, 1).weightsBytes, all);
  t.equal(at(1, 2).weightsBytes, 15_009_849_344 / 2 + 1_050_673_152, '16 of 32 layers');
  t.equal(at(2, 2).weightsBytes, (15_009_849_344 / 2 + 1_050_673_152) / 2);
  t.equal(at(1, 3).weightsBytes, Math.ceil((15_009_849_344 * 11) / 32 + 1_050_673_152), '11 of 10, 11 and 11');
  t.equal(at(1, 64).weightsBytes, Math.ceil(15_009_849_344 / 32 + 1_050_673_152), 'no stage has less than a layer');
  t.equal(
    estimateMemory(llama, 9, { ...USE, pipelineParallel: 2 }).weightsBytes,
    9,
    'a table is never above the whole',
  );
  // A layer keeps 2 * 8 * 128 * 2 = 4096 bytes of a token, a sequence has 8192 tokens.
  t.same([at(1, 2).kvBytesPerToken, at(1, 3).kvBytesPerToken, at(4, 3).kvBytesPerToken], [65_536, 45_056, 11_264]);
  t.equal(at(1, 3).kvBytes, 8192 * 45_056);
  t.equal(at(1, 2).overheadBytes, at(2, 1).overheadBytes, 'stages send each other, too');
  const gemma = estimateMemory(shape(GEMMA_3), 0, { ...USE, pipelineParallel: 4 });
  t.equal(gemma.kvBytes, 8192 * 3 * 8192 + 13 * 8192 * (3072 + 16), '3 of 10 full layers, 13 of 52 with a window');
});

t.test('measurements replace estimates, the largest counts, and what cannot be is not believed', async (t) => {
  const estimate = estimateMemory(shape(LLAMA_8B), 16 * GIB, USE);
  t.same(correctEstimate(estimate, []), { ...estimate, measured: [] });
  const corrected = correctEstimate(estimate, [
    { weightsBytes: 15 * GIB, activationBytes: GIB, kvBytesPerToken: 65_536 },
    { weightsBytes: 15.5 * GIB, overheadBytes: 2 * GIB },
    { weightsBytes: 900 * GIB, activationBytes: -1, overheadBytes: NaN },
  ]);
  t.same(corrected.measured, ['weightsBytes', 'activationBytes', 'overheadBytes', 'kvBytesPerToken']);
  t.equal(corrected.weightsBytes, Math.ceil(15.5 * GIB * 1.02));
  t.equal(corrected.kvBytes, estimate.kvBytes / 2);
  t.equal(
    corrected.totalBytes,
    corrected.weightsBytes + corrected.kvBytes + corrected.activationBytes + corrected.overheadBytes,
  );
  const windows = estimateMemory(shape({ ...LLAMA_8B, sliding_window: 512 }), 0, USE);
  t.equal(correctEstimate(windows, [{ kvBytesPerToken: 5 }]).kvBytes, windows.kvBytes, 'no layer grows by the token');
});

/** A file's beginning with this header. */
function file(header: unknown, declared?: number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(declared ?? text.length), true);
  bytes.set(text, 8);
  return bytes;
}

t.test('bytes of all tensors from a header, also of packed types', async (t) => {
  const header = {
    __metadata__: { format: 'pt' },
    a: { dtype: 'BF16', shape: [2, 3], data_offsets: [0, 12] },
    b: { dtype: 'F4', shape: [4], data_offsets: [12, 14] },
    c: { dtype: 'F32', shape: [], data_offsets: [14, 18] },
  };
  t.same(readSafetensorsHeader(file(header)), {
    kind: 'header',
    tensorBytes: 18,
    tensors: 3,
    byDtype: [
      { dtype: 'BF16', bytes: 12 },
      { dtype: 'F32', bytes: 4 },
      { dtype: 'F4', bytes: 2 },
    ],
  });
  t.match(readSafetensorsHeader(file({})), { kind: 'header', tensorBytes: 0, tensors: 0 });
});

t.test('a beginning that is too short says how much is needed; a malformed one says what is wrong', async (t) => {
  t.same(readSafetensorsHeader(new Uint8Array(7)), { kind: 'short', needBytes: 8 });
  t.same(readSafetensorsHeader(file({}, 500)), { kind: 'short', needBytes: 508 });
  const tensor = { dtype: 'F16', shape: [2], data_offsets: [0, 4] };
  const faults: readonly (readonly [unknown, RegExp, number?])[] = [
    [{}, /would be 1 bytes/, 1],
    [{}, /would be 2000000000 bytes/, 2e9],
    ['not json', /no JSON object/],
    ['[1]', /no JSON object/],
    [{ a: 1 }, /tensor a/],
    [{ a: { ...tensor, dtype: 'F17' } }, /tensor a/],
    [{ a: { ...tensor, dtype: 'constructor' } }, /tensor a/],
    [{ a: { ...tensor, shape: [-2] } }, /tensor a/],
    [{ a: { ...tensor, shape: 2 } }, /tensor a/],
    [{ a: { ...tensor, data_offsets: [0, 5] } }, /tensor a/],
    [{ a: { ...tensor, data_offsets: [0] } }, /tensor a/],
    [{ a: tensor, b: tensor }, /overlap/],
    [{ a: { ...tensor, data_offsets: [4, 8] } }, /gaps/],
  ];
  for (const [header, why, declared] of faults) {
    const result = readSafetensorsHeader(file(header, declared));
    t.match(result, { kind: 'malformed', why });
  }
});
