/**
 * What is read of the bytes that a client got: once per answer the members that all its chunks share, and only where the
 * request has stop strings how much text has left, because then an engine's text lags behind its token ids.
 */
import type { ResumeMeta } from '../../../proto/codec.ts';

/** What every chunk of one answer says of it. */
export type ChunkHead = Pick<ResumeMeta, 'id' | 'created' | 'model'>;

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const DATA = encoder.encode('data:');
const CHOICES = encoder.encode('"choices":');
const LF = 0x0a;
const COMMA = 0x2c;
/** The head of a chunk is some hundred bytes: an id, a number and a model's name of at most 512 characters. */
const MAX_HEAD_BYTES = 4096;
/** Text units that are kept to find the place again. */
const TAIL_UNITS = 64;

function indexOf(bytes: Uint8Array, needle: Uint8Array, from: number, end: number): number {
  const last = Math.min(bytes.length, end) - needle.length;
  for (let at = from; at <= last; at++) {
    let same = 0;
    while (same < needle.length && bytes[at + same] === needle[same]) same++;
    if (same === needle.length) return at;
  }
  return -1;
}

/** The members before `choices` of the first event, or undefined where they are not as engines write them. */
export function readChunkHead(sse: Uint8Array): ChunkHead | undefined {
  const start = indexOf(sse, DATA, 0, DATA.length);
  const choices = indexOf(sse, CHOICES, 0, MAX_HEAD_BYTES);
  if (start !== 0 || choices === -1) return undefined;
  let end = choices;
  while (end > 0 && sse[end - 1] !== COMMA) end -= 1;
  try {
    const head = JSON.parse(`${decoder.decode(sse.subarray(DATA.length, Math.max(DATA.length, end - 1)))}}`) as Record<
      string,
      unknown
    >;
    const { id, created, model } = head;
    if (typeof id !== 'string' || typeof created !== 'number' || typeof model !== 'string') return undefined;
    return { id, created, model };
  } catch {
    // An engine with chunks of another shape: its answers are not continued.
    return undefined;
  }
}

interface Chunk {
  readonly choices?: readonly { readonly text?: unknown; readonly delta?: { readonly content?: unknown } }[];
}

/** The text that whole events carry; undefined when one of them is not a chunk. */
export function textOf(sse: Uint8Array): string | undefined {
  let text = '';
  let at = 0;
  while (at < sse.length) {
    let end = sse.indexOf(LF, at);
    if (end === -1) end = sse.length;
    if (end > at) {
      try {
        const chunk = JSON.parse(decoder.decode(sse.subarray(at + DATA.length, end))) as Chunk;
        const [choice] = chunk.choices ?? [];
        const piece = choice?.delta === undefined ? choice?.text : choice.delta.content;
        if (typeof piece === 'string') text += piece;
      } catch {
        // Not a chunk: the caller treats the text as unknown.
        return undefined;
      }
    }
    at = end + 1;
  }
  return text;
}

const REASONING = encoder.encode('"reasoning');
const FIRST_CHUNK_BYTES = 16_384;

/** Whether events carry the words of a parser of reasoning; such an answer begins with them. */
export function hasReasoning(sse: Uint8Array): boolean {
  const at = indexOf(sse, REASONING, 0, FIRST_CHUNK_BYTES);
  if (at === -1) return false;
  // A key, not text: in text the quote would be escaped. A member that is null says nothing.
  const key = decoder.decode(sse.subarray(at, at + 40));
  return /^"reasoning(_content)?":\s*"[^"]/.test(key);
}

/** Counts the text that a client got. */
export class SentText {
  units = 0;
  tail = '';
  /** An event could not be read: the place is not known any more. */
  lost = false;

  add(sse: Uint8Array): void {
    const text = textOf(sse);
    if (text === undefined) this.lost = true;
    else {
      this.units += text.length;
      this.tail = (this.tail + text).slice(-TAIL_UNITS);
    }
  }
}
