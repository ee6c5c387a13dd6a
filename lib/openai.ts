/**
 * The part of OpenAI's chat and completion objects that this product reads or writes. Requests and chunks pass through
 * as bytes; these types name the fields that routing, accounting and the doors look at, nothing more.
 * Source: OpenAI API reference, and vLLM's entrypoints/openai for the extra fields.
 */
import { type CodedError, toOpenAiBody } from './errors.ts';
import { formatSseEvent } from './sse.ts';

export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter' | 'function_call' | 'abort' | 'error';

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number };
}

export interface ToolCallDelta {
  readonly index: number;
  /** Only in the first delta of a call, and never another one later. */
  readonly id?: string;
  readonly type?: 'function';
  readonly function?: { readonly name?: string; readonly arguments?: string };
}

export interface ChatDelta {
  readonly role?: 'assistant';
  readonly content?: string | null;
  readonly reasoning_content?: string | null;
  readonly tool_calls?: readonly ToolCallDelta[];
}

export interface ChatChunkChoice {
  readonly index: number;
  readonly delta: ChatDelta;
  readonly finish_reason: FinishReason | null;
  /** vLLM's `return_token_ids`. */
  readonly token_ids?: readonly number[] | null;
}

export interface ChatChunk {
  readonly id: string;
  readonly object: 'chat.completion.chunk';
  /** Seconds since the epoch. */
  readonly created: number;
  readonly model: string;
  readonly choices: readonly ChatChunkChoice[];
  readonly usage?: Usage | null;
  /** vLLM's `return_token_ids`: in the first chunk only. */
  readonly prompt_token_ids?: readonly number[] | null;
}

export interface ChatMessage {
  readonly role: string;
  readonly content?: string | null;
  readonly reasoning_content?: string | null;
  readonly tool_calls?: readonly unknown[];
}

export interface ChatCompletion {
  readonly id: string;
  readonly object: 'chat.completion';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly {
    readonly index: number;
    readonly message: ChatMessage;
    readonly finish_reason: FinishReason | null;
  }[];
  readonly usage?: Usage | null;
}

export interface CompletionChoice {
  readonly index: number;
  readonly text: string;
  readonly finish_reason: FinishReason | null;
  readonly token_ids?: readonly number[] | null;
  readonly prompt_token_ids?: readonly number[] | null;
}

/** A plain completion and a chunk of a streamed one have the same shape. */
export interface Completion {
  readonly id: string;
  readonly object: 'text_completion';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly CompletionChoice[];
  readonly usage?: Usage | null;
}

/** The fields of a request that the doors and the routing read; everything else is forwarded unread. */
export interface RequestFields {
  readonly model: string;
  readonly stream?: boolean | null;
  readonly stream_options?: { readonly include_usage?: boolean | null } | null;
  readonly max_tokens?: number | null;
  readonly max_completion_tokens?: number | null;
  readonly n?: number | null;
  readonly user?: string | null;
}

export interface ModelEntry {
  readonly id: string;
  readonly object: 'model';
  /** Seconds since the epoch. */
  readonly created: number;
  readonly owned_by: string;
}

export interface ModelList {
  readonly object: 'list';
  readonly data: readonly ModelEntry[];
}

/** The event that ends a stream which failed after it had begun; the connection is closed after it, without `[DONE]`. */
export function chunkErrorEvent(error: CodedError): string {
  return formatSseEvent(JSON.stringify(toOpenAiBody(error)));
}

function tokenCount(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/**
 * Reads the `usage` object of an engine's answer; `undefined` when it is absent or has no sound token counts, so that
 * "unknown" is never billed as 0. An absent `completion_tokens` (embeddings) is 0; the total is recomputed.
 */
export function parseUsage(value: unknown): Usage | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const prompt = tokenCount(fields['prompt_tokens']);
  const completion = fields['completion_tokens'] === undefined ? 0 : tokenCount(fields['completion_tokens']);
  if (prompt === undefined || completion === undefined) return undefined;
  const details = fields['prompt_tokens_details'];
  const cached =
    typeof details === 'object' && details !== null
      ? tokenCount((details as Record<string, unknown>)['cached_tokens'])
      : undefined;
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    ...(cached === undefined ? {} : { prompt_tokens_details: { cached_tokens: cached } }),
  };
}
