/**
 * A chat that goes past the scheduler: each question asks Route for an engine and a ticket, and then the agent itself. It
 * is also the pattern for a gateway that does the same: one gRPC call, one HTTP request with the ticket as its bearer.
 */
import { readFileSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { CodedError, ERRORS, type ErrorCode } from '../../lib/errors.ts';
import { createSseSplitter } from '../../lib/sse.ts';
import type { RouteResponse__Output } from '../../proto/gen/inference/v1/RouteResponse.ts';
import type { Target } from '../contexts.ts';
import { connectRoute } from '../rpc.ts';
import type { ChatAnswer, ChatClient, ChatMessage } from './chat_client.ts';

const MAX_EVENT_BYTES = 8 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;

interface ErrorBody {
  readonly error?: { readonly code?: string; readonly message?: string };
}

interface Chunk extends ErrorBody {
  readonly choices?: {
    readonly delta?: { readonly content?: string | null };
    readonly finish_reason?: string | null;
  }[];
}

function toCoded({ error }: ErrorBody): CodedError {
  const code = error?.code !== undefined && Object.hasOwn(ERRORS, error.code) ? (error.code as ErrorCode) : 'internal';
  return new CodedError(code, error?.message ?? 'The agent reported an error.');
}

async function errorOf(response: IncomingMessage): Promise<CodedError> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_ERROR_BYTES) break;
    parts.push(part);
  }
  try {
    return toCoded(JSON.parse(Buffer.concat(parts).toString('utf8')) as ErrorBody);
  } catch (cause) {
    return new CodedError('internal', `The agent answered with status ${response.statusCode ?? 0}.`, { cause });
  }
}

/** Sends the body to where Route said; the answer's head, whatever its status. */
function post(route: RouteResponse__Output, body: Buffer, ca: Buffer | undefined, signal: AbortSignal) {
  const { url, ticket } = route;
  const options = {
    method: 'POST',
    agent: false,
    signal,
    timeout: CONNECT_TIMEOUT_MS,
    headers: {
      authorization: `Bearer ${ticket}`,
      'content-type': 'application/json',
      'content-length': body.length,
    },
  };
  return new Promise<IncomingMessage>((resolve, reject) => {
    const request = url.startsWith('https:')
      ? https.request(url, { ...options, ...(ca === undefined ? {} : { ca }) })
      : http.request(url, options);
    // An answer may take its time; a connection may not.
    request.once('socket', (socket) => socket.once('connect', () => request.setTimeout(0)));
    request.once('timeout', () => request.destroy(new Error('no connection in time')));
    request.once('response', resolve);
    request.once('error', (cause) =>
      reject(new CodedError('unreachable', `The agent at ${new URL(url).origin} cannot be reached.`, { cause })),
    );
    request.end(body);
  });
}

async function readAnswer(response: IncomingMessage, onText: (text: string) => void): Promise<ChatAnswer> {
  const splitter = createSseSplitter({ maxEventBytes: MAX_EVENT_BYTES });
  const decoder = new TextDecoder();
  let text = '';
  let finishReason: string | undefined;
  let isWhole = false;
  for await (const bytes of response as AsyncIterable<Buffer>) {
    for (const payload of splitter.push(bytes)) {
      const data = decoder.decode(payload);
      isWhole ||= data === '[DONE]';
      if (data === '[DONE]') continue;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error !== undefined) throw toCoded(chunk);
      const [choice] = chunk.choices ?? [];
      const piece = choice?.delta?.content ?? '';
      text += piece;
      if (piece !== '') onText(piece);
      finishReason = choice?.finish_reason ?? finishReason;
    }
  }
  if (!isWhole) throw new CodedError('stream_lost', 'The agent ended its stream before it was whole.');
  return { text, finishReason };
}

/** Nothing is opened before the first question. */
export function openDirectChat(target: Target): ChatClient {
  const scheduler = connectRoute(target);
  const ca = target.caFile === undefined ? undefined : readFileSync(target.caFile);
  let abort = new AbortController();
  return {
    async ask(model: string, messages: readonly ChatMessage[], onText: (text: string) => void): Promise<ChatAnswer> {
      abort = new AbortController();
      const { signal } = abort;
      let text = '';
      try {
        const body = Buffer.from(JSON.stringify({ model, messages, stream: true }));
        // With the body the ticket is for these bytes alone.
        const response = await post(await scheduler.route({ envelope: { model }, body }), body, ca, signal);
        if (response.statusCode !== 200) throw await errorOf(response);
        return await readAnswer(response, (piece) => {
          text += piece;
          onText(piece);
        });
      } catch (error) {
        if (signal.aborted) return { text, finishReason: 'cancelled' };
        if (error instanceof CodedError) throw error;
        throw new CodedError('stream_lost', 'The connection to the agent broke.', { cause: error });
      }
    },
    cancel: () => abort.abort(),
    close() {
      abort.abort();
      scheduler.close();
    },
  };
}
