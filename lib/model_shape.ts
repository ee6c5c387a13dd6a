/**
 * What of a model's config.json decides about memory: layers, heads, how attention keeps its keys and values. Field names are those
 * of Hugging Face's transformers; a multimodal model has them under text_config. What is not there is named, not guessed.
 */

export interface ModelShape {
  readonly kind: 'shape';
  readonly hidden: number;
  readonly vocabulary: number;
  /** Of the dense MLP, and of one expert with how many of them a token visits; 0: none. */
  readonly intermediate: number;
  readonly expertIntermediate: number;
  readonly expertsPerToken: number;
  /** Layers that keep keys and values of every token, and of a window of tokens. */
  readonly fullLayers: number;
  readonly windowLayers: number;
  readonly windowTokens: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Multi-head latent attention (DeepSeek): numbers that are kept of a token instead of keys and values; 0: none. */
  readonly latentDim: number;
  /** Bytes of a weight as it is computed with. */
  readonly dtypeBytes: number;
  readonly maxPositions: number | undefined;
}

export type ModelShapeResult = ModelShape | { readonly kind: 'unknown'; readonly missing: readonly string[] };

type Fields = Readonly<Record<string, unknown>>;

const DTYPE_BYTES: Readonly<Record<string, number>> = { float32: 4, bfloat16: 2, float16: 2 };

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** @param config the parsed config.json, as foreign as it is */
export function readModelShape(config: unknown): ModelShapeResult {
  const outer = isFields(config) ? config : {};
  const fields = isFields(outer['text_config']) ? { ...outer, ...outer['text_config'] } : outer;
  const number = (...names: readonly string[]): number | undefined => {
    for (const name of names) {
      const value = fields[name];
      if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    }
    return undefined;
  };
  const layers = number('num_hidden_layers', 'n_layer', 'n_layers');
  const hidden = number('hidden_size', 'n_embd', 'd_model');
  const heads = number('num_attention_heads', 'n_head', 'n_heads');
  const vocabulary = number('vocab_size');
  const needed = { num_hidden_layers: layers, hidden_size: hidden, num_attention_heads: heads, vocab_size: vocabulary };
  if (layers === undefined || hidden === undefined || heads === undefined || vocabulary === undefined) {
    const missing = Object.entries(needed).flatMap(([name, value]) => (value === undefined ? [name] : []));
    return { kind: 'unknown', missing };
  }
  const dtype = fields['dtype'] ?? fields['torch_dtype'];
  const rank = number('kv_lora_rank');
  return {
    kind: 'shape',
    hidden,
    vocabulary,
    intermediate: number('intermediate_size', 'n_inner') ?? 4 * hidden,
    expertIntermediate: number('moe_intermediate_size') ?? number('intermediate_size') ?? 0,
    expertsPerToken: number('num_experts_per_tok', 'num_experts_per_token') ?? 0,
    ...layersOf(fields, layers, number('sliding_window')),
    kvHeads: number('num_key_value_heads') ?? (fields['multi_query'] === true ? 1 : heads),
    headDim: number('head_dim') ?? Math.floor(hidden / heads),
    latentDim: rank === undefined ? 0 : rank + (number('qk_rope_head_dim') ?? 0),
    dtypeBytes: typeof dtype === 'string' ? (DTYPE_BYTES[dtype] ?? 2) : 2,
    maxPositions: number('max_position_embeddings', 'n_positions'),
  };
}

type Layers = Pick<ModelShape, 'fullLayers' | 'windowLayers' | 'windowTokens'>;

/**
 * Which layers look at a window only. `layer_types` says it layer by layer (transformers since 4.53; linear attention keeps a state
 * of fixed size, which counts as nothing); before it Gemma 3 had a pattern of which every n-th layer is full, Gemma 2 every
 * second, Mistral none; Qwen 2 switches it off by a field of its own, and then from a layer on.
 */
function layersOf(fields: Fields, layers: number, window: number | undefined): Layers {
  const types = fields['layer_types'];
  if (Array.isArray(types)) {
    const count = (type: string): number => types.filter((each) => each === type).length;
    const windowLayers = window === undefined ? 0 : count('sliding_attention');
    const none = count('linear_attention');
    return { fullLayers: Math.max(0, types.length - none - windowLayers), windowLayers, windowTokens: window ?? 0 };
  }
  if (window === undefined || fields['use_sliding_window'] === false)
    return { fullLayers: layers, windowLayers: 0, windowTokens: 0 };
  const fullLayers = fullOf(fields, layers);
  return { fullLayers, windowLayers: layers - fullLayers, windowTokens: window };
}

function fullOf(fields: Fields, layers: number): number {
  const pattern = fields['sliding_window_pattern'];
  if (Number.isSafeInteger(pattern) && (pattern as number) > 0) return Math.floor(layers / (pattern as number));
  if (fields['model_type'] === 'gemma2') return Math.floor(layers / 2);
  const first = fields['max_window_layers'];
  if (Number.isSafeInteger(first) && fields['use_sliding_window'] === true)
    return Math.min(layers, Math.max(0, first as number));
  return 0;
}
