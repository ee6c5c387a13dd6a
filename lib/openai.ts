/**
 * The few pieces of OpenAI's objects that this product reads or writes itself. Requests and chunks pass through as
 * bytes; only usage is read, and only the error that ends a broken stream is written.
 * Source: OpenAI API reference, and vLLM's entrypoints/openai for the extra fields.
 */
import { type CodedError, toOpenAiBody } from './errors.ts';
import { formatSseEvent } from './sse.ts';

/** What a body is for: OpenAI's three ways of using a model that the fleet serves. */
export type Endpoint = 'chat' | 'completions' | 'embeddings';

/** Where each is asked for, at the fleet's doors and at an engine alike. */
export const ENDPOINT_PATHS: Readonly<Record<Endpoint, string>> = {
  chat: '/v1/chat/completions',
  completions: '/v1/completions',
  embeddings: '/v1/embeddings',
};

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number };
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
