/**
 * The messages of /ws/chat; docs/API.md describes them. A client's message is scanned like a request body: the chat's
 * own bytes go on as the client wrote them.
 */
import { z } from 'zod';
import { CodedError, toOpenAiBody } from '../../../lib/errors.ts';
import { scanJson } from '../../../lib/json_scan.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { QueuePlace } from '../../core/queue/contract.ts';

/** Close codes that clients see beside those of RFC 6455. */
export const CLOSE = {
  /** The scheduler is stopping. */
  goingAway: 1001,
  binary: 1003,
  malformed: 1007,
  policy: 1008,
  tooLarge: 1009,
  unauthenticated: 4401,
  forbidden: 4403,
  authTimeout: 4408,
  tooManyFailures: 4429,
} as const;

/** 1-128 characters that are safe in logs; the client's own number for one chat on this socket. */
const CHAT_ID = z.string().regex(/^[A-Za-z0-9._:-]{1,128}$/);

const MESSAGE = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('auth'), key: z.string().min(1).max(8192) }),
  z.strictObject({ type: z.literal('chat'), id: CHAT_ID, body: z.literal(true) }),
  z.strictObject({ type: z.literal('cancel'), id: CHAT_ID }),
]);

export type ClientMessage =
  | { readonly type: 'auth'; readonly key: string }
  | { readonly type: 'chat'; readonly id: string; readonly body: Uint8Array }
  | { readonly type: 'cancel'; readonly id: string };

const MAX_MEMBERS = 200_000;

/**
 * Reads one text message.
 * @throws CodedError malformed_json, duplicate_key, too_deep, invalid_utf8, invalid_value, unknown_field
 */
export function readClientMessage(bytes: Buffer, maxBodyDepth: number): ClientMessage {
  const scan = scanJson(bytes, { maxDepth: maxBodyDepth + 1, maxMembers: MAX_MEMBERS });
  if (!scan.ok) throw new CodedError(scan.code, scan.message);
  const fields: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  let body: Uint8Array | undefined;
  for (const { key, valueStart, valueEnd } of scan.members) {
    const value = bytes.subarray(valueStart, valueEnd);
    if (key === 'body') body = value;
    // The body is judged by core/request; here it only has to be there.
    fields[key] = key === 'body' ? true : JSON.parse(value.toString('utf8'));
  }
  const parsed = MESSAGE.safeParse({ ...fields });
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const param = issue?.path.join('.') ?? '';
    const what = `The message is not one of auth, chat and cancel as docs/API.md describes them (${issue?.message ?? ''}).`;
    throw new CodedError('invalid_value', what, param === '' ? {} : { param });
  }
  if (parsed.data.type === 'chat') return { type: 'chat', id: parsed.data.id, body: body as Uint8Array };
  return parsed.data;
}

export function readyMessage(): string {
  return '{"type":"ready"}';
}

/** @param degraded in which degraded mode it comes; a member that is undefined is left out of the text */
export function startMessage(id: string, requestId: string, degraded?: string): string {
  return JSON.stringify({ type: 'start', id, request_id: requestId, degraded });
}

export function queuedMessage(id: string, { position, etaMs }: QueuePlace): string {
  return JSON.stringify({ type: 'queued', id, position, ...(etaMs === undefined ? {} : { eta_ms: etaMs }) });
}

/** What stands before the bytes of a chunk's JSON; `}` stands after them. */
export function chunkPrefix(id: string): Buffer {
  return Buffer.from(`{"type":"chunk","id":${JSON.stringify(id)},"data":`);
}

export function doneMessage(id: string, usage: LaneUsage | undefined): string {
  const told =
    usage === undefined
      ? {}
      : {
          usage: {
            prompt_tokens: usage.promptTokens,
            completion_tokens: usage.completionTokens,
            cached_prompt_tokens: usage.cachedPromptTokens,
          },
        };
  return JSON.stringify({ type: 'done', id, ...told });
}

/** Without `id` the error concerns the socket, not one chat. */
export function errorMessage(error: CodedError, id?: string): string {
  return JSON.stringify({
    type: 'error',
    ...(id === undefined ? {} : { id }),
    ...toOpenAiBody(error),
    should_retry: error.spec.retry,
    ...(error.retryAfterMs === undefined ? {} : { retry_after_ms: Math.ceil(error.retryAfterMs) }),
  });
}
