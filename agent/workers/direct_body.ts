/** Reads the body of a direct call, up to a bound and no further: what is too large is refused before it is all here. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { CodedError } from '../../lib/errors.ts';

const JSON_TYPE = /^application\/json\s*(;|$)/i;
const CHARSET = /;\s*charset\s*=\s*"?([^";\s]+)/i;
const UTF8 = /^utf-?8$/i;

function checkType({ headers }: IncomingMessage): void {
  const type = headers['content-type'] ?? '';
  if (!JSON_TYPE.test(type))
    throw new CodedError('unsupported_media_type', 'The content type must be application/json.');
  const charset = CHARSET.exec(type)?.[1];
  if (charset !== undefined && !UTF8.test(charset))
    throw new CodedError('unsupported_media_type', 'The only charset is utf-8.');
  if ((headers['content-encoding'] ?? 'identity') !== 'identity')
    throw new CodedError('unsupported_media_type', 'Compressed bodies are not accepted.');
}

/** @throws CodedError unsupported_media_type, body_too_large, malformed_json, malformed_request */
export async function readBody(request: IncomingMessage, response: ServerResponse, maxBytes: number): Promise<Buffer> {
  checkType(request);
  const cut = new CodedError('malformed_request', 'The connection ended within the body.');
  // It may have ended while the ticket was judged: then no event is going to say so.
  if (request.destroyed) throw cut;
  const tooLarge = new CodedError('body_too_large', `The body exceeds ${maxBytes} bytes.`);
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge;
  if (request.headers.expect !== undefined) response.writeContinue();
  const parts: Buffer[] = [];
  let bytes = 0;
  await new Promise<void>((resolve, reject) => {
    request.on('data', (part: Buffer) => {
      bytes += part.length;
      if (bytes > maxBytes) {
        request.pause();
        reject(tooLarge);
      } else parts.push(part);
    });
    request.once('end', resolve);
    request.once('error', () => reject(cut));
    request.once('close', () => reject(cut));
  });
  if (bytes === 0) throw new CodedError('malformed_json', 'The body is empty; send one JSON object.');
  return Buffer.concat(parts, bytes);
}
