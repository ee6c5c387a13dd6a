/**
 * The tokens of JSON on bytes: strings with their escapes and UTF-8, numbers, and the three literals. Each scan takes
 * the offset where the token begins and returns the offset after it, or a failure; a plain number comes back so that
 * nothing is allocated on the way of a sound body. Grammar: RFC 8259; UTF-8: Unicode 16, table 3-7.
 */

export type JsonScanErrorCode = 'malformed_json' | 'duplicate_key' | 'too_deep' | 'invalid_utf8';

export interface JsonScanFailure {
  readonly ok: false;
  /** A code of lib/errors.ts. */
  readonly code: JsonScanErrorCode;
  /** Offset of the offending byte. */
  readonly at: number;
  /** One sentence for the caller; it names the offset and never quotes the body. */
  readonly message: string;
  /** The top-level key whose value holds the offending byte. */
  readonly param?: string;
}

/** A failure whose message names the byte. */
export function fail(code: JsonScanErrorCode, at: number, what: string): JsonScanFailure {
  return { ok: false, code, at, message: `The body is not acceptable JSON: ${what} (at byte ${at}).` };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** 1 for the bytes of a string that end the fast run: control characters, the quote, the backslash, non-ASCII. */
const STOPS = new Uint8Array(256);
STOPS.fill(1, 0, 0x20);
STOPS.fill(1, 0x80);
STOPS[QUOTE] = 1;
STOPS[BACKSLASH] = 1;

function isHex(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);
}

/** Offset after the escape whose backslash is at `at`, or -1 when it is none of RFC 8259's. */
function afterEscape(bytes: Uint8Array, at: number): number {
  switch (bytes[at + 1]) {
    case 0x22: // "
    case 0x5c: // backslash
    case 0x2f: // /
    case 0x62: // b
    case 0x66: // f
    case 0x6e: // n
    case 0x72: // r
    case 0x74: // t
      return at + 2;
    case 0x75: // u
      for (let i = at + 2; i < at + 6; i++) if (!isHex(bytes[i])) return -1;
      return at + 6;
    default:
      return -1;
  }
}

/** Whether `bytes[at]` is a continuation byte within [low, high]. */
function continues(bytes: Uint8Array, at: number, low: number, high: number): boolean {
  const byte = bytes[at];
  return byte !== undefined && byte >= low && byte <= high;
}

/** Offset after the multi-byte character at `at`, or -1: overlong forms, surrogates and values above U+10FFFF are refused. */
function afterUtf8(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] as number;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(bytes, at + 1, 0x80, 0xbf) ? at + 2 : -1;
  if (lead >= 0xe0 && lead <= 0xef) {
    const low = lead === 0xe0 ? 0xa0 : 0x80;
    const high = lead === 0xed ? 0x9f : 0xbf;
    return continues(bytes, at + 1, low, high) && continues(bytes, at + 2, 0x80, 0xbf) ? at + 3 : -1;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const low = lead === 0xf0 ? 0x90 : 0x80;
    const high = lead === 0xf4 ? 0x8f : 0xbf;
    return continues(bytes, at + 1, low, high) &&
      continues(bytes, at + 2, 0x80, 0xbf) &&
      continues(bytes, at + 3, 0x80, 0xbf)
      ? at + 4
      : -1;
  }
  return -1;
}

/** Scans the string whose opening quote is at `start`; returns the offset after its closing quote. */
export function scanString(bytes: Uint8Array, start: number): number | JsonScanFailure {
  const end = bytes.length;
  let at = start + 1;
  while (at < end) {
    const byte = bytes[at] as number;
    if (STOPS[byte] === 0) {
      at += 1;
    } else if (byte === QUOTE) {
      return at + 1;
    } else if (byte === BACKSLASH) {
      const next = afterEscape(bytes, at);
      if (next === -1) return fail('malformed_json', at, 'a string has an unknown or unfinished escape');
      at = next;
    } else if (byte < 0x20) {
      return fail('malformed_json', at, 'a string has an unescaped control character');
    } else {
      const next = afterUtf8(bytes, at);
      if (next === -1) return fail('invalid_utf8', at, 'a string is not valid UTF-8');
      at = next;
    }
  }
  return fail('malformed_json', end, 'it ends inside a string');
}

/** Offset of the first byte at or after `from` that is not a digit. */
function skipDigits(bytes: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    const byte = bytes[at];
    if (byte === undefined || byte < 0x30 || byte > 0x39) return at;
    at += 1;
  }
}

/** Scans a number; anything else that stands where a value should be is refused here too. */
export function scanNumber(bytes: Uint8Array, start: number): number | JsonScanFailure {
  const digitsStart = bytes[start] === 0x2d ? start + 1 : start;
  let at = skipDigits(bytes, digitsStart);
  if (at === digitsStart) {
    const what = at >= bytes.length ? 'it ends where a value should be' : 'a value should be here';
    return fail('malformed_json', at, what);
  }
  if (bytes[digitsStart] === 0x30 && at > digitsStart + 1) {
    return fail('malformed_json', digitsStart, 'a number has a leading zero');
  }
  if (bytes[at] === 0x2e) {
    const fraction = at + 1;
    at = skipDigits(bytes, fraction);
    if (at === fraction) return fail('malformed_json', at, 'a number has no digit after its point');
  }
  if (bytes[at] === 0x65 || bytes[at] === 0x45) {
    const sign = bytes[at + 1];
    const exponent = sign === 0x2b || sign === 0x2d ? at + 2 : at + 1;
    at = skipDigits(bytes, exponent);
    if (at === exponent) return fail('malformed_json', at, 'a number has no digit in its exponent');
  }
  return at;
}

const LITERALS: readonly (readonly number[])[] = ['true', 'false', 'null'].map((word) =>
  Array.from(word, (letter) => letter.charCodeAt(0)),
);

/** Scans `true`, `false` or `null`. */
export function scanLiteral(bytes: Uint8Array, start: number): number | JsonScanFailure {
  for (const letters of LITERALS) {
    if (letters.every((letter, index) => bytes[start + index] === letter)) return start + letters.length;
  }
  return fail('malformed_json', start, 'a value should be here');
}
