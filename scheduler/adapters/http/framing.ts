/** Refuses requests of an uncertain form (lib/http_form.ts), and answers those that Node would answer by itself. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { CodedError } from '../../../lib/errors.ts';
import { formFault } from '../../../lib/http_form.ts';
import { rawErrorResponse } from '../../../lib/io/http_client_error.ts';

/** @throws CodedError malformed_request; where this request ends is not certain, so the connection should be closed */
export function checkForm(request: IncomingMessage): void {
  const fault = formFault(request);
  if (fault !== undefined) throw new CodedError('malformed_request', fault);
}

/**
 * Requests that Node answers by itself, without a code or an id, or not at all. `refused` is told of each that never
 * becomes a request of the application.
 */
export function takeUnusual(
  server: Server,
  newId: () => string,
  refused: (error: CodedError, id: string) => void,
): void {
  // Without a listener an unknown expectation is a bare 417; the check of the form refuses it in our words.
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    server.emit('request', request, response);
  });
  // Without a listener the connection is just closed.
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
    const error = new CodedError('method_not_allowed', 'This server is no proxy.');
    const id = newId();
    refused(error, id);
    // A caller that is gone already wants no answer.
    socket.on('error', () => socket.destroy());
    socket.end(rawErrorResponse(error, id));
  });
}
