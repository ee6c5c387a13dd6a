/**
 * Errors as OpenAI's clients want them: the body's shape, and the headers by which SDKs decide whether to try again.
 * Every HTTP listener of the fleet answers with these.
 */
import { type CodedError, toOpenAiBody } from './errors.ts';

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
