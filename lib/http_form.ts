/**
 * What Node's parser lets through although HTTP/1.1 does not: forms of a request that two servers on one way may read
 * differently. Refusing them here keeps a proxy before us and this server from disagreeing about where a request ends or
 * for whom it is. Rules and sections are those of RFC 9112 and RFC 9110.
 */

/** The part of Node's IncomingMessage that is looked at. */
export interface RequestForm {
  readonly httpVersion: string;
  readonly rawHeaders: readonly string[];
  readonly headers: {
    readonly host?: string | undefined;
    readonly expect?: string | undefined;
    readonly 'transfer-encoding'?: string | undefined;
  };
}

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

/** What is wrong with the form of a request, in a sentence; undefined when nothing is. */
export function formFault(request: RequestForm): string | undefined {
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
