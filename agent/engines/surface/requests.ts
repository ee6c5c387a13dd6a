/**
 * What a client may ask, checked at the edge: the OpenAI request shapes as vLLM 0.32 takes them, resolved into one
 * plan that the generation code works from. Fields that vLLM would ignore are ignored; fields it would act on and
 * this surface cannot are refused with a sentence.
 */
import { z } from 'zod';
import { ApiError } from './api_error.ts';
import type { Backend, ChatMessage } from './backend.ts';
import { planTools, valueOf, type ScriptedCall } from './tools.ts';

const MAX_STOPS = 64;
const count = z.number().int().min(0).max(0x7fffffff);
const nullish = <T extends z.ZodType>(schema: T) => schema.nullish();

const sampling = {
  model: nullish(z.string()),
  stream: nullish(z.boolean()),
  stream_options: nullish(
    z.looseObject({ include_usage: nullish(z.boolean()), continuous_usage_stats: nullish(z.boolean()) }),
  ),
  max_tokens: nullish(z.number().int()),
  min_tokens: nullish(count),
  n: nullish(z.number().int().min(1)),
  temperature: nullish(z.number().min(0)),
  top_p: nullish(z.number().gt(0).max(1)),
  top_k: nullish(z.number().int().min(-1)),
  seed: nullish(z.number().int()),
  stop: nullish(z.union([z.string(), z.array(z.string()).max(MAX_STOPS)])),
  stop_token_ids: nullish(z.array(z.number().int()).max(MAX_STOPS)),
  include_stop_str_in_output: nullish(z.boolean()),
  ignore_eos: nullish(z.boolean()),
  return_token_ids: nullish(z.boolean()),
  response_format: nullish(z.looseObject({ type: z.string() })),
};

const part = z.looseObject({ type: z.string(), text: nullish(z.string()) });
const message = z.looseObject({
  role: z.string().min(1),
  content: nullish(z.union([z.string(), z.array(part)])),
  name: nullish(z.string()),
  tool_call_id: nullish(z.string()),
  tool_calls: nullish(z.array(z.unknown())),
});
const tool = z.looseObject({
  type: z.literal('function'),
  function: z.looseObject({ name: z.string().min(1), parameters: nullish(z.record(z.string(), z.unknown())) }),
});

const chatSchema = z.looseObject({
  ...sampling,
  messages: z.array(message).min(1),
  max_completion_tokens: nullish(z.number().int()),
  add_generation_prompt: nullish(z.boolean()),
  continue_final_message: nullish(z.boolean()),
  tools: nullish(z.array(tool)),
  tool_choice: nullish(
    z.union([
      z.enum(['none', 'auto', 'required']),
      z.looseObject({ type: z.literal('function'), function: z.looseObject({ name: z.string() }) }),
    ]),
  ),
  parallel_tool_calls: nullish(z.boolean()),
  logprobs: nullish(z.boolean()),
  top_logprobs: nullish(count),
});

const idList = z.array(z.number().int().min(0));
const completionSchema = z.looseObject({
  ...sampling,
  prompt: z.union([z.string(), idList.min(1), z.array(z.string()).min(1), z.array(idList.min(1)).min(1)]),
  echo: nullish(z.boolean()),
  suffix: nullish(z.string()),
  logprobs: nullish(count),
});

type Sampling = Pick<z.infer<typeof completionSchema>, keyof typeof sampling>;

/** A request resolved against the engine's limits; choice `i` uses prompt `floor(i / n)`. */
export interface Plan {
  readonly kind: 'chat' | 'completion';
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly returnTokenIds: boolean;
  readonly prompts: readonly (readonly number[])[];
  readonly n: number;
  readonly maxTokens: readonly number[];
  readonly minTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number | undefined;
  readonly stops: readonly string[];
  readonly includeStop: boolean;
  readonly stopTokenIds: readonly number[];
  readonly ignoreEos: boolean;
  /** Number of alternatives asked for; undefined when no log probabilities were asked. */
  readonly topLogprobs: number | undefined;
  readonly calls: readonly ScriptedCall[];
  /** True when one function was named by the client: the finish reason is then 'stop', as in vLLM. */
  readonly namedCall: boolean;
  readonly script: string | undefined;
}

/** Limits of the surface that a request is checked against. */
export interface PlanLimits {
  readonly backend: Backend;
  readonly maxChoices: number;
  readonly maxLogprobs: number;
}

/** Parses `body` with `schema`; a zod failure becomes vLLM's 400 with the field's place in it. */
function parse<T extends z.ZodType>(schema: T, body: unknown): z.infer<T> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const place = ['body', ...(issue?.path ?? [])]
    .map((step) => (typeof step === 'number' ? step : `'${String(step)}'`))
    .join(', ');
  const field = issue?.path[0];
  throw new ApiError(
    400,
    `[{'loc': (${place}), 'msg': '${issue?.message ?? 'invalid'}'}]`,
    typeof field === 'string' ? field : null,
  );
}

/** The prompt of one choice must leave room for at least one token of the context. */
function resolveMaxTokens(ids: readonly number[], asked: number | undefined, contextTokens: number): number {
  const room = contextTokens - ids.length;
  if (asked !== undefined && asked < 1)
    throw new ApiError(400, `max_tokens must be at least 1, got ${asked}.`, 'max_tokens');
  if (room < 1) {
    throw new ApiError(
      400,
      `This model's maximum context length is ${contextTokens} tokens. However, your request has ${ids.length} input tokens. Please reduce the length of the input messages.`,
      'input_tokens',
    );
  }
  if (asked !== undefined && asked > room) {
    throw new ApiError(
      400,
      `'max_tokens' or 'max_completion_tokens' is too large: ${asked}. This model's maximum context length is ${contextTokens} tokens and your request has ${ids.length} input tokens (${asked} > ${contextTokens} - ${ids.length}).`,
      'max_tokens',
    );
  }
  return asked ?? room;
}

function common(body: Sampling, limits: PlanLimits, prompts: readonly (readonly number[])[]) {
  const n = body.n ?? 1;
  if (n * prompts.length > limits.maxChoices) {
    throw new ApiError(
      400,
      `n times the number of prompts must be at most ${limits.maxChoices}, got ${n * prompts.length}.`,
      'n',
    );
  }
  if (body.stream_options && !body.stream)
    throw new ApiError(400, 'Stream options can only be defined when `stream=True`.', 'stream_options');
  const stops = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  if (stops.some((stop) => stop === '')) throw new ApiError(400, 'stop cannot contain an empty string.', 'stop');
  return {
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
    returnTokenIds: body.return_token_ids ?? false,
    prompts,
    n,
    minTokens: body.min_tokens ?? 0,
    temperature: body.temperature ?? 1,
    topP: body.top_p ?? 1,
    topK: body.top_k ?? 0,
    seed: body.seed ?? undefined,
    stops,
    includeStop: body.include_stop_str_in_output ?? false,
    stopTokenIds: body.stop_token_ids ?? [],
    ignoreEos: body.ignore_eos ?? false,
  };
}

function checkLogprobs(asked: number | undefined, limits: PlanLimits): number | undefined {
  if (asked === undefined) return undefined;
  if (limits.backend.logprob === undefined) throw new ApiError(400, 'This engine cannot report logprobs.', 'logprobs');
  if (asked > limits.maxLogprobs) {
    throw new ApiError(
      400,
      `Requested sample logprobs of ${asked}, which is greater than max allowed: ${limits.maxLogprobs}`,
      'logprobs',
    );
  }
  return asked;
}

/** Content parts are joined as text; a part that is not text is refused, since no engine here can see it. */
export function flattenMessages(messages: readonly z.infer<typeof message>[]): ChatMessage[] {
  return messages.map((item) => {
    let content = '';
    if (typeof item.content === 'string') content = item.content;
    else {
      for (const piece of item.content ?? []) {
        if (piece.type !== 'text' || typeof piece.text !== 'string') {
          throw new ApiError(400, `This model does not take content parts of type '${piece.type}'.`, 'messages');
        }
        content += piece.text;
      }
    }
    return {
      role: item.role,
      content,
      ...(item.name ? { name: item.name } : {}),
      ...(item.tool_call_id ? { tool_call_id: item.tool_call_id } : {}),
      ...(item.tool_calls ? { tool_calls: item.tool_calls } : {}),
    };
  });
}

/** Resolves a chat request; throws ApiError 400 with vLLM's words where it may not run. */
export function planChat(body: unknown, limits: PlanLimits): Plan {
  const ask = parse(chatSchema, body);
  const { backend } = limits;
  const messages = flattenMessages(ask.messages);
  const continueFinal = ask.continue_final_message ?? false;
  const addGenerationPrompt = ask.add_generation_prompt ?? !continueFinal;
  if (continueFinal && addGenerationPrompt) {
    throw new ApiError(400, 'Cannot set both `continue_final_message` and `add_generation_prompt` to True.');
  }
  if (continueFinal && messages.at(-1)?.role !== 'assistant') {
    throw new ApiError(
      400,
      'continue_final_message is set but the final message is not from the assistant.',
      'messages',
    );
  }
  if (ask.top_logprobs && !ask.logprobs)
    throw new ApiError(400, 'when using `top_logprobs`, `logprobs` must be set to true.', 'top_logprobs');
  const tools = ask.tool_choice === 'none' ? [] : (ask.tools ?? []);
  const calls = planTools({
    tools,
    choice: ask.tool_choice ?? 'auto',
    parallel: ask.parallel_tool_calls ?? true,
    messages,
    canScript: backend.followsScript === true,
  });
  const text = backend.chatPrompt(messages, {
    addGenerationPrompt,
    continueFinal,
    ...(tools.length > 0 ? { tools } : {}),
  });
  const prompts = [backend.tokenize(text, false)];
  const shared = common(ask, limits, prompts);
  const asked = ask.max_completion_tokens ?? ask.max_tokens ?? undefined;
  const script =
    calls.length > 0 ? calls.map((call) => call.arguments).join('\n') : scriptOfFormat(ask.response_format, backend);
  return {
    kind: 'chat',
    ...shared,
    maxTokens: prompts.map((ids) => resolveMaxTokens(ids, asked, backend.contextTokens)),
    topLogprobs: checkLogprobs(ask.logprobs ? (ask.top_logprobs ?? 0) : undefined, limits),
    calls,
    namedCall: typeof ask.tool_choice === 'object' && ask.tool_choice !== null,
    script,
  };
}

/** Resolves a completions request; `prompt` may be text, token ids, or a list of either. */
export function planCompletion(body: unknown, limits: PlanLimits): Plan {
  const ask = parse(completionSchema, body);
  const { backend } = limits;
  if (ask.echo) throw new ApiError(400, 'echo is not supported by this engine.', 'echo');
  if (ask.suffix) throw new ApiError(400, 'suffix is not currently supported', 'suffix');
  const prompts = promptIds(ask.prompt, backend);
  const shared = common(ask, limits, prompts);
  return {
    kind: 'completion',
    ...shared,
    maxTokens: prompts.map((ids) =>
      resolveMaxTokens(
        ids,
        ask.max_tokens ?? Math.min(16, Math.max(1, backend.contextTokens - ids.length)),
        backend.contextTokens,
      ),
    ),
    topLogprobs: checkLogprobs(ask.logprobs ?? undefined, limits),
    calls: [],
    namedCall: false,
    script: scriptOfFormat(ask.response_format, backend),
  };
}

function promptIds(prompt: z.infer<typeof completionSchema>['prompt'], backend: Backend): number[][] {
  if (typeof prompt === 'string') return [nonEmpty(backend.tokenize(prompt, true))];
  if (typeof prompt[0] === 'number') return [checkIds(prompt as number[], backend)];
  return (prompt as (string | number[])[]).map((item) =>
    typeof item === 'string' ? nonEmpty(backend.tokenize(item, true)) : checkIds(item, backend),
  );
}

function nonEmpty(ids: number[]): number[] {
  if (ids.length === 0) throw new ApiError(400, 'The decoder prompt cannot be empty', 'prompt');
  return ids;
}

/** Ids outside the vocabulary are refused before they reach the engine, which could only crash on them. */
export function checkIds(ids: number[], backend: Backend): number[] {
  const size = backend.vocabularySize;
  if (size !== undefined) {
    for (const id of ids) if (id >= size) throw new ApiError(400, `Token id ${id} is out of vocabulary`, 'prompt');
  }
  return nonEmpty(ids);
}

/** A forced JSON answer needs an engine that follows a script; plain text formats need nothing. */
function scriptOfFormat(
  format: { type: string; [key: string]: unknown } | null | undefined,
  backend: Backend,
): string | undefined {
  if (!format || format.type === 'text') return undefined;
  if (backend.followsScript !== true)
    throw new ApiError(400, `response_format '${format.type}' is not supported by this engine.`, 'response_format');
  const wrapped = format['json_schema'];
  const schema = typeof wrapped === 'object' && wrapped !== null && 'schema' in wrapped ? wrapped.schema : undefined;
  return schema === undefined ? '{"simulated": true}' : JSON.stringify(valueOf(schema, 'value', 0));
}

const idsSchema = z.looseObject({ model: nullish(z.string()), tokens: z.array(count) });
const tokenizeSchema = z.looseObject({
  model: nullish(z.string()),
  prompt: nullish(z.string()),
  messages: nullish(z.array(message).min(1)),
  add_special_tokens: nullish(z.boolean()),
  add_generation_prompt: nullish(z.boolean()),
});
const embeddingSchema = z.looseObject({
  model: nullish(z.string()),
  input: z.union([
    z.string(),
    idList.min(1),
    z.array(z.string()).min(1).max(2048),
    z.array(idList.min(1)).min(1).max(2048),
  ]),
  encoding_format: nullish(z.enum(['float', 'base64'])),
  dimensions: nullish(z.number().int()),
});

/** The token ids of a /tokenize body, of a text or of messages. */
export function planTokenize(body: unknown, backend: Backend): number[] {
  const ask = parse(tokenizeSchema, body);
  if (ask.messages) {
    const text = backend.chatPrompt(flattenMessages(ask.messages), {
      addGenerationPrompt: ask.add_generation_prompt ?? true,
      continueFinal: false,
    });
    return backend.tokenize(text, ask.add_special_tokens ?? false);
  }
  if (typeof ask.prompt !== 'string')
    throw new ApiError(400, "[{'loc': ('body', 'prompt'), 'msg': 'Field required'}]", 'prompt');
  return backend.tokenize(ask.prompt, ask.add_special_tokens ?? true);
}

/** The token ids of a /detokenize body. */
export function planDetokenize(body: unknown): number[] {
  return parse(idsSchema, body).tokens;
}

/** The inputs of an embeddings body as token ids, and the wished encoding. */
export function planEmbedding(body: unknown, backend: Backend): { inputs: number[][]; base64: boolean } {
  const ask = parse(embeddingSchema, body);
  if (ask.dimensions)
    throw new ApiError(
      400,
      'Model does not support matryoshka representation, changing output dimensions will lead to poor results.',
      'dimensions',
    );
  const inputs = promptIds(ask.input, backend);
  for (const ids of inputs) {
    if (ids.length > backend.contextTokens) {
      throw new ApiError(
        400,
        `This model's maximum context length is ${backend.contextTokens} tokens. However, you requested ${ids.length} tokens in the input for embedding generation.`,
        'input',
      );
    }
  }
  return { inputs, base64: ask.encoding_format === 'base64' };
}
