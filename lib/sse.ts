/**
 * Framing of server-sent events, in both directions: the writer of the events that clients get, and a splitter that
 * cuts an engine's byte stream into event payloads however the network cut it. It works on bytes, because the payload
 * of a token is passed on as it came and is only rarely decoded. Grammar: WHATWG HTML, "Server-sent events".
 */
import { CodedError } from './errors.ts';

/** The last event of an OpenAI stream. */
export const SSE_DONE = 'data: [DONE]\n\n';

/** One event around one line of JSON text; JSON text made by `JSON.stringify` holds no line break. */
export function formatSseEvent(json: string): string {
  return `data: ${json}\n\n`;
}

export interface SseSplitter {
  /**
   * Takes the next bytes and returns the payloads of the events that they complete, in order: the bytes after `data:`
   * (one leading space removed), several data lines joined by `\n`. Events without data, comments and other fields give
   * nothing. A payload may be a view into `bytes`: it is valid as long as the caller does not overwrite that buffer.
   * Throws CodedError `engine_garbage` when an event exceeds the bound; the splitter is then of no more use.
   */
  push(bytes: Uint8Array): Uint8Array[];
  /** Bytes held back because their event is not complete. */
  readonly pendingBytes: number;
}

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;

function concat(parts: readonly Uint8Array[], totalBytes: number): Uint8Array {
  const out = new Uint8Array(totalBytes);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Where the value of a `data` field starts in the line `bytes[start, end)`, or -1 when the line is another field. */
function dataValueStart(bytes: Uint8Array, start: number, end: number): number {
  // "data" is compared byte by byte: most lines are data lines, and no string is made for the others.
  if (
    end - start < 4 ||
    bytes[start] !== 0x64 ||
    bytes[start + 1] !== 0x61 ||
    bytes[start + 2] !== 0x74 ||
    bytes[start + 3] !== 0x61
  ) {
    return -1;
  }
  if (end - start === 4) return end;
  if (bytes[start + 4] !== COLON) return -1;
  return bytes[start + 5] === SPACE && start + 5 < end ? start + 6 : start + 5;
}

/** What is kept of one stream between two pushes. */
interface SplitterState {
  readonly maxEventBytes: number;
  partialLine: Uint8Array[];
  partialLineBytes: number;
  dataLines: Uint8Array[];
  /** How many of the data lines are copies of our own; the rest are views into the bytes of the current push. */
  ownedLines: number;
  eventBytes: number;
  afterCarriageReturn: boolean;
  atStreamStart: boolean;
}

function admit(state: SplitterState, lineBytes: number): void {
  if (state.eventBytes + lineBytes > state.maxEventBytes) {
    throw new CodedError('engine_garbage', `An event of the stream is longer than ${state.maxEventBytes} bytes.`);
  }
}

function holdPartialLine(state: SplitterState, bytes: Uint8Array): void {
  admit(state, state.partialLineBytes + bytes.length);
  if (bytes.length === 0) return;
  state.partialLineBytes += bytes.length;
  state.partialLine.push(new Uint8Array(bytes));
}

function finishEvent(state: SplitterState, events: Uint8Array[]): void {
  const [first] = state.dataLines;
  if (first !== undefined) {
    events.push(state.dataLines.length === 1 ? first : joinLines(state.dataLines));
    state.dataLines = [];
    state.ownedLines = 0;
  }
  state.eventBytes = 0;
}

function addLine(state: SplitterState, bytes: Uint8Array, lineStart: number, end: number, events: Uint8Array[]): void {
  let start = lineStart;
  admit(state, end - start);
  if (state.atStreamStart) {
    state.atStreamStart = false;
    const hasMark = end - start >= 3 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf;
    if (hasMark) start += 3;
  }
  if (start === end) {
    finishEvent(state, events);
    return;
  }
  const valueStart = dataValueStart(bytes, start, end);
  if (valueStart === -1) return;
  state.dataLines.push(bytes.subarray(valueStart, end));
  state.eventBytes += end - start;
}

function addHeldLine(state: SplitterState, rest: Uint8Array, events: Uint8Array[]): void {
  holdPartialLine(state, rest);
  const line = concat(state.partialLine, state.partialLineBytes);
  state.partialLine = [];
  state.partialLineBytes = 0;
  addLine(state, line, 0, line.length, events);
}

function pushBytes(state: SplitterState, bytes: Uint8Array): Uint8Array[] {
  const events: Uint8Array[] = [];
  const total = bytes.length;
  let from = 0;
  if (state.afterCarriageReturn && total > 0) {
    state.afterCarriageReturn = false;
    if (bytes[0] === LF) from = 1;
  }
  // A CR ends a line too. Its next place is looked up again only once it is passed, so the bytes are read twice at
  // most, whatever they hold.
  let nextCr = indexOrEnd(bytes, CR, from);
  while (from < total) {
    if (nextCr < from) nextCr = indexOrEnd(bytes, CR, from);
    const nextLf = indexOrEnd(bytes, LF, from);
    const lineEnd = nextLf < nextCr ? nextLf : nextCr;
    if (lineEnd === total) break;
    if (state.partialLineBytes > 0) addHeldLine(state, bytes.subarray(from, lineEnd), events);
    else addLine(state, bytes, from, lineEnd, events);
    from = lineEnd + 1;
    if (lineEnd !== nextCr) continue;
    if (from === total) state.afterCarriageReturn = true;
    else if (bytes[from] === LF) from += 1;
  }
  if (from < total) holdPartialLine(state, bytes.subarray(from));
  const { dataLines } = state;
  for (; state.ownedLines < dataLines.length; state.ownedLines++) {
    dataLines[state.ownedLines] = new Uint8Array(dataLines[state.ownedLines] as Uint8Array);
  }
  return events;
}

/** A splitter for one stream. `maxEventBytes` bounds the lines of one event together, in bytes. */
export function createSseSplitter(options: { readonly maxEventBytes: number }): SseSplitter {
  const state: SplitterState = {
    maxEventBytes: options.maxEventBytes,
    partialLine: [],
    partialLineBytes: 0,
    dataLines: [],
    ownedLines: 0,
    eventBytes: 0,
    afterCarriageReturn: false,
    atStreamStart: true,
  };
  return {
    push: (bytes) => pushBytes(state, bytes),
    get pendingBytes() {
      return state.partialLineBytes + state.eventBytes;
    },
  };
}

function indexOrEnd(bytes: Uint8Array, byte: number, from: number): number {
  const at = bytes.indexOf(byte, from);
  return at === -1 ? bytes.length : at;
}

function joinLines(lines: readonly Uint8Array[]): Uint8Array {
  let total = lines.length - 1;
  for (const line of lines) total += line.length;
  const out = new Uint8Array(total);
  let at = 0;
  for (const line of lines) {
    out.set(line, at);
    at += line.length;
    if (at < total) out[at++] = LF;
  }
  return out;
}
