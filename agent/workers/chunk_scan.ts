/**
 * Finds, by bytes, the few things in an OpenAI chunk that the relay must know: token ids, the finish reason, usage, an
 * error. Parsing the JSON of each chunk costs about 7 us a token; these scans cost a few tenths. They are sound because
 * a quote inside a JSON string is escaped: the bytes `"token_ids":` can only be a key, never text.
 */

const TOKEN_IDS = Buffer.from('"token_ids":');
const PROMPT_TOKEN_IDS = Buffer.from('"prompt_token_ids":');
const FINISH_REASON = Buffer.from('"finish_reason":"');
const EMPTY_CHOICES = Buffer.from('"choices":[]');
const USAGE_OBJECT = Buffer.from('"usage":{');
/** What follows the choices of every completion chunk, and of chat chunks where usage was asked for. */
const NO_USAGE = Buffer.from(',"usage":null}');
/** What stands before the ids of an unfinished chat chunk and of an unfinished completion chunk. */
const NOT_FINISHED = Buffer.from('"finish_reason":null,');
const NOT_FINISHED_COMPLETION = Buffer.from('"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,');

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const BRACE_CLOSE = 0x7d;
const SPACE = 0x20;
const BACKSLASH = 0x5c;

/** Whether `needle` stands in `buffer` at `at`. */
function standsAt(buffer: Buffer, at: number, needle: Buffer): boolean {
  for (let i = needle.length - 1; i >= 0; i--) if (buffer[at + i] !== needle[i]) return false;
  return true;
}

function indexWithin(buffer: Buffer, needle: Buffer, start: number, end: number): number {
  // A view, so that the search does not run on into what an earlier read left in the buffer.
  const at = buffer.subarray(start, end).indexOf(needle);
  return at === -1 ? -1 : at + start;
}

/**
 * Reads `[1,22,333]` at `at` into `ids` (appended).
 * @returns the place after `]`, or -1 when what stands there is no array of token ids
 */
export function readIdArray(buffer: Buffer, at: number, end: number, ids: number[] | undefined): number {
  if (buffer[at] !== OPEN) return -1;
  const before = ids?.length ?? 0;
  const fail = (): number => {
    if (ids !== undefined) ids.length = before;
    return -1;
  };
  let value = 0;
  let digits = 0;
  for (let i = at + 1; i < end; i++) {
    const byte = buffer[i] as number;
    if (byte >= 48 && byte <= 57) {
      value = value * 10 + byte - 48;
      if (++digits > 10) return fail();
    } else if (byte === COMMA || byte === CLOSE) {
      if (digits > 0) {
        if (value > 0xffffffff) return fail();
        ids?.push(value);
      } else if (byte === COMMA || buffer[i - 1] === COMMA) return fail();
      value = 0;
      digits = 0;
      if (byte === CLOSE) return i + 1;
    } else if (byte !== SPACE) return fail();
  }
  return fail();
}

/**
 * The fast way for the chunk of an ordinary token: the ids are the last key of its only choice, and after the choices
 * comes nothing or `"usage":null`. Reads the ids backwards from the end, without searching.
 * @param end place after the last `}` of the chunk
 * @returns the place of the key's first quote, or -1 when the chunk has another shape
 */
export function trailingTokenIds(buffer: Buffer, start: number, end: number): number {
  let tail = end - 1;
  if (buffer[tail] !== BRACE_CLOSE) return -1;
  if (buffer[tail - 1] !== CLOSE) {
    tail = end - NO_USAGE.length;
    if (tail <= start || !standsAt(buffer, tail, NO_USAGE)) return -1;
  }
  if (buffer[tail - 1] !== CLOSE || buffer[tail - 2] !== BRACE_CLOSE || buffer[tail - 3] !== CLOSE) return -1;
  let at = tail - 4;
  while (at > start) {
    const byte = buffer[at] as number;
    if ((byte < 48 || byte > 57) && byte !== COMMA) break;
    at -= 1;
  }
  if (buffer[at] !== OPEN) return -1;
  const key = at - TOKEN_IDS.length;
  if (key <= start || !standsAt(buffer, key, TOKEN_IDS)) return -1;
  return key;
}

/** Whether what stands directly before the ids at `at` says that the choice goes on and that there is nothing else to find. */
export function notFinishedBefore(buffer: Buffer, at: number): boolean {
  if (at >= NOT_FINISHED.length && standsAt(buffer, at - NOT_FINISHED.length, NOT_FINISHED)) return true;
  const from = at - NOT_FINISHED_COMPLETION.length;
  return from >= 0 && standsAt(buffer, from, NOT_FINISHED_COMPLETION);
}

/** The finish reason of the first choice that has one, or undefined. */
export function finishReason(buffer: Buffer, start: number, end: number): string | undefined {
  const at = indexWithin(buffer, FINISH_REASON, start, end);
  if (at === -1) return undefined;
  const from = at + FINISH_REASON.length;
  const to = buffer.indexOf(QUOTE, from);
  if (to === -1 || to > end || to - from > 64) return undefined;
  return buffer.toString('latin1', from, to);
}

/** Where a key with an array of ids stands, from its quote to after its value; undefined when it is absent. */
export interface KeyRange {
  readonly key: number;
  readonly valueEnd: number;
}

function findIds(
  buffer: Buffer,
  needle: Buffer,
  start: number,
  end: number,
  ids: number[] | undefined,
): KeyRange | undefined {
  let from = start;
  while (from < end) {
    const key = indexWithin(buffer, needle, from, end);
    if (key === -1) return undefined;
    if (buffer[key - 1] !== BACKSLASH) {
      const valueEnd = readIdArray(buffer, key + needle.length, end, ids);
      if (valueEnd !== -1) return { key, valueEnd };
    }
    from = key + needle.length;
  }
  return undefined;
}

/** Appends the token ids of the chunk to `ids`. */
export const findTokenIds = (buffer: Buffer, start: number, end: number, ids: number[]): KeyRange | undefined =>
  findIds(buffer, TOKEN_IDS, start, end, ids);

export const findPromptTokenIds = (buffer: Buffer, start: number, end: number): KeyRange | undefined =>
  findIds(buffer, PROMPT_TOKEN_IDS, start, end, undefined);

/**
 * Takes a key and its value, with one comma, out of `buffer[start, end)` by moving the rest down.
 * @returns the new end
 */
export function cutKey(buffer: Buffer, range: KeyRange, end: number): number {
  let from = range.key;
  let to = range.valueEnd;
  if (buffer[from - 1] === COMMA) from -= 1;
  else if (buffer[to] === COMMA) to += 1;
  // The rest is a few bytes (`}]}`) nearly always: a loop is cheaper than a call into the runtime.
  if (end - to <= 32) for (let i = to, out = from; i < end; ) buffer[out++] = buffer[i++] as number;
  else buffer.copyWithin(from, to, end);
  return end - (to - from);
}

/** Whether the chunk is the one with usage and no choices. */
export function isUsageChunk(buffer: Buffer, start: number, end: number): boolean {
  return indexWithin(buffer, EMPTY_CHOICES, start, end) !== -1 && indexWithin(buffer, USAGE_OBJECT, start, end) !== -1;
}

/** Whether `buffer[at, end)` begins with `{"error"` (blanks allowed after the brace). */
export function isErrorChunk(buffer: Buffer, at: number, end: number): boolean {
  let place = at + 1;
  while (buffer[place] === SPACE && place < end) place += 1;
  return (
    place + 7 <= end &&
    buffer[place] === QUOTE &&
    buffer[place + 1] === 0x65 &&
    buffer[place + 2] === 0x72 &&
    buffer[place + 3] === 0x72 &&
    buffer[place + 4] === 0x6f &&
    buffer[place + 5] === 0x72 &&
    buffer[place + 6] === QUOTE
  );
}
