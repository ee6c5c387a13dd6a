/**
 * The shape of a model out of the metadata of a GGUF file: the same object as config.json gives (model_shape.ts). Names of the keys:
 * the GGUF specification in ggml's repository (docs/gguf.md), below the prefix that `general.architecture` names. Per token and
 * layer the KV cache has 2 * head_count_kv * key_length numbers; with latent attention (`attention.kv_lora_rank`) it has that
 * rank and the rotated part (`rope.dimension_count`) instead.
 */
import type { GgufValue } from './gguf.ts';
import type { ModelShapeResult } from './model_shape.ts';

type Keys = ReadonlyMap<string, GgufValue>;

/** Of so many layers one sees all tokens, where llama.cpp (llama-model.cpp, set_swa_pattern) says so; of others all do. */
const FULL_EVERY: Readonly<Record<string, number>> = {
  gemma2: 2,
  gemma3: 6,
  gemma3n: 5,
  cohere2: 4,
  'gpt-oss': 2,
};

/** Engines compute GGUF weights, and keep keys and values, in 16 bits unless they are told otherwise. */
const COMPUTE_BYTES = 2;

/** A number, or the largest of one for each layer; 0 and what is no count is none. */
function countOf(value: GgufValue | undefined): number | undefined {
  const numbers = typeof value === 'object' ? (value.numbers ?? []) : [value];
  const sound = numbers.filter((each): each is number => Number.isSafeInteger(each) && (each as number) > 0);
  return sound.length === 0 ? undefined : Math.max(...sound);
}

/** Layers that keep keys and values: where there is a number for each layer, those without KV heads keep none. */
function cachingLayers(value: GgufValue | undefined, layers: number): number {
  if (typeof value !== 'object' || value.numbers === undefined || value.length !== layers) return layers;
  return value.numbers.filter((each) => each > 0).length;
}

/** @param keys of the file's metadata */
export function ggufShape(keys: Keys): ModelShapeResult {
  const architecture = keys.get('general.architecture');
  if (typeof architecture !== 'string' || architecture === '')
    return { kind: 'unknown', missing: ['general.architecture'] };
  const raw = (name: string): GgufValue | undefined => keys.get(`${architecture}.${name}`);
  const number = (name: string): number | undefined => countOf(raw(name));
  const layers = number('block_count');
  const hidden = number('embedding_length');
  const heads = number('attention.head_count');
  const tokens = keys.get('tokenizer.ggml.tokens');
  const listed = typeof tokens === 'object' && tokens.length > 0 ? tokens.length : undefined;
  const vocabulary = number('vocab_size') ?? listed;
  const needed = {
    block_count: layers,
    embedding_length: hidden,
    'attention.head_count': heads,
    vocab_size: vocabulary,
  };
  if (layers === undefined || hidden === undefined || heads === undefined || vocabulary === undefined) {
    const missing = Object.entries(needed).flatMap(([name, value]) => (value === undefined ? [name] : []));
    return { kind: 'unknown', missing: missing.map((name) => `${architecture.slice(0, 64)}.${name}`) };
  }
  const keeping = cachingLayers(raw('attention.head_count_kv'), layers);
  const window = number('attention.sliding_window');
  const every = Object.hasOwn(FULL_EVERY, architecture) ? FULL_EVERY[architecture] : undefined;
  const isWindowed = window !== undefined && every !== undefined;
  const fullLayers = isWindowed ? Math.floor(keeping / every) : keeping;
  const rank = number('attention.kv_lora_rank');
  const intermediate = number('feed_forward_length');
  return {
    kind: 'shape',
    hidden,
    vocabulary,
    intermediate: intermediate ?? 4 * hidden,
    expertIntermediate: number('expert_feed_forward_length') ?? intermediate ?? 0,
    expertsPerToken: number('expert_used_count') ?? 0,
    fullLayers,
    windowLayers: keeping - fullLayers,
    windowTokens: isWindowed ? window : 0,
    kvHeads: number('attention.head_count_kv') ?? heads,
    headDim: number('attention.key_length') ?? Math.floor(hidden / heads),
    latentDim: rank === undefined ? 0 : rank + (number('rope.dimension_count') ?? 0),
    dtypeBytes: COMPUTE_BYTES,
    maxPositions: number('context_length'),
  };
}
