/**
 * Errors as OpenAI's clients want them: the body's shape, and the headers by which SDKs decide whether to try again.
 */
import { STATUS_CODES, type ServerResponse } from 'node:http';
import { toOpenAiBody, type CodedError } from '../../../lib/errors.ts';

/** openai-node passes over waits above this, so a longer one is told as "do not retry". */
const LONGEST_RETRY_MS = 60_000;

/** Headers of an error answer; all lower case. */
export function errorHeaders(error: CodedError): Record<string, string> {
  const { retryAfterMs } = error;
  const mayRetry = error.spec.retry && (retryAfterMs ?? 0) <= LONGEST_RETRY_MS;
  const headers: Record<string, string> = {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-should-retry': String(mayRetry),
  };
  if (retryAfterMs !== undefined) {
    headers['retry-after-ms'] = String(Math.ceil(retryAfterMs));
    headers['retry-after'] = String(Math.ceil(retryAfterMs / 1000));
  }
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer';
  return headers;
}

export function errorJson(error: CodedError): string {
  return JSON.stringify(toOpenAiBody(error));
}

/** Sends an error on a response that has not begun; `headers` are those of every answer (request id, security). */
export function sendError(response: ServerResponse, headers: Record<string, unknown>, error: CodedError): void {
  const body = Buffer.from(errorJson(error));
  response.writeHead(error.spec.http, {
    ...(headers as Record<string, string>),
    ...errorHeaders(error),
    'content-length': body.length,
  });
  response.end(body);
}

/** A whole HTTP response as text, for a socket whose request could not be parsed. */
export function rawErrorResponse(error: CodedError, requestId: string): string {
  const body = errorJson(error);
  const headers = {
    ...errorHeaders(error),
    'x-request-id': requestId,
    'content-length': String(Buffer.byteLength(body)),
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${error.spec.http} ${STATUS_CODES[error.spec.http] ?? ''}\r\n${lines.join('')}connection: close\r\n\r\n${body}`;
}
