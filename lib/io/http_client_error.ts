/**
 * Answers requests that Node's parser refuses, which never become a request object: smuggling forms, oversized headers,
 * broken chunks, clients that are too slow. The connection is always closed: where one request ended and the next began
 * is not known any more.
 */
import { STATUS_CODES, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { CodedError } from '../errors.ts';
import { errorHeaders, errorJson } from '../http_errors.ts';

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

function toCoded(code: string | undefined): CodedError {
  if (code === 'HPE_HEADER_OVERFLOW') return new CodedError('header_too_large', 'The request headers are too large.');
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') {
    return new CodedError('body_too_large', 'The chunk extensions of the body are too large.');
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new CodedError('malformed_request', 'The request did not arrive in time.');
  }
  return new CodedError('malformed_request', 'The request is not well-formed HTTP/1.1.');
}

/** The response that is being written on a socket; Node keeps it there for its own handler, which does the same. */
function responseOn(socket: Socket): ServerResponse | null | undefined {
  return (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage;
}

/** @param error what Node's parser or its timer says; `newId` gives the id that the answer carries */
export function answerClientError(
  error: NodeJS.ErrnoException,
  socket: Socket,
  newId: () => string,
  refused: (error: CodedError, id: string) => void,
): void {
  // Bytes behind a request that was the connection's last: that one has its answer, or is getting it.
  if (error.code === 'HPE_CLOSED_CONNECTION') {
    if (responseOn(socket) == null) socket.destroySoon();
    return;
  }
  // After the head of an answer nothing may be written between: a client would take it for part of that answer.
  const isMidAnswer = responseOn(socket)?.headersSent === true;
  if (error.code === 'ECONNRESET' || !socket.writable || isMidAnswer) {
    socket.destroy();
    return;
  }
  const id = newId();
  const coded = toCoded(error.code);
  refused(coded, id);
  socket.end(rawErrorResponse(coded, id));
  // A client that goes on sending would keep the half-closed socket alive.
  socket.destroySoon();
}
