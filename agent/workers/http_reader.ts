/**
 * Reads HTTP/1.1 answers of an engine from the bytes of a socket: status line, headers, then a chunked, counted or
 * close-delimited body, cut by the network at any byte. It is the hottest reader of the product: a general client costs
 * 17-20 us of CPU a token where this costs a few, because body bytes are handed on as ranges of the read buffer.
 * It is strict: what RFC 9112 does not allow is refused, since a lenient reader guesses where an answer ends.
 */
import { CodedError } from '../../lib/errors.ts';

export interface HttpHead {
  readonly status: number;
  /** Lower-case names; of repeated fields the last one. */
  readonly headers: ReadonlyMap<string, string>;
}

/** What the reader tells. A byte range is valid during the call only. */
export interface HttpReaderSink {
  onHead(head: HttpHead): void;
  onBody(buffer: Buffer, start: number, end: number): void;
  /** The answer is complete; `reusable` when the connection may carry another. */
  onComplete(reusable: boolean): void;
}

const MAX_HEAD_BYTES = 64 * 1024;
const MAX_CHUNK_LINE_BYTES = 1024;
const MAX_CHUNK_SIZE_DIGITS = 8;
const CR = 13;
const LF = 10;
const COLON = 0x3a;

const STATE = {
  HEAD: 0,
  CHUNK_SIZE: 1,
  CHUNK_EXTENSION: 2,
  CHUNK_SIZE_LF: 3,
  CHUNK_DATA: 4,
  CHUNK_DATA_CR: 5,
  CHUNK_DATA_LF: 6,
  TRAILER: 7,
  COUNTED: 8,
  UNTIL_CLOSE: 9,
  COMPLETE: 10,
} as const;

/** Where in a trailer line the next byte stands. */
const TRAILER = { LINE: 0, NAME: 1, VALUE: 2, LINE_LF: 3, END_LF: 4 } as const;

const garbage = (what: string): CodedError =>
  new CodedError('engine_garbage', `The engine's answer is not HTTP: ${what}.`);

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
// Everything but control characters; a tab is allowed.
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

function parseHead(text: string): { head: HttpHead; version: string } {
  const lines = text.split('\r\n');
  const match = /^HTTP\/(1\.[01]) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/.exec(lines[0] as string);
  if (match === null) throw garbage('the status line is malformed');
  const headers = new Map<string, string>();
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i] as string;
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon));
    if (!TOKEN.test(name)) throw garbage('a header name is malformed');
    const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '');
    if (!FIELD_VALUE.test(value)) throw garbage('a header value holds a control character');
    const key = name.toLowerCase();
    const before = headers.get(key);
    if (before !== undefined && (key === 'content-length' || key === 'transfer-encoding') && before !== value) {
      throw garbage(`${key} is given twice`);
    }
    headers.set(key, value);
  }
  return { head: { status: Number(match[2]), headers }, version: match[1] as string };
}

/** Reads one answer after another from one connection; `reset` prepares it for the next. */
export class HttpReader {
  readonly #sink: HttpReaderSink;
  #state: number = STATE.HEAD;
  #head: Buffer[] = [];
  #headBytes = 0;
  /** Bytes left of the chunk or of the counted body. */
  #left = 0;
  /** Characters of the chunk line or of the trailer so far. */
  #lineBytes = 0;
  #digits = 0;
  #trailerPart: number = TRAILER.LINE;
  #keepAlive = false;

  constructor(sink: HttpReaderSink) {
    this.#sink = sink;
  }

  get complete(): boolean {
    return this.#state === STATE.COMPLETE;
  }

  reset(): void {
    this.#state = STATE.HEAD;
    this.#head = [];
    this.#headBytes = 0;
    this.#left = 0;
    this.#keepAlive = false;
  }

  /**
   * Takes `buffer[start, end)`.
   * @throws CodedError engine_garbage: the connection is then of no more use
   */
  push(buffer: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      switch (this.#state) {
        case STATE.HEAD:
          at = this.#readHead(buffer, at, end);
          break;
        case STATE.CHUNK_DATA:
        case STATE.COUNTED: {
          const take = Math.min(this.#left, end - at);
          this.#left -= take;
          const counted = this.#state === STATE.COUNTED;
          if (this.#left === 0 && !counted) this.#state = STATE.CHUNK_DATA_CR;
          this.#sink.onBody(buffer, at, at + take);
          if (this.#left === 0 && counted) this.#finish(at + take === end);
          at += take;
          break;
        }
        case STATE.UNTIL_CLOSE:
          this.#sink.onBody(buffer, at, end);
          return;
        case STATE.COMPLETE:
          throw garbage('bytes follow a complete answer');
        default:
          at = this.#readChunkFraming(buffer, at, end);
      }
    }
  }

  /** The connection was closed by the engine. True when the answer is whole: a close-delimited one ends here. */
  closed(): boolean {
    if (this.#state === STATE.UNTIL_CLOSE) {
      this.#keepAlive = false;
      this.#finish(true);
    }
    return this.#state === STATE.COMPLETE;
  }

  #finish(nothingFollows: boolean): void {
    this.#state = STATE.COMPLETE;
    this.#sink.onComplete(this.#keepAlive && nothingFollows);
  }

  #readHead(buffer: Buffer, at: number, end: number): number {
    // The blank line may be cut by the network, so up to three bytes before this range are looked at again.
    const before = this.#headBytes === 0 ? undefined : Buffer.concat(this.#head);
    const piece = buffer.subarray(at, end);
    const whole = before === undefined ? piece : Buffer.concat([before, piece]);
    const blank = whole.indexOf('\r\n\r\n', Math.max(0, this.#headBytes - 3), 'latin1');
    if (blank === -1) {
      if (whole.length > MAX_HEAD_BYTES) throw garbage('the headers are too long');
      this.#head = [Buffer.from(whole)];
      this.#headBytes = whole.length;
      // A peer that does not speak HTTP is found out at its first byte, not after 64 KiB.
      if (whole[0] !== 0x48) throw garbage('the status line is malformed');
      return end;
    }
    if (blank > MAX_HEAD_BYTES) throw garbage('the headers are too long');
    const consumed = blank + 4 - this.#headBytes;
    const { head, version } = parseHead(whole.toString('latin1', 0, blank));
    this.#head = [];
    this.#headBytes = 0;
    // 100 Continue and the like come before the answer itself.
    if (head.status >= 200) this.#beginBody(head, version, at + consumed === end);
    return at + consumed;
  }

  #beginBody(head: HttpHead, version: string, nothingFollows: boolean): void {
    const connection = (head.headers.get('connection') ?? '').toLowerCase();
    this.#keepAlive = version === '1.1' ? !connection.includes('close') : connection.includes('keep-alive');
    const encoding = head.headers.get('transfer-encoding');
    const length = head.headers.get('content-length');
    if (encoding !== undefined && length !== undefined)
      throw garbage('both transfer-encoding and content-length are given');
    if (encoding !== undefined && encoding.toLowerCase() !== 'chunked')
      throw garbage('the transfer-encoding is not chunked');
    if (length !== undefined && !/^\d{1,15}$/.test(length)) throw garbage('content-length is malformed');
    const bodyless = head.status === 204 || head.status === 304;
    if (bodyless || length === '0') this.#state = STATE.COMPLETE;
    else if (encoding !== undefined) {
      this.#state = STATE.CHUNK_SIZE;
      this.#lineBytes = 0;
      this.#digits = 0;
    } else if (length !== undefined) {
      this.#left = Number(length);
      this.#state = this.#left === 0 ? STATE.COMPLETE : STATE.COUNTED;
    } else {
      this.#state = STATE.UNTIL_CLOSE;
      this.#keepAlive = false;
    }
    this.#sink.onHead(head);
    if (this.#state === STATE.COMPLETE) this.#sink.onComplete(this.#keepAlive && nothingFollows);
  }

  /** Everything of a chunked body that is not data; returns the place of the first byte that it did not take. */
  #readChunkFraming(buffer: Buffer, from: number, end: number): number {
    let at = from;
    while (at < end) {
      const byte = buffer[at++] as number;
      switch (this.#state) {
        case STATE.CHUNK_SIZE:
          this.#readSizeByte(byte);
          break;
        case STATE.CHUNK_EXTENSION:
          if (byte === CR) this.#state = STATE.CHUNK_SIZE_LF;
          else if (byte === LF || ++this.#lineBytes > MAX_CHUNK_LINE_BYTES)
            throw garbage('a chunk extension is malformed');
          break;
        case STATE.CHUNK_SIZE_LF:
          if (byte !== LF) throw garbage('a chunk size is not ended by CR LF');
          this.#trailerPart = TRAILER.LINE;
          this.#lineBytes = 0;
          this.#state = this.#left === 0 ? STATE.TRAILER : STATE.CHUNK_DATA;
          if (this.#left > 0) return at;
          break;
        case STATE.CHUNK_DATA_CR:
          if (byte !== CR) throw garbage('a chunk is longer than its size says');
          this.#state = STATE.CHUNK_DATA_LF;
          break;
        case STATE.CHUNK_DATA_LF:
          if (byte !== LF) throw garbage('a chunk is not ended by CR LF');
          this.#state = STATE.CHUNK_SIZE;
          this.#lineBytes = 0;
          this.#digits = 0;
          this.#left = 0;
          break;
        default:
          this.#readTrailerByte(byte, at === end);
          if (this.#state === STATE.COMPLETE) return at;
      }
    }
    return at;
  }

  #readSizeByte(byte: number): void {
    let digit = -1;
    if (byte >= 48 && byte <= 57) digit = byte - 48;
    else if (byte >= 97 && byte <= 102) digit = byte - 87;
    else if (byte >= 65 && byte <= 70) digit = byte - 55;
    if (digit >= 0) {
      if (++this.#digits > MAX_CHUNK_SIZE_DIGITS) throw garbage('a chunk size is too long');
      this.#left = this.#left * 16 + digit;
      return;
    }
    if (this.#digits === 0) throw garbage('a chunk has no size');
    if (byte === CR) this.#state = STATE.CHUNK_SIZE_LF;
    else if (byte === 0x3b || byte === 0x20 || byte === 0x09) this.#state = STATE.CHUNK_EXTENSION;
    else throw garbage('a chunk size is malformed');
  }

  /** Trailer fields are checked as header fields are, and skipped; the empty line ends the answer. */
  #readTrailerByte(byte: number, nothingFollows: boolean): void {
    if (++this.#lineBytes > MAX_HEAD_BYTES) throw garbage('the trailer is too long');
    const part = this.#trailerPart;
    if (part === TRAILER.LINE_LF || part === TRAILER.END_LF) {
      if (byte !== LF) throw garbage('a trailer line is not ended by CR LF');
      if (part === TRAILER.END_LF) this.#finish(nothingFollows);
      else this.#trailerPart = TRAILER.LINE;
    } else if (part === TRAILER.VALUE) {
      if (byte === CR) this.#trailerPart = TRAILER.LINE_LF;
      else if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f)
        throw garbage('a trailer value holds a control character');
    } else if (byte === CR && part === TRAILER.LINE) this.#trailerPart = TRAILER.END_LF;
    else if (byte === COLON && part === TRAILER.NAME) this.#trailerPart = TRAILER.VALUE;
    else if (TOKEN.test(String.fromCharCode(byte))) this.#trailerPart = TRAILER.NAME;
    else throw garbage('a trailer name is malformed');
  }
}
