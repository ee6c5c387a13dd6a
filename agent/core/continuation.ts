/**
 * How an answer that was cut goes on at another engine: as a completion from the ids of the prompt and of the tokens so
 * far. The prompt's ids are asked of the new engine (`/tokenize`) and not kept from the first one: that costs nothing
 * while nothing fails, holds no copy of each running prompt (4 bytes a token on the lane and in the scheduler), and is
 * there even if the first engine died before its first chunk. What it cannot render again (media, tools) is not continued
 * at all; the scheduler's table says what. Seen with vLLM 0.32: greedy in float32 the continuation is identical.
 */

/** A request body, parsed. */
export type Ask = Readonly<Record<string, unknown>>;

/** A question by POST, and its answer as parsed JSON. */
export interface Question {
  readonly path: string;
  readonly body: Ask;
}

/** What the engine said of the prompt. */
export interface Prompt {
  readonly ids: readonly number[];
  readonly contextTokens: number | undefined;
}

/** OpenAI's and vLLM's bound for a completion that names none. */
const COMPLETION_MAX_TOKENS = 16;
/** A character has at most four bytes, so that its parts are at most so many tokens; the rest is slack. */
export const TAIL_TOKENS = 8;
const MAX_PARTS = 3;
const REPLACEMENT = '\ufffd';

/** Members that go into the rendering of a chat prompt, and those that a completion has no use for. */
const RENDERING = [
  'messages',
  'add_generation_prompt',
  'continue_final_message',
  'add_special_tokens',
  'chat_template',
  'chat_template_kwargs',
] as const;
const LEFT_OUT: ReadonlySet<string> = new Set([
  ...RENDERING,
  'prompt',
  'stream',
  'stream_options',
  'return_token_ids',
  'max_tokens',
  'max_completion_tokens',
  'min_tokens',
  'logprobs',
  'top_logprobs',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
]);

function isIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isInteger(item));
}

function only(ask: Ask, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => ask[key] !== undefined).map((key) => [key, ask[key]]));
}

/** The ids of the prompt where the request has them itself. */
export function ownPromptIds(ask: Ask): readonly number[] | undefined {
  return isIds(ask['prompt']) ? ask['prompt'] : undefined;
}

/** Asks for the ids of the prompt. */
export function promptQuestion(ask: Ask): Question {
  const keys = ask['messages'] === undefined ? ['prompt', 'add_special_tokens'] : RENDERING;
  return { path: '/tokenize', body: only(ask, ['model', ...keys]) };
}

/** Undefined when the answer is not one. */
export function readPrompt(answer: unknown): Prompt | undefined {
  const { tokens, max_model_len: length } = (answer ?? {}) as Record<string, unknown>;
  if (!isIds(tokens)) return undefined;
  return { ids: tokens, contextTokens: typeof length === 'number' ? length : undefined };
}

/** Asks for the text of token ids. */
export function textQuestion(ask: Ask, tokens: readonly number[]): Question {
  return { path: '/detokenize', body: { ...only(ask, ['model']), tokens } };
}

/** Undefined when the answer is not one. */
export function readText(answer: unknown): string | undefined {
  const text = ((answer ?? {}) as Record<string, unknown>)['prompt'];
  return typeof text === 'string' ? text : undefined;
}

/**
 * Engines send the text of a character with its last token, so ids at the end whose text is a part of one have had none
 * of it sent; an engine that is made to go on behind them repeats the whole prompt's text (seen with vLLM 0.32).
 */
export const endsInPart = (text: string): boolean => text.endsWith(REPLACEMENT);

/** How many ids to leave out next while the end is a part of a character; undefined: no more, it is text as it stands. */
export function nextCut(cut: number, tokens: number): number | undefined {
  return cut < MAX_PARTS && cut < tokens ? cut + 1 : undefined;
}

function tokenLimit(ask: Ask): number | undefined {
  if (ask['messages'] === undefined) {
    const own = ask['max_tokens'];
    return typeof own === 'number' ? own : own === undefined ? COMPLETION_MAX_TOKENS : undefined;
  }
  const own = ask['max_completion_tokens'] ?? ask['max_tokens'];
  return typeof own === 'number' ? own : undefined;
}

/** Tokens that may still come; undefined: the engine did not say how many its context holds. */
export function tokensLeft(ask: Ask, prompt: Prompt, emitted: number): number | undefined {
  const limit = tokenLimit(ask);
  const room = prompt.contextTokens === undefined ? undefined : prompt.contextTokens - prompt.ids.length - emitted;
  if (limit === undefined) return room;
  return Math.min(limit - emitted, room ?? Infinity);
}

/** The completion that goes on: `emitted` are the ids after which it does. */
export function continuationBody(
  ask: Ask,
  promptIds: readonly number[],
  emitted: ArrayLike<number>,
  maxTokens: number,
  ownStops: boolean,
): Ask {
  const carried = Object.fromEntries(
    Object.entries(ask).filter(([key, value]) => !LEFT_OUT.has(key) && value !== null && value !== undefined),
  );
  const streamOptions = { ...((ask['stream_options'] ?? {}) as Ask), include_usage: true };
  const minTokens = typeof ask['min_tokens'] === 'number' ? ask['min_tokens'] - emitted.length : 0;
  const chatLogprobs = ask['logprobs'] === true ? Number(ask['top_logprobs'] ?? 0) : undefined;
  return {
    ...carried,
    prompt: [...promptIds, ...Array.from(emitted)],
    max_tokens: maxTokens,
    stream: true,
    stream_options: streamOptions,
    return_token_ids: true,
    ...(minTokens > 0 ? { min_tokens: minTokens } : {}),
    ...(chatLogprobs === undefined ? {} : { logprobs: chatLogprobs }),
    // The text before the cut may hold the begin of a stop string: then the search for it is ours, and needs all text.
    ...(ownStops ? { include_stop_str_in_output: true } : {}),
  };
}

/** The stop strings of a request. */
export function stopsOf(ask: Ask): readonly string[] {
  const { stop } = ask as { stop?: unknown };
  if (typeof stop === 'string') return [stop];
  return Array.isArray(stop) ? stop.filter((item) => typeof item === 'string') : [];
}

/** The events of an engine that has nothing more to say: the finish reason, where the client lacks it, and usage. */
export function endingEvents(promptTokens: number, emitted: number, finished: boolean): string {
  const finish = { index: 0, text: '', logprobs: null, finish_reason: 'length', stop_reason: null, token_ids: [] };
  const usage = {
    prompt_tokens: promptTokens + emitted,
    total_tokens: promptTokens + emitted,
    completion_tokens: 0,
  };
  const events = [...(finished ? [] : [{ choices: [finish] }]), { choices: [], usage }];
  return `${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')}data: [DONE]\n\n`;
}
