/** Sends errors in the form of lib/http_errors.ts. */
import type { ServerResponse } from 'node:http';
import type { CodedError } from '../../../lib/errors.ts';
import { errorHeaders, errorJson } from '../../../lib/http_errors.ts';

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
