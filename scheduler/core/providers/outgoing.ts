/**
 * Makes of a request's body what a provider gets. OpenAI's public fields pass; those that are only the fleet's own wish
 * are taken out; a request that asks for something which the provider does not know is not sent there, because an answer
 * that silently lacks it would be a wrong one.
 * Sources: OpenAI API reference; OpenRouter's API reference (request schema, provider routing).
 */
import { scanJson } from '../../../lib/json_scan.ts';
import { spliceMembers } from '../../../lib/json_splice.ts';
import type { Endpoint } from '../../../lib/openai.ts';
import type { Dialect, ProviderSpec } from './contract.ts';

const GENERATION = [
  'model',
  'stream',
  'stream_options',
  'max_tokens',
  'temperature',
  'top_p',
  'n',
  'seed',
  'stop',
  'presence_penalty',
  'frequency_penalty',
  'logit_bias',
  'logprobs',
  'user',
] as const;

const PUBLIC: Readonly<Record<Endpoint, ReadonlySet<string>>> = {
  chat: new Set([
    ...GENERATION,
    'messages',
    'max_completion_tokens',
    'top_logprobs',
    'tools',
    'tool_choice',
    'parallel_tool_calls',
    'functions',
    'function_call',
    'response_format',
    'reasoning_effort',
    'verbosity',
    'modalities',
    'audio',
    'prediction',
    'metadata',
    'store',
    'service_tier',
    'safety_identifier',
    'prompt_cache_key',
    'prompt_cache_retention',
    'web_search_options',
  ]),
  completions: new Set([...GENERATION, 'prompt', 'suffix', 'echo', 'best_of']),
  embeddings: new Set(['model', 'input', 'encoding_format', 'dimensions', 'user']),
};

/** Fields of this dialect beyond OpenAI's. */
const EXTRA: Readonly<Record<Dialect, ReadonlySet<string>>> = {
  openai: new Set(),
  openrouter: new Set(['top_k', 'min_p', 'repetition_penalty', 'include_reasoning']),
};

/** What the fleet added, or what changes nothing in the text that comes. */
const TAKEN_OUT: readonly string[] = ['return_token_ids'];

/** The body for a provider, or the field that it does not know. */
export type Outgoing = { readonly body: Uint8Array } | { readonly unknownField: string };

/** Bodies were checked at the door: the depth is bounded there. */
const ANY_DEPTH = 1024;

/** @param body one JSON object that the door has let in */
export function outgoingBody(
  spec: Pick<ProviderSpec, 'dialect' | 'models' | 'allowDataCollection'>,
  request: { readonly endpoint: Endpoint; readonly model: string; readonly body: Uint8Array },
): Outgoing {
  const scan = scanJson(request.body, { maxDepth: ANY_DEPTH });
  if (!scan.ok) return { unknownField: '' };
  const known = PUBLIC[request.endpoint];
  const extra = EXTRA[spec.dialect];
  for (const { key } of scan.members) {
    if (!known.has(key) && !extra.has(key) && !TAKEN_OUT.includes(key)) return { unknownField: key };
  }
  const set: Record<string, string> = { model: JSON.stringify(spec.models[request.model]) };
  // vLLM's own options of a stream are no one else's; usage is always wanted for the costs.
  if (scan.members.some(({ key }) => key === 'stream_options')) set['stream_options'] = '{"include_usage":true}';
  if (spec.dialect === 'openrouter' && !spec.allowDataCollection) set['provider'] = '{"data_collection":"deny"}';
  return { body: spliceMembers(request.body, scan.members, { set, remove: TAKEN_OUT }) };
}
