/** What the words of a request must look like before they are put into a request to an engine. */
import { REQUEST_ID_PATTERN } from '../../lib/ids.ts';
import type { SubmitMeta } from '../../proto/codec.ts';
import type { Refusal } from './request_book.ts';

const SAFE_PATH = /^\/[A-Za-z0-9_./-]{1,127}$/;
const TRACEPARENT = /^[0-9a-f-]{1,64}$/;

export function whyMalformed({ path, requestId, traceparent }: SubmitMeta): Refusal | undefined {
  if (!SAFE_PATH.test(path)) return { code: 'invalid_value', message: 'The path of the request is malformed.' };
  if (!REQUEST_ID_PATTERN.test(requestId)) return { code: 'invalid_value', message: 'The request id is malformed.' };
  if (traceparent !== undefined && !TRACEPARENT.test(traceparent))
    return { code: 'invalid_value', message: 'The traceparent is malformed.' };
  return undefined;
}
