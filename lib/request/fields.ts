/**
 * Which members a request body may have, and of which kind each must be. What is not in the table is refused: an engine
 * takes many fields that were made for its operator (another chat template, another tenant's cache, a place in its own
 * queue), and a list of what is allowed stays right when the next release of the engine adds one more.
 * Sources: OpenAI API reference (chat, completions, embeddings); vLLM's entrypoints/openai protocol.
 */
import type { Endpoint } from '../openai.ts';

export type FieldKind =
  | 'string'
  | 'number'
  | 'integer'
  | 'boolean'
  | 'object'
  | 'array'
  | 'string_or_array'
  | 'string_or_object'
  | 'any';

export interface FieldRule {
  readonly kind: FieldKind;
  /** Made for the engine's operator: passes only when the allow-list names it. */
  readonly engineInternal?: true;
  /** Bounds of a number, inclusive. */
  readonly min?: number;
  readonly max?: number;
}

export type FieldTable = ReadonlyMap<string, FieldRule>;

/** OpenAI's own bound on `n`; each choice is a sequence of its own in the engine. */
const MAX_CHOICES = 128;

const internal = (kind: FieldKind): FieldRule => ({ kind, engineInternal: true });
const of = (kind: FieldKind): FieldRule => ({ kind });
const count = (min: number, max?: number): FieldRule => ({
  kind: 'integer',
  min,
  ...(max === undefined ? {} : { max }),
});

/** Sampling and output shape, taken by chat and by completions. */
const GENERATION: Readonly<Record<string, FieldRule>> = {
  model: of('string'),
  stream: of('boolean'),
  stream_options: of('object'),
  max_tokens: count(0),
  temperature: of('number'),
  top_p: of('number'),
  n: count(1, MAX_CHOICES),
  seed: of('integer'),
  stop: of('string_or_array'),
  presence_penalty: of('number'),
  frequency_penalty: of('number'),
  logit_bias: of('object'),
  user: of('string'),
  // vLLM's public sampling extras.
  best_of: count(1, MAX_CHOICES),
  use_beam_search: of('boolean'),
  top_k: of('integer'),
  min_p: of('number'),
  repetition_penalty: of('number'),
  length_penalty: of('number'),
  stop_token_ids: of('array'),
  include_stop_str_in_output: of('boolean'),
  ignore_eos: of('boolean'),
  min_tokens: count(0),
  skip_special_tokens: of('boolean'),
  spaces_between_special_tokens: of('boolean'),
  truncate_prompt_tokens: of('integer'),
  allowed_token_ids: of('array'),
  bad_words: of('array'),
  add_special_tokens: of('boolean'),
  echo: of('boolean'),
  response_format: of('object'),
  structured_outputs: of('object'),
  guided_json: of('string_or_object'),
  guided_regex: of('string'),
  guided_choice: of('array'),
  guided_grammar: of('string'),
  guided_whitespace_pattern: of('string'),
  structural_tag: of('string'),
  return_tokens_as_token_ids: of('boolean'),
  return_token_ids: of('boolean'),
  // For the operator of an engine.
  guided_decoding_backend: internal('string'),
  kv_transfer_params: internal('object'),
  cache_salt: internal('string'),
  priority: internal('integer'),
  request_id: internal('string'),
  prompt_logprobs: internal('integer'),
  logits_processors: internal('array'),
  vllm_xargs: internal('object'),
  repetition_detection: internal('object'),
  data_parallel_rank: internal('integer'),
};

const CHAT: Readonly<Record<string, FieldRule>> = {
  ...GENERATION,
  messages: of('array'),
  max_completion_tokens: count(0),
  logprobs: of('boolean'),
  top_logprobs: count(0),
  tools: of('array'),
  tool_choice: of('string_or_object'),
  parallel_tool_calls: of('boolean'),
  functions: of('array'),
  function_call: of('string_or_object'),
  reasoning_effort: of('string'),
  verbosity: of('string'),
  modalities: of('array'),
  audio: of('object'),
  prediction: of('object'),
  metadata: of('object'),
  store: of('boolean'),
  service_tier: of('string'),
  safety_identifier: of('string'),
  prompt_cache_key: of('string'),
  prompt_cache_retention: of('string'),
  web_search_options: of('object'),
  // vLLM's public extras of chat.
  add_generation_prompt: of('boolean'),
  continue_final_message: of('boolean'),
  documents: of('array'),
  include_reasoning: of('boolean'),
  thinking_token_budget: of('integer'),
  // For the operator of an engine.
  chat_template: internal('string'),
  chat_template_kwargs: internal('object'),
  mm_processor_kwargs: internal('object'),
  media_io_kwargs: internal('object'),
};

const COMPLETIONS: Readonly<Record<string, FieldRule>> = {
  ...GENERATION,
  prompt: of('string_or_array'),
  suffix: of('string'),
  logprobs: count(0),
  prompt_embeds: internal('any'),
};

const EMBEDDINGS: Readonly<Record<string, FieldRule>> = {
  model: of('string'),
  input: of('string_or_array'),
  encoding_format: of('string'),
  dimensions: count(1),
  user: of('string'),
  truncate_prompt_tokens: of('integer'),
  add_special_tokens: of('boolean'),
  normalize: of('boolean'),
  priority: internal('integer'),
  request_id: internal('string'),
  cache_salt: internal('string'),
  mm_processor_kwargs: internal('object'),
  embed_dtype: internal('string'),
  endianness: internal('string'),
};

/** The table of each endpoint. */
export const FIELDS: Readonly<Record<Endpoint, FieldTable>> = {
  chat: new Map(Object.entries(CHAT)),
  completions: new Map(Object.entries(COMPLETIONS)),
  embeddings: new Map(Object.entries(EMBEDDINGS)),
};

const QUOTE = 0x22;
const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;
const LETTER_T = 0x74;
const LETTER_F = 0x66;
const LETTER_N = 0x6e;

/** What stands at the first byte of a scanned JSON value. */
export function jsonTypeOf(firstByte: number): 'string' | 'object' | 'array' | 'boolean' | 'null' | 'number' {
  if (firstByte === QUOTE) return 'string';
  if (firstByte === OPEN_BRACE) return 'object';
  if (firstByte === OPEN_BRACKET) return 'array';
  if (firstByte === LETTER_T || firstByte === LETTER_F) return 'boolean';
  return firstByte === LETTER_N ? 'null' : 'number';
}

const WORDS: Readonly<Record<FieldKind, string>> = {
  string: 'a string',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  object: 'an object',
  array: 'an array',
  string_or_array: 'a string or an array',
  string_or_object: 'a string or an object',
  any: 'any value',
};

/** The kind in words, for a message. */
export function wordsFor(kind: FieldKind): string {
  return WORDS[kind];
}

/** Whether a value of this JSON type can be of the kind; `integer` still needs its digits looked at. */
export function kindAccepts(kind: FieldKind, type: ReturnType<typeof jsonTypeOf>): boolean {
  if (kind === 'any') return true;
  if (kind === 'integer') return type === 'number';
  if (kind === 'string_or_array') return type === 'string' || type === 'array';
  if (kind === 'string_or_object') return type === 'string' || type === 'object';
  return type === kind;
}
