/**
 * Splits the body of an engine's stream into its events and prepares what the client gets, in place: the bytes of a
 * chunk stay as the engine wrote them, but for the ids and the usage that the client did not ask for. All events of one
 * read become one frame, so that a burst costs one header. Only chunks of an unusual shape (the first, the last, usage,
 * errors) are parsed as JSON.
 */
import { CodedError } from '../../lib/errors.ts';
import type { LaneUsage } from '../../proto/codec.ts';
import {
  cutKey,
  findPromptTokenIds,
  findTokenIds,
  finishReason,
  isErrorChunk,
  isUsageChunk,
  notFinishedBefore,
  readIdArray,
  trailingTokenIds,
} from './chunk_scan.ts';
import type { StreamScanner } from './continuation_scanner.ts';
import { readUsage } from './engine_answers.ts';

export interface ScannerOptions {
  readonly wantUsage: boolean;
  readonly wantTokenIds: boolean;
  /** Most bytes of one event; a longer one is engine_garbage. */
  readonly maxEventBytes: number;
}

/** Takes the prepared events: `buffer[start, end)` is whole events, valid during the call only. */
export type TokensSink = (buffer: Buffer, start: number, end: number, ids: readonly number[]) => void;

const LF = 0x0a;
const SPACE = 0x20;
const COLON = 0x3a;
const BRACE = 0x7b;
const BRACKET = 0x5b;
const DATA = Buffer.from('data:');
const DONE = Buffer.from('[DONE]');

/** The events of one stream. After `push` has thrown, `flush` gives what came before; then it is of no more use. */
export class EventScanner implements StreamScanner {
  readonly #options: ScannerOptions;
  readonly #sink: TokensSink;
  readonly #ids: number[] = [];
  /** Begin of an event whose end has not come. */
  #carry: Buffer | undefined;
  #carryBytes = 0;
  // Events prepared in `#region`, not yet given to the sink.
  #region: Buffer | undefined;
  #regionStart = 0;
  #regionEnd = 0;

  /** An engine that is asked for what the client wants ends by itself. */
  readonly stopped = false;
  sawDone = false;
  finishReason: string | undefined;
  usage: LaneUsage | undefined;
  /** The JSON of an error that the engine put into its stream. */
  errorText: string | undefined;

  constructor(options: ScannerOptions, sink: TokensSink) {
    this.#options = options;
    this.#sink = sink;
  }

  /**
   * Takes body bytes; may overwrite `buffer[start, end)`.
   * @throws CodedError engine_garbage when an event exceeds the bound or is none
   */
  push(buffer: Buffer, start: number, end: number): void {
    let at = start;
    if (this.#carryBytes > 0) {
      at = this.#completeCarry(buffer, start, end);
      if (at === -1) return;
    }
    while (at < end) {
      const eventEnd = this.#eventEnd(buffer, at, end);
      if (eventEnd === -1) {
        this.#hold(buffer, at, end);
        return;
      }
      this.#take(buffer, at, eventEnd);
      at = eventEnd;
    }
  }

  /** Gives what this read brought to the sink; to be called at the end of each read. */
  flush(): void {
    const region = this.#region;
    if (region === undefined) return;
    this.#region = undefined;
    if (this.#regionEnd > this.#regionStart || this.#ids.length > 0) {
      this.#sink(region, this.#regionStart, this.#regionEnd, this.#ids);
    }
    // One by one: with its length set to 0 an array gives up its memory, and takes it anew for each token.
    while (this.#ids.length > 0) this.#ids.pop();
  }

  /** Whether bytes of an unfinished event are left. */
  get cutShort(): boolean {
    return this.#carryBytes > 0;
  }

  #eventEnd(buffer: Buffer, from: number, end: number): number {
    let at = from;
    for (;;) {
      const lineEnd = buffer.indexOf(LF, at);
      if (lineEnd === -1 || lineEnd + 1 >= end) return -1;
      if (buffer[lineEnd + 1] === LF) return lineEnd + 2;
      at = lineEnd + 1;
    }
  }

  #hold(buffer: Buffer, start: number, end: number): void {
    const size = end - start;
    this.#room(size);
    buffer.copy(this.#carry as Buffer, this.#carryBytes, start, end);
    this.#carryBytes += size;
  }

  #room(size: number): void {
    const needed = this.#carryBytes + size;
    if (needed > this.#options.maxEventBytes) {
      throw new CodedError(
        'engine_garbage',
        `An event of the engine's stream exceeds ${this.#options.maxEventBytes} bytes.`,
      );
    }
    if (this.#carry !== undefined && this.#carry.length >= needed) return;
    const grown = Buffer.allocUnsafe(Math.max(1024, needed * 2));
    if (this.#carry !== undefined) this.#carry.copy(grown, 0, 0, this.#carryBytes);
    this.#carry = grown;
  }

  /** Returns where the read goes on after the carried event, or -1 when that has still no end. */
  #completeCarry(buffer: Buffer, start: number, end: number): number {
    const carry = this.#carry as Buffer;
    let eventEnd: number;
    if (carry[this.#carryBytes - 1] === LF && buffer[start] === LF) eventEnd = start + 1;
    else eventEnd = this.#eventEnd(buffer, start, end);
    if (eventEnd === -1) {
      this.#hold(buffer, start, end);
      return -1;
    }
    this.#hold(buffer, start, eventEnd);
    const whole = this.#carry as Buffer;
    const size = this.#carryBytes;
    this.#carryBytes = 0;
    // The sink takes its bytes at once, so the carry may be written again afterwards.
    this.flush();
    this.#take(whole, 0, size);
    this.flush();
    return eventEnd;
  }

  /** Prepares one event, with its closing blank line, in place. Comments (keep-alives) and blank lines before it go. */
  #take(buffer: Buffer, from: number, end: number): void {
    let start = from;
    while (start < end && (buffer[start] === COLON || buffer[start] === LF)) {
      start = buffer[start] === LF ? start + 1 : buffer.indexOf(LF, start) + 1;
    }
    if (start === end) return;
    const keptEnd = this.#prepare(buffer, start, end);
    if (this.#region !== buffer) {
      this.flush();
      this.#region = buffer;
      this.#regionStart = start;
      this.#regionEnd = start;
    }
    if (keptEnd === start) return;
    if (this.#regionEnd !== start) buffer.copyWithin(this.#regionEnd, start, keptEnd);
    this.#regionEnd += keptEnd - start;
  }

  /** Returns the new end of the event; `start` when the client gets nothing of it. */
  #prepare(buffer: Buffer, start: number, end: number): number {
    for (let i = 0; i < DATA.length; i++) if (buffer[start + i] !== DATA[i]) throw notAChunk();
    let at = start + DATA.length;
    if (buffer[at] === SPACE) at += 1;
    if (buffer[at] === BRACKET) {
      if (buffer.compare(DONE, 0, DONE.length, at, Math.min(end, at + DONE.length)) !== 0) throw notAChunk();
      this.sawDone = true;
      return start;
    }
    if (buffer[at] !== BRACE) throw notAChunk();
    const jsonEnd = end - 2;
    const key = trailingTokenIds(buffer, at, jsonEnd);
    if (key !== -1 && notFinishedBefore(buffer, key)) {
      const valueEnd = readIdArray(buffer, key + 12, jsonEnd, this.#ids);
      if (valueEnd !== -1) return this.#options.wantTokenIds ? end : cutKey(buffer, { key, valueEnd }, end);
    }
    return this.#prepareRare(buffer, start, at, end);
  }

  /** Chunks that come once or seldom: the first, the last, usage, errors, and all of an engine that tells no ids. */
  #prepareRare(buffer: Buffer, start: number, at: number, end: number): number {
    if (isErrorChunk(buffer, at, end)) {
      this.errorText ??= buffer.toString('utf8', at, end - 2);
      return start;
    }
    if (!isJson(buffer, at, end - 2)) throw notAChunk();
    const reason = finishReason(buffer, at, end);
    // With several choices one abort spoils the whole.
    if (reason !== undefined && this.finishReason !== 'abort') this.finishReason = reason;
    // `abort` is no finish reason of OpenAI's: the client gets the error that the request ends with instead.
    if (reason === 'abort') return start;
    if (isUsageChunk(buffer, at, end)) {
      this.usage = readUsage(buffer.toString('utf8', at, end - 2)) ?? this.usage;
      return this.#options.wantUsage ? end : start;
    }
    let newEnd = end;
    const ids = findTokenIds(buffer, at, newEnd, this.#ids);
    if (this.#options.wantTokenIds) return newEnd;
    if (ids !== undefined) newEnd = cutKey(buffer, ids, newEnd);
    const prompt = findPromptTokenIds(buffer, at, newEnd);
    return prompt === undefined ? newEnd : cutKey(buffer, prompt, newEnd);
  }
}

/**
 * A chunk of an unusual shape must at least be JSON; that of an ordinary token is known by its end and not parsed. It is
 * read as Latin-1: no byte inside a string can then be wrong, and nothing has to be decoded.
 */
function isJson(buffer: Buffer, start: number, end: number): boolean {
  try {
    JSON.parse(buffer.toString('latin1', start, end));
    return true;
  } catch {
    // The answer to the question.
    return false;
  }
}

function notAChunk(): CodedError {
  return new CodedError('engine_garbage', 'The stream of the engine holds an event that is not a chunk.');
}
