/**
 * The answers of GenerateMany, coded by hand: a batch is columns (stream, kind, size) and one run of bytes, so that a
 * token costs a few varint bytes and a copy, never an object. The wire form is that of GenerateManyResponse in
 * inference.proto, and any protobuf library reads it.
 */

export const ENTRY = { CHUNK: 1, TOKEN_IDS: 2, USAGE: 3, END: 4, ERROR: 5, REQUEST_ID: 6, QUEUED: 7 } as const;

const MAX_VARINT_BYTES = 5;

/** Collects entries and gives them as one GenerateManyResponse. Bounded by its caller: check `bytes` and flush. */
export class EntryBatch {
  #streams: number[] = [];
  #kinds: number[] = [];
  #sizes: number[] = [];
  #data = Buffer.allocUnsafe(4096);
  #end = 0;

  get count(): number {
    return this.#streams.length;
  }

  /** Bytes of entries collected since the last take(). */
  get bytes(): number {
    return this.#end;
  }

  append(stream: number, kind: number, payload: Uint8Array, start = 0, end = payload.length): void {
    const size = end - start;
    if (this.#end + size > this.#data.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#end + size, this.#data.length * 2));
      grown.set(this.#data.subarray(0, this.#end));
      this.#data = grown;
    }
    this.#data.set(start === 0 && end === payload.length ? payload : payload.subarray(start, end), this.#end);
    this.#end += size;
    this.#streams.push(stream);
    this.#kinds.push(kind);
    this.#sizes.push(size);
  }

  /** The collected entries as wire bytes; the batch is empty afterwards. */
  take(): Buffer {
    const count = this.#streams.length;
    const out = Buffer.allocUnsafe(
      3 * (1 + MAX_VARINT_BYTES + count * MAX_VARINT_BYTES) + 1 + MAX_VARINT_BYTES + this.#end,
    );
    let at = writeColumn(out, 0, 0x0a, this.#streams);
    at = writeColumn(out, at, 0x12, this.#kinds);
    at = writeColumn(out, at, 0x1a, this.#sizes);
    out[at++] = 0x22;
    at = writeVarint(out, at, this.#end);
    this.#data.copy(out, at, 0, this.#end);
    at += this.#end;
    this.#streams = [];
    this.#kinds = [];
    this.#sizes = [];
    this.#end = 0;
    return out.subarray(0, at);
  }
}

function writeVarint(out: Buffer, at: number, value: number): number {
  while (value > 0x7f) {
    out[at++] = (value & 0x7f) | 0x80;
    value = Math.floor(value / 128);
  }
  out[at++] = value;
  return at;
}

function varintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5;
}

function writeColumn(out: Buffer, at: number, tag: number, values: readonly number[]): number {
  let size = 0;
  for (const value of values) size += varintBytes(value);
  out[at++] = tag;
  at = writeVarint(out, at, size);
  for (const value of values) at = writeVarint(out, at, value);
  return at;
}

/** A decoded batch: parallel columns; entry i is data[start of i, start + size[i]). */
export interface ManyResponse {
  readonly stream: number[];
  readonly kind: number[];
  readonly size: number[];
  readonly data: Buffer;
}

/**
 * Reads the wire bytes of a GenerateManyResponse; unknown fields are skipped, unpacked columns accepted.
 * @throws RangeError when the bytes are cut or the columns disagree.
 */
export function decodeManyResponse(message: Buffer): ManyResponse {
  const columns: number[][] = [[], [], []];
  let data: Buffer = message.subarray(0, 0);
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; factor < 2 ** 56; factor *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw new RangeError('GenerateManyResponse is cut');
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw new RangeError('GenerateManyResponse has a malformed varint');
  };
  while (at < message.length) {
    const tag = varint();
    const field = Math.floor(tag / 8);
    if (field === 0) throw new RangeError('GenerateManyResponse has a field numbered 0');
    if (tag % 8 === 0) {
      const value = varint();
      columns[field - 1]?.push(value);
      continue;
    }
    if (tag % 8 !== 2) throw new RangeError('GenerateManyResponse has a field of an unknown wire type');
    const end = varint() + at;
    if (end > message.length) throw new RangeError('GenerateManyResponse is cut');
    const column = columns[field - 1];
    if (column !== undefined) while (at < end) column.push(varint());
    else {
      if (field === 4) data = message.subarray(at, end);
      at = end;
    }
    if (at !== end) throw new RangeError('GenerateManyResponse has a column that ends inside a number');
  }
  const [stream, kind, size] = columns as [number[], number[], number[]];
  if (stream.length !== kind.length || kind.length !== size.length) throw new RangeError('columns differ in length');
  if (size.reduce((sum, n) => sum + n, 0) !== data.length) throw new RangeError('sizes do not add up to the data');
  return { stream, kind, size, data };
}
