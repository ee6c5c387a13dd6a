/**
 * What an engine's errors and figures mean in the fleet's words: the HTTP status and the error body become one coded
 * failure, usage objects become token counts. Parsed once a request, never per token.
 */
import type { ErrorCode } from '../../lib/errors.ts';
import { parseUsage } from '../../lib/openai.ts';
import type { LaneFailure, LaneUsage } from '../../proto/codec.ts';

export interface MappedFailure {
  readonly failure: LaneFailure;
  /** HTTP status of the engine's answer, 0 when it gave none. */
  readonly status: number;
}

const MAX_MESSAGE_CHARS = 2000;

const TOO_LONG =
  /maximum context length|context length|longer than the (maximum )?model|max_model_len|prompt is too long/i;

interface EngineError {
  readonly message?: unknown;
  readonly param?: unknown;
  readonly code?: unknown;
}

function parseError(text: string): EngineError | undefined {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Not JSON is an answer too: the status alone then says what happened.
    return undefined;
  }
  if (typeof body !== 'object' || body === null) return undefined;
  const { error, detail, message } = body as Record<string, unknown>;
  if (typeof error === 'object' && error !== null) return error;
  if (typeof error === 'string') return { message: error };
  // Older vLLM puts the fields at the top level; FastAPI's own errors are in `detail`.
  return { message: message ?? detail, param: (body as Record<string, unknown>)['param'] };
}

function codeOf(status: number, message: string): ErrorCode {
  if (status === 400 || status === 404 || status === 413 || status === 422) {
    return TOO_LONG.test(message) ? 'context_length_exceeded' : 'engine_rejected';
  }
  if (status === 429 || status === 503) return 'engine_overloaded';
  if (status >= 500) return 'engine_failed';
  return status >= 400 ? 'engine_rejected' : 'engine_garbage';
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.slice(0, MAX_MESSAGE_CHARS) : undefined;
}

/** An answer with another status than 200. `retryAfter` is the header's value. */
export function mapEngineError(status: number, bodyText: string, retryAfter: string | undefined): MappedFailure {
  const error = parseError(bodyText);
  const message = textOf(error?.message) ?? `The engine answered with status ${status}.`;
  const param = textOf(error?.param);
  const seconds = retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : undefined;
  return {
    status,
    failure: {
      code: codeOf(status, message),
      message,
      ...(param === undefined ? {} : { param }),
      ...(seconds === undefined ? {} : { retryAfterMs: seconds * 1000 }),
    },
  };
}

/** An error event inside a stream that began with 200. */
export function mapStreamError(json: string): MappedFailure {
  const error = parseError(json);
  const code = typeof error?.code === 'number' ? error.code : 0;
  const message = textOf(error?.message) ?? 'The engine reported an error inside its stream.';
  return { status: code, failure: { code: code === 400 ? codeOf(400, message) : 'engine_failed', message } };
}

function toLaneUsage(value: unknown): LaneUsage | undefined {
  const usage = parseUsage(value);
  if (usage === undefined) return undefined;
  const cached = usage.prompt_tokens_details?.cached_tokens;
  return {
    promptTokens: usage.prompt_tokens,
    completionTokens: usage.completion_tokens,
    ...(cached === undefined ? {} : { cachedPromptTokens: cached }),
  };
}

/** The usage of a chunk or of a plain answer, given as its JSON text. */
export function readUsage(json: string): LaneUsage | undefined {
  try {
    const body = JSON.parse(json) as { usage?: unknown } | null;
    return toLaneUsage(body?.usage);
  } catch {
    // Unknown is said as unknown: an unreadable usage is not 0.
    return undefined;
  }
}

/** Usage out of the last bytes of a plain answer, without parsing the whole of it. */
export function usageInTail(tail: Buffer): LaneUsage | undefined {
  const at = tail.lastIndexOf('"usage":{');
  if (at === -1) return undefined;
  let depth = 0;
  for (let i = at + 8; i < tail.length; i++) {
    if (tail[i] === 0x7b) depth += 1;
    else if (tail[i] === 0x7d && --depth === 0) return readUsage(`{${tail.toString('utf8', at, i + 1)}}`);
  }
  return undefined;
}
