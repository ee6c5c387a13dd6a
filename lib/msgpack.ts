/**
 * MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md), as far as engines' cache events need it: a reader
 * that bounds what hostile bytes can make it do, and a writer for the simulated engine. A map is an object without
 * prototype; a whole number that a double cannot hold is a bigint; extension types are refused.
 */

/** Deepest nesting that is read: events have four levels. */
const MAX_DEPTH = 16;
/** Values of one document, at all levels; a batch of a step has one for each token of its new blocks. */
const MAX_VALUES = 2_000_000;

export type MsgpackResult =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly reason: string };

class Malformed extends Error {}

/** One document that must fill `bytes` exactly. Never throws. */
export function decodeMsgpack(bytes: Uint8Array): MsgpackResult {
  const reader = new Reader(bytes);
  try {
    const value = reader.value(0);
    if (reader.at !== bytes.length) throw new Malformed('there are bytes after the document');
    return { ok: true, value };
  } catch (error) {
    return { ok: false, reason: (error as Malformed).message };
  }
}

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #utf8 = new TextDecoder();
  #values = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  value(depth: number): unknown {
    this.#values += 1;
    if (this.#values > MAX_VALUES) throw new Malformed('there are too many values');
    const lead = this.#uint(1);
    if (lead < 0x80) return lead;
    if (lead >= 0xe0) return lead - 0x100;
    if (lead < 0x90) return this.#map(lead & 0x0f, depth);
    if (lead < 0xa0) return this.#array(lead & 0x0f, depth);
    if (lead < 0xc0) return this.#text(lead & 0x1f);
    return this.#long(lead, depth);
  }

  #long(lead: number, depth: number): unknown {
    switch (lead) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return lead === 0xc3;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#raw(this.#uint(1 << (lead - 0xc4)));
      case 0xca:
        return this.#view.getFloat32(this.#take(4));
      case 0xcb:
        return this.#view.getFloat64(this.#take(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(1 << (lead - 0xcc));
      case 0xcf:
        return small(this.#view.getBigUint64(this.#take(8)));
      case 0xd0:
        return this.#view.getInt8(this.#take(1));
      case 0xd1:
        return this.#view.getInt16(this.#take(2));
      case 0xd2:
        return this.#view.getInt32(this.#take(4));
      case 0xd3:
        return small(this.#view.getBigInt64(this.#take(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#uint(1 << (lead - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(lead === 0xdc ? 2 : 4), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(lead === 0xde ? 2 : 4), depth);
      default:
        throw new Malformed(`type 0x${lead.toString(16)} is not read`);
    }
  }

  #take(count: number): number {
    const at = this.at;
    if (at + count > this.#bytes.length) throw new Malformed('the document is cut off');
    this.at = at + count;
    return at;
  }

  #uint(bytes: number): number {
    const at = this.#take(bytes);
    if (bytes === 1) return this.#bytes[at] as number;
    return bytes === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #raw(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  #text(length: number): string {
    return this.#utf8.decode(this.#raw(length));
  }

  /** A length is believed only as far as there are bytes for it: each value takes one at least. */
  #checked(length: number, depth: number): void {
    if (depth >= MAX_DEPTH) throw new Malformed('it nests too deep');
    if (length > this.#bytes.length - this.at) throw new Malformed('the document is cut off');
  }

  #array(length: number, depth: number): unknown[] {
    this.#checked(length, depth);
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.value(depth + 1));
    return items;
  }

  #map(length: number, depth: number): Record<string, unknown> {
    this.#checked(length, depth);
    const map = Object.create(null) as Record<string, unknown>;
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1);
      if (typeof key !== 'string') throw new Malformed('a key is no text');
      map[key] = this.value(depth + 1);
    }
    return map;
  }
}

function small(value: bigint): number | bigint {
  const asNumber = Number(value);
  return Number.isSafeInteger(asNumber) ? asNumber : value;
}

/** What can be written: numbers are whole where they can be, else doubles. */
export type MsgpackValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly MsgpackValue[]
  | { readonly [key: string]: MsgpackValue };

const encoder = new TextEncoder();

/** Lead byte and length of a text, bytes, array or map: short forms up to `shortMax`, then 8 (if there is one), 16, 32 bits. */
function head(out: number[], length: number, short: number, shortMax: number, leads: readonly number[]): void {
  const [lead8, lead16, lead32] = leads as [number, number, number];
  if (length <= shortMax) out.push(short | length);
  else if (length < 0x100 && lead8 > 0) out.push(lead8, length);
  else if (length < 0x10000) out.push(lead16, length >>> 8, length & 0xff);
  else out.push(lead32, length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff);
}

function writeNumber(out: number[], value: number): void {
  if (Number.isInteger(value) && value >= 0 && value < 0x80) out.push(value);
  else if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) {
    out.push(0xce, value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
  } else {
    const scratch = new DataView(new ArrayBuffer(8));
    const whole = Number.isSafeInteger(value);
    if (whole) scratch.setBigInt64(0, BigInt(value));
    else scratch.setFloat64(0, value);
    out.push(whole ? 0xd3 : 0xcb, ...new Uint8Array(scratch.buffer));
  }
}

function write(out: number[], value: MsgpackValue): void {
  if (value === null) out.push(0xc0);
  else if (typeof value === 'boolean') out.push(value ? 0xc3 : 0xc2);
  else if (typeof value === 'number') writeNumber(out, value);
  else if (typeof value === 'string') {
    const bytes = encoder.encode(value);
    head(out, bytes.length, 0xa0, 31, [0xd9, 0xda, 0xdb]);
    for (const byte of bytes) out.push(byte);
  } else if (value instanceof Uint8Array) {
    head(out, value.length, 0, -1, [0xc4, 0xc5, 0xc6]);
    for (const byte of value) out.push(byte);
  } else if (Array.isArray(value)) {
    head(out, value.length, 0x90, 15, [0, 0xdc, 0xdd]);
    for (const item of value as readonly MsgpackValue[]) write(out, item);
  } else {
    const entries = Object.entries(value);
    head(out, entries.length, 0x80, 15, [0, 0xde, 0xdf]);
    for (const [key, item] of entries) {
      write(out, key);
      write(out, item);
    }
  }
}

export function encodeMsgpack(value: MsgpackValue): Uint8Array {
  const out: number[] = [];
  write(out, value);
  return Uint8Array.from(out);
}
