/** Sends errors in the form of lib/http_errors.ts, on a response or on a bare socket. */
import { STATUS_CODES, type ServerResponse } from 'node:http';
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
