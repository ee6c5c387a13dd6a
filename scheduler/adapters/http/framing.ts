/**
 * What Node's parser lets through although HTTP/1.1 does not: forms of a request that two servers on one way may read
 * differently. Refusing them here keeps a proxy before us and this server from disagreeing about where a request ends or
 * for whom it is. Rules and sections are those of RFC 9112 and RFC 9110.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { CodedError } from '../../../lib/errors.ts';
import { rawErrorResponse } from './answers.ts';

/** uri-host [":" port] of RFC 3986, without the parts that no server needs; empty is allowed. */
const HOST_PATTERN = /^(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?$/;

function countHosts(rawHeaders: readonly string[]): number {
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts += 1;
  }
  return hosts;
}

/** What is wrong with the form of a request; undefined when nothing is. */
function faultOf(request: IncomingMessage): string | undefined {
  const { headers, httpVersion, rawHeaders } = request;
  const isOld = httpVersion === '1.0';
  if (!isOld && httpVersion !== '1.1') return 'Only HTTP/1.1 and HTTP/1.0 are spoken here.';
  // Node keeps the first of several hosts, a proxy before us perhaps the last.
  const hosts = countHosts(rawHeaders);
  if (hosts !== 1 && !(hosts === 0 && isOld)) return 'The request must have exactly one host header.';
  if (!HOST_PATTERN.test(headers.host ?? '')) return 'The host header is not a host.';
  const coding = headers['transfer-encoding'];
  // RFC 9112, 6.1: a coding that is not undone would leave other bytes in the body than the sender meant.
  if (coding !== undefined && (isOld || coding.trim().toLowerCase() !== 'chunked')) {
    return 'The only transfer encoding is chunked, and only in HTTP/1.1.';
  }
  const { expect } = headers;
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') return 'The only expectation is 100-continue.';
  return undefined;
}

/** @throws CodedError malformed_request; where this request ends is not certain, so the connection should be closed */
export function checkForm(request: IncomingMessage): void {
  const fault = faultOf(request);
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
