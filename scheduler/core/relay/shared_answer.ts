/**
 * An answer that outlives its client's connection: a request with an idempotency key writes into it, and whoever shows
 * the key reads from it, from the beginning or from where an earlier connection was cut, at its own pace. It holds what it
 * may hold; when that is full the engine waits for its reader, as it does for any client.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId } from '../../../lib/ids.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { Generation, GenerationSink } from '../../ports.ts';

/** One piece as it came; `sse` of a plain answer is a piece of its body. */
interface Piece {
  readonly kind: 'tokens' | 'body';
  readonly bytes: Buffer;
  readonly ids: Buffer;
  readonly index: number;
  readonly last: boolean;
}

interface Reader {
  readonly sink: GenerationSink;
  creditBytes: number;
  /** Number of the next piece. */
  next: number;
  /** Events that it has had over an earlier connection and that are passed over. */
  skip: number;
  headed: boolean;
}

type End = { readonly usage: LaneUsage | undefined } | { readonly error: CodedError };

export interface SharedAnswerHost {
  readonly maxBytes: number;
  /** Nobody reads it any more. */
  left(answer: SharedAnswer): void;
  ended(answer: SharedAnswer): void;
}

/** Memory of a piece beside its bytes. */
const PIECE_BYTES = 200;
const LF = 0x0a;
const EMPTY = Buffer.alloc(0);

/** Where the bytes after the first `count` events begin; and how many of these were there. */
function afterEvents(sse: Uint8Array, count: number): { readonly at: number; readonly events: number } {
  let at = 0;
  let events = 0;
  while (events < count && at < sse.length) {
    const end = sse.indexOf(LF, at);
    if (end === -1) break;
    // An event is one line and an empty one: the text in it has no line break of its own.
    at = end + 2;
    events += 1;
  }
  return { at, events };
}

export class SharedAnswer implements GenerationSink {
  readonly id: RequestId;
  readonly #host: SharedAnswerHost;
  readonly #pieces: Piece[] = [];
  #bytes = 0;
  #ungranted = 0;
  #headed = false;
  #end: End | undefined;
  #reader: Reader | undefined;
  #upstream: Generation | undefined;
  /** Events that an earlier attempt gave to an earlier scheduler: they are not here. */
  #eventsBefore = 0;

  constructor(id: RequestId, host: SharedAnswerHost) {
    this.id = id;
    this.#host = host;
  }

  /** Memory that it holds, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  get ended(): boolean {
    return this.#end !== undefined;
  }

  /** Ended, and not well: of no use to anybody who asks again. */
  get failed(): boolean {
    return this.#end !== undefined && 'error' in this.#end;
  }

  get read(): boolean {
    return this.#reader !== undefined;
  }

  /** Events of the answer so far, those before this scheduler's time included. */
  get events(): number {
    let events = this.#eventsBefore;
    for (const { kind, bytes } of this.#pieces) if (kind === 'tokens') events += afterEvents(bytes, Infinity).events;
    return events;
  }

  /** The request that writes. Its credit is this answer's memory. */
  writtenBy(upstream: Generation): void {
    this.#upstream = upstream;
  }

  /** The answer goes on with one whose first `events` events are not here; to be called before any of it has come. */
  beginsAfter(events: number): void {
    this.#eventsBefore = events;
    if (this.#reader !== undefined) this.#reader.skip = Math.max(0, this.#reader.skip - events);
  }

  /** Gives it up: its engine stops. */
  cancel(reason: string): void {
    if (this.#end === undefined) this.#upstream?.cancel(reason);
  }

  /**
   * Reads the answer after its first `events` events; who read before is told that it does so no more.
   * @returns what a door takes for the running request
   * @throws CodedError idempotency_conflict when its beginning is asked for and is not here
   */
  readBy(sink: GenerationSink, creditBytes: number, events: number): Generation {
    if (events < this.#eventsBefore)
      throw new CodedError(
        'idempotency_conflict',
        'The beginning of the answer was lost with the scheduler that had it.',
      );
    const before = this.#reader;
    const reader: Reader = { sink, creditBytes, next: 0, skip: events - this.#eventsBefore, headed: false };
    this.#reader = reader;
    before?.sink.onError(
      new CodedError('already_exists', 'Another connection with the same key reads the answer now.'),
    );
    // A door gets its first calls once it knows the running request.
    queueMicrotask(() => this.#pump(reader));
    return {
      id: this.id,
      grant: (bytes) => {
        reader.creditBytes += bytes;
        this.#pump(reader);
      },
      cancel: (reason) => this.#leave(reader, reason),
    };
  }

  #leave(reader: Reader, _reason: string): void {
    if (this.#reader !== reader) return;
    this.#reader = undefined;
    this.#host.left(this);
  }

  onHead(): void {
    this.#headed = true;
    if (this.#reader !== undefined) this.#pump(this.#reader);
  }

  onTokens(sse: Buffer, idBytes: Buffer, index: number): void {
    const ids = idBytes.length === 0 ? EMPTY : Buffer.from(idBytes);
    this.#add({ kind: 'tokens', bytes: Buffer.from(sse), ids, index, last: false });
  }

  onBody(bytes: Buffer, last: boolean): void {
    this.#add({ kind: 'body', bytes: Buffer.from(bytes), ids: EMPTY, index: 0, last });
  }

  /** A plain answer begins anew: it is read when it is whole, so nobody has had any of it. */
  onRestart(): boolean {
    if (this.#reader !== undefined && this.#reader.next > 0 && this.#reader.sink.onRestart?.() !== true) return false;
    this.#pieces.length = 0;
    this.#bytes = 0;
    if (this.#reader !== undefined) this.#reader.next = 0;
    return true;
  }

  onDone(usage: LaneUsage | undefined): void {
    this.#finish({ usage });
  }

  onError(error: CodedError): void {
    this.#finish({ error });
  }

  #finish(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#host.ended(this);
    if (this.#reader !== undefined) this.#pump(this.#reader);
  }

  #add(piece: Piece): void {
    this.#headed = true;
    this.#pieces.push(piece);
    this.#bytes += piece.bytes.length + piece.ids.length + PIECE_BYTES;
    this.#ungranted += piece.bytes.length;
    if (this.#reader !== undefined) this.#pump(this.#reader);
    this.#grant();
  }

  /** The engine may send on as long as there is room, whoever reads. */
  #grant(): void {
    if (this.#ungranted === 0 || this.#bytes >= this.#host.maxBytes) return;
    const bytes = this.#ungranted;
    this.#ungranted = 0;
    this.#upstream?.grant(bytes);
  }

  #pump(reader: Reader): void {
    if (this.#reader !== reader) return;
    if (this.#headed && !reader.headed) {
      reader.headed = true;
      reader.sink.onHead();
    }
    while (reader.next < this.#pieces.length && (reader.creditBytes > 0 || reader.skip > 0)) this.#give(reader);
    if (this.#end === undefined || reader.next < this.#pieces.length || this.#reader !== reader) return;
    this.#reader = undefined;
    if ('error' in this.#end) reader.sink.onError(this.#end.error);
    else reader.sink.onDone(this.#end.usage);
  }

  #give(reader: Reader): void {
    const { kind, bytes, ids, index, last } = this.#pieces[reader.next] as Piece;
    reader.next += 1;
    if (kind === 'body') {
      reader.creditBytes -= bytes.length;
      reader.sink.onBody(bytes, last);
      return;
    }
    const { at, events } = reader.skip === 0 ? { at: 0, events: 0 } : afterEvents(bytes, reader.skip);
    reader.skip -= events;
    if (at === bytes.length && events > 0) return;
    reader.creditBytes -= bytes.length - at;
    reader.sink.onTokens(bytes.subarray(at), ids, index);
  }
}
