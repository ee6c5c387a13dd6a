/**
 * What becomes of a request whose attempt failed: which failures another engine may make good, and which requests can go
 * on in the middle of their answer. Tables, because docs/FAILOVER.md and its test tell them row by row.
 */
import type { ErrorCode } from '../../../lib/errors.ts';
import type { Endpoint } from '../../ports.ts';

/** How a failure of one attempt is met. */
export interface FaultRule {
  /** Whether the request waits for an engine while there is none; else it fails once each was tried. */
  readonly waits: boolean;
  /** Most attempts while nothing of the answer was sent; absent: the bound of all. */
  readonly maxAttempts?: number;
}

/** Failures that say nothing about the request itself. What is not here ends the request with its own error. */
export const FAULTS: Readonly<Partial<Record<ErrorCode, FaultRule>>> = {
  engine_died: { waits: true },
  stream_lost: { waits: true },
  engine_unreachable: { waits: true },
  engine_aborted: { waits: true },
  // An engine can fail of one request alone: that one must not walk through the fleet.
  engine_failed: { waits: true, maxAttempts: 3 },
  engine_garbage: { waits: true, maxAttempts: 3 },
  // Neutral: an engine that is full or drains is not at fault, and waiting for it is the queue's task.
  engine_overloaded: { waits: false },
  overloaded: { waits: false },
  draining: { waits: false },
};

/** A request's body, parsed. */
export type Ask = Readonly<Record<string, unknown>>;

interface ResumeRule {
  /** For docs and messages: what the engine would lose at a cut. */
  readonly reason: string;
  readonly applies: (ask: Ask) => boolean;
}

const set = (value: unknown): boolean => value !== undefined && value !== null && value !== false;
const any =
  (...keys: string[]) =>
  (ask: Ask): boolean =>
    keys.some((key) => set(ask[key]));
const above =
  (key: string, least: number) =>
  (ask: Ask): boolean =>
    typeof ask[key] === 'number' && ask[key] > least;

function hasMedia(ask: Ask): boolean {
  const messages = Array.isArray(ask['messages']) ? (ask['messages'] as { content?: unknown }[]) : [];
  return messages.some(
    ({ content }) => Array.isArray(content) && content.some((part: { type?: unknown }) => part.type !== 'text'),
  );
}

function hasFormat(ask: Ask): boolean {
  const format = ask['response_format'] as { type?: unknown } | undefined | null;
  return set(format) && format?.type !== 'text';
}

/** Requests whose answer cannot go on in the middle, each with its reason; the first that applies is told. */
export const NOT_RESUMABLE: Readonly<Record<string, ResumeRule>> = {
  several_choices: {
    reason: 'several choices run beside each other',
    applies: (ask) => above('n', 1)(ask) || above('best_of', 1)(ask) || any('use_beam_search')(ask),
  },
  several_prompts: {
    reason: 'several prompts run beside each other',
    applies: ({ prompt }) => Array.isArray(prompt) && prompt.some((item) => typeof item !== 'number'),
  },
  guided: {
    reason: 'the grammar of a guided answer has a state',
    applies: (ask) =>
      hasFormat(ask) ||
      any(
        'structured_outputs',
        'guided_json',
        'guided_regex',
        'guided_choice',
        'guided_grammar',
        'structural_tag',
      )(ask),
  },
  tools: {
    reason: 'the parser of tool calls has a state, and the tools are part of the prompt',
    applies: (ask) =>
      (Array.isArray(ask['tools']) && ask['tools'].length > 0) ||
      (Array.isArray(ask['functions']) && ask['functions'].length > 0),
  },
  reasoning: {
    reason: 'the parser of reasoning has a state',
    applies: any('reasoning_effort', 'thinking_token_budget', 'include_reasoning'),
  },
  media: { reason: 'a prompt with media is more than its token ids', applies: hasMedia },
  rendering: {
    reason: 'the prompt is made of more than an engine can render again',
    applies: any('documents', 'truncate_prompt_tokens', 'prompt_embeds', 'suffix', 'echo', 'mm_processor_kwargs'),
  },
  completion_logprobs: {
    reason: 'the text offsets of log probabilities count from the first token',
    applies: (ask) => ask['messages'] === undefined && typeof ask['logprobs'] === 'number',
  },
  prompt_logprobs: { reason: 'they come with the prompt', applies: any('prompt_logprobs') },
  stop_after_minimum: {
    reason: 'a stop string that counts only after some tokens cannot be looked for across a cut',
    applies: (ask) => any('stop')(ask) && above('min_tokens', 0)(ask),
  },
  audio: { reason: 'the answer is more than text', applies: any('audio', 'modalities') },
  engine_extras: {
    reason: 'the extras of an engine’s operator may hold a state',
    applies: any('logits_processors', 'vllm_xargs', 'kv_transfer_params', 'repetition_detection'),
  },
};

/** Why the answer to this request cannot go on in the middle; undefined: it can. */
export function whyNotResumable(endpoint: Endpoint, ask: Ask): string | undefined {
  if (endpoint === 'embeddings') return 'embeddings';
  return Object.keys(NOT_RESUMABLE).find((name) => NOT_RESUMABLE[name]?.applies(ask));
}
