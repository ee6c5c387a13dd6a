/**
 * Cuts the JSON of OpenAI chunks out of the SSE bytes that an agent made for HTTP clients. It runs once per token, so
 * it finds the line's end by one native search and makes no object per event.
 */

const LF = 0x0a;
const SPACE = 0x20;
const COLON = 0x3a;
const D = 0x64;
/** Length of `data:`, the only field that an OpenAI stream uses. */
const FIELD_BYTES = 5;

/** Where a payload starts in the line at `at`; -1 when the line holds none (a comment or an empty line). */
export function payloadStart(sse: Buffer, at: number): number {
  if (sse[at] !== D || sse[at + FIELD_BYTES - 1] !== COLON) return -1;
  return sse[at + FIELD_BYTES] === SPACE ? at + FIELD_BYTES + 1 : at + FIELD_BYTES;
}

/** Index of the line feed that ends the line at `at`, or the end of the bytes. */
export function lineEnd(sse: Buffer, at: number): number {
  const end = sse.indexOf(LF, at);
  return end === -1 ? sse.length : end;
}

/** The payloads of whole SSE events, copied: for a door that keeps them beyond the call that brought them. */
export function chunksOf(sse: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < sse.length; ) {
    const end = lineEnd(sse, at);
    const start = payloadStart(sse, at);
    if (start !== -1) chunks.push(Buffer.from(sse.subarray(start, end)));
    at = end + 1;
  }
  return chunks;
}
