/**
 * Turns the key of a JSON object into a string. The same few keys ("role", "content", "type") come in every body, so
 * short ASCII keys are kept in a small direct-mapped table and a body that repeats them makes no new strings.
 */

const CACHE_SLOTS = 512;
const LONGEST_CACHED_KEY = 32;
const BACKSLASH = 0x5c;

const cache: (string | undefined)[] = Array.from({ length: CACHE_SLOTS }, () => undefined);
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The general way, for keys with escapes, with non-ASCII characters, or long: quotes included, already checked. */
function decodeKey(bytes: Uint8Array, start: number, end: number): string {
  return JSON.parse(decoder.decode(bytes.subarray(start, end))) as string;
}

function equals(candidate: string, bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < candidate.length; i++) if (candidate.charCodeAt(i) !== bytes[start + i]) return false;
  return true;
}

/**
 * The key whose opening quote is at `start` and whose closing quote is at `end - 1`. The bytes must have passed
 * `scanString`. Keys are equal as strings exactly when JSON.parse would give equal ones.
 */
export function readKey(bytes: Uint8Array, start: number, end: number): string {
  const from = start + 1;
  const length = end - 1 - from;
  if (length > LONGEST_CACHED_KEY) return decodeKey(bytes, start, end);
  let hash = 0x811c9dc5;
  for (let i = from; i < end - 1; i++) {
    const byte = bytes[i] as number;
    if (byte === BACKSLASH || byte >= 0x80) return decodeKey(bytes, start, end);
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  const slot = (hash >>> 16) & (CACHE_SLOTS - 1);
  const candidate = cache[slot];
  if (candidate !== undefined && candidate.length === length && equals(candidate, bytes, from)) return candidate;
  const key = decodeKey(bytes, start, end);
  cache[slot] = key;
  return key;
}
