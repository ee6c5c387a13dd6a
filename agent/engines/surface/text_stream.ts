/**
 * From token ids to text that may be sent: whole characters only, and nothing that may yet become a stop string.
 * A token may be part of a multi-byte character; its id is sent with empty text and the character with the last part.
 */
import { StringDecoder } from 'node:string_decoder';
import type { Backend } from './backend.ts';

const CACHE_LIMIT = 300_000;
const EMPTY_BYTES = new Uint8Array(0);

interface KnownToken {
  readonly text: string;
  readonly json: string;
  /** Set only where the bytes are not whole characters, so that the decoder must see them. */
  readonly bytes: Uint8Array | undefined;
}

/** Looks up the text of single tokens, once per id; shared by all requests of a server. */
export interface TokenTexts {
  lookup(id: number): KnownToken;
}

/** `"` and control characters escaped, as they stand inside a JSON string. */
export function jsonInner(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** A cache over `backend.detokenize`; at most CACHE_LIMIT tokens, then it starts afresh. */
export function tokenTexts(backend: Backend): TokenTexts {
  let known: (KnownToken | undefined)[] = [];
  let count = 0;
  return {
    lookup(id) {
      const hit = known[id];
      if (hit !== undefined) return hit;
      const bytes = backend.detokenize([id], true);
      const decoder = new StringDecoder('utf8');
      const text = decoder.write(Buffer.from(bytes));
      // A lone continuation byte decodes to U+FFFD here, yet may complete a character that another token began.
      const whole = decoder.end() === '' && !text.includes('\ufffd');
      const made = whole
        ? { text, json: jsonInner(text), bytes: bytes.length === 0 ? EMPTY_BYTES : undefined }
        : { text: '', json: '', bytes };
      if (count >= CACHE_LIMIT) {
        known = [];
        count = 0;
      }
      known[id] = made;
      count += 1;
      return made;
    },
  };
}

/** Text of a growing list of tokens. `push` returns what became complete; an incomplete tail is never sent. */
export interface TextDecoderOfTokens {
  /** The JSON-escaped form of the last pushed text when it was a single known token, else undefined. */
  lastJson: string | undefined;
  push(ids: readonly number[]): string;
}

/**
 * One decoder per sequence. As vLLM's, it sends nothing of a token until the character that it begins is whole, so that
 * every id has been sent with all of its text or with none.
 */
export function tokenDecoder(texts: TokenTexts): TextDecoderOfTokens {
  let decoder: StringDecoder | undefined;
  let held = '';
  const push = (ids: readonly number[]): string => {
    if (decoder === undefined && ids.length === 1) {
      const known = texts.lookup(ids[0] as number);
      if (known.bytes === undefined || known.bytes.length === 0) {
        self.lastJson = known.json;
        return known.text;
      }
    }
    self.lastJson = undefined;
    let out = '';
    for (const id of ids) {
      const known = texts.lookup(id);
      if (known.bytes === undefined) {
        if (decoder !== undefined) held += decoder.end();
        decoder = undefined;
        held += known.text;
      } else if (known.bytes.length > 0) {
        decoder ??= new StringDecoder('utf8');
        held += decoder.write(Buffer.from(known.bytes));
        // When nothing is pending, the cheap path may be taken again.
        if (pendingBytes(decoder) === 0) decoder = undefined;
      }
      if (decoder !== undefined) continue;
      out += held;
      held = '';
    }
    return out;
  };
  const self: TextDecoderOfTokens = { lastJson: undefined, push };
  return self;
}

/** Bytes that the decoder still waits for; StringDecoder documents `lastNeed` only in its source, so absence counts as some. */
function pendingBytes(decoder: StringDecoder): number {
  const need = (decoder as unknown as { lastNeed?: number }).lastNeed;
  return need ?? 1;
}

/** Finds stop strings across token borders. `push` returns the text that is safe to send and the stop string found. */
export interface StopFinder {
  push(text: string): { safe: string; stop: string | undefined };
  /** What was held back, once no more text can come. */
  flush(): string;
}

/** `includeStop` keeps the stop string in the text, as vLLM's include_stop_str_in_output does. */
export function stopFinder(stops: readonly string[], includeStop: boolean): StopFinder {
  let held = '';
  return {
    push(text) {
      held += text;
      let at = -1;
      let found: string | undefined;
      for (const stop of stops) {
        const index = held.indexOf(stop);
        if (index >= 0 && (at < 0 || index < at)) {
          at = index;
          found = stop;
        }
      }
      if (found !== undefined) {
        const safe = held.slice(0, includeStop ? at + found.length : at);
        held = '';
        return { safe, stop: found };
      }
      const keep = longestTail(held, stops);
      const safe = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { safe, stop: undefined };
    },
    flush() {
      const rest = held;
      held = '';
      return rest;
    },
  };
}

/** Length of the longest tail of `text` that begins one of `stops`. */
function longestTail(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length -= 1) {
      if (stop.startsWith(text.slice(text.length - length))) {
        longest = length;
        break;
      }
    }
  }
  return longest;
}
