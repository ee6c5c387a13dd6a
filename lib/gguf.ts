/**
 * What a GGUF file says of its model, by its beginning alone: the key-value metadata and the list of tensors, never their data.
 * The bytes are foreign: every length and count is checked against what there is before it counts, nothing is allocated by a
 * number of the file, and what is wrong has a code. Source of layout, types and keys: the GGUF specification in ggml's
 * repository (ggml-org/ggml, docs/gguf.md), versions 2 and 3; sizes of the tensor types: ggml-common.h of the same.
 */
import { ggufShape } from './gguf_shape.ts';
import type { ModelShapeResult } from './model_shape.ts';

/** Most bytes before the tensors' data; vocabularies of 256 thousand tokens with their merges have some 15 MB. */
export const MOST_GGUF_HEADER_BYTES = 128 * 1024 * 1024;
const MOST_KEYS = 65_536;
const MOST_TENSORS = 65_536;
/** A key's and a tensor name's, by the specification 65535 and 64; a few tools write longer names. */
const MOST_KEY_BYTES = 65_535;
const MOST_NAME_BYTES = 512;
const MOST_DIMENSIONS = 4;
const PRESET_ALIGNMENT = 32;
const MOST_ALIGNMENT = 65_536;
/** Values that may matter are kept up to this size; of longer ones the length is. */
const KEPT_TEXT_BYTES = 256;
const KEPT_NUMBERS = 4096;

export type GgufCode =
  | 'not_gguf'
  | 'version'
  | 'big_endian'
  | 'too_many'
  | 'too_large'
  | 'value_type'
  | 'nested_array'
  | 'duplicate_key'
  | 'text'
  | 'tensor'
  | 'alignment'
  | 'overlap';

/** Text, a number, a truth; of an array its length, and its numbers where they are few. */
export type GgufValue =
  | string
  | number
  | boolean
  | { readonly length: number; readonly numbers: readonly number[] | undefined };

export interface GgufHeader {
  readonly kind: 'header';
  readonly version: number;
  /** Named by `general.architecture`; empty: it names none. */
  readonly architecture: string;
  readonly shape: ModelShapeResult;
  readonly tensors: number;
  /** Bytes of all tensors, without the gaps between them. */
  readonly tensorBytes: number;
  /** The least size of the file: its header, and its tensors with the gaps between them. */
  readonly fileBytes: number;
  /** Of a model in several files: how many there are. */
  readonly splits: number;
}

export type GgufResult =
  | GgufHeader
  /** More of the file's beginning is needed: at least this. */
  | { readonly kind: 'short'; readonly needBytes: number }
  | { readonly kind: 'malformed'; readonly code: GgufCode; readonly why: string };

/** Elements of a block, and its bytes, by the number of the type; types that are not here were taken out of the format. */
const TENSOR_TYPES: Readonly<Record<number, readonly [number, number]>> = {
  0: [1, 4], // F32
  1: [1, 2], // F16
  2: [32, 18], // Q4_0
  3: [32, 20], // Q4_1
  6: [32, 22], // Q5_0
  7: [32, 24], // Q5_1
  8: [32, 34], // Q8_0
  9: [32, 36], // Q8_1
  10: [256, 84], // Q2_K
  11: [256, 110], // Q3_K
  12: [256, 144], // Q4_K
  13: [256, 176], // Q5_K
  14: [256, 210], // Q6_K
  15: [256, 292], // Q8_K
  16: [256, 66], // IQ2_XXS
  17: [256, 74], // IQ2_XS
  18: [256, 98], // IQ3_XXS
  19: [256, 50], // IQ1_S
  20: [32, 18], // IQ4_NL
  21: [256, 110], // IQ3_S
  22: [256, 82], // IQ2_S
  23: [256, 136], // IQ4_XS
  24: [1, 1], // I8
  25: [1, 2], // I16
  26: [1, 4], // I32
  27: [1, 8], // I64
  28: [1, 8], // F64
  29: [256, 56], // IQ1_M
  30: [1, 2], // BF16
  34: [256, 54], // TQ1_0
  35: [256, 66], // TQ2_0
  39: [32, 17], // MXFP4
};

const MAGIC = 0x46554747;
const TEXT = 8;
const ARRAY = 9;
const BOOL = 7;
/** Bytes of a value, by its type; text and arrays have none of their own. */
const VALUE_BYTES: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};

/** Thrown inside of this file only: it ends the reading at any depth. */
class Stop extends Error {
  readonly result: GgufResult;

  constructor(result: GgufResult) {
    super(result.kind);
    this.result = result;
  }
}

const malformed = (code: GgufCode, why: string): Stop => new Stop({ kind: 'malformed', code, why });

class Cursor {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Steps over so many bytes, which must be there. @returns where they begin */
  take(bytes: number): number {
    const { at } = this;
    const end = at + bytes;
    if (end > MOST_GGUF_HEADER_BYTES) throw malformed('too_large', `its header would be ${end} bytes or more`);
    if (end > this.#bytes.length) throw new Stop({ kind: 'short', needBytes: end });
    this.at = end;
    return at;
  }

  u32(): number {
    return this.#view.getUint32(this.take(4), true);
  }

  /** A number beyond 2^53 comes out inexact, and is larger than every bound. */
  u64(): number {
    const at = this.take(8);
    return this.#view.getUint32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
  }

  /** @returns undefined for one that is longer than what is kept */
  text(mostBytes: number, keptBytes = mostBytes): string | undefined {
    const length = this.u64();
    if (length > mostBytes) throw malformed('too_large', `a text of it would be ${length} bytes`);
    const at = this.take(length);
    if (length > keptBytes) return undefined;
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.#bytes.subarray(at, at + length));
    } catch {
      throw malformed('text', 'a text of it is not UTF-8');
    }
  }

  number(type: number): number {
    const at = this.take(VALUE_BYTES[type] as number);
    const view = this.#view;
    switch (type) {
      case 1:
        return view.getInt8(at);
      case 2:
        return view.getUint16(at, true);
      case 3:
        return view.getInt16(at, true);
      case 4:
        return view.getUint32(at, true);
      case 5:
        return view.getInt32(at, true);
      case 6:
        return view.getFloat32(at, true);
      case 10:
        return Number(view.getBigUint64(at, true));
      case 11:
        return Number(view.getBigInt64(at, true));
      case 12:
        return view.getFloat64(at, true);
      default:
        return view.getUint8(at);
    }
  }
}

function readArray(cursor: Cursor): GgufValue {
  const type = cursor.u32();
  const length = cursor.u64();
  if (type === ARRAY) throw malformed('nested_array', 'an array of it holds arrays');
  const each = type === TEXT ? 8 : VALUE_BYTES[type];
  if (each === undefined) throw malformed('value_type', `an array of it has values of type ${type}`);
  if (length * each > MOST_GGUF_HEADER_BYTES)
    throw malformed('too_large', `an array of it would have ${length} values`);
  if (type === TEXT) {
    for (let i = 0; i < length; i++) cursor.take(textBytes(cursor));
    return { length, numbers: undefined };
  }
  if (length > KEPT_NUMBERS) {
    cursor.take(length * each);
    return { length, numbers: undefined };
  }
  const numbers: number[] = [];
  for (let i = 0; i < length; i++) numbers.push(cursor.number(type));
  return { length, numbers };
}

function textBytes(cursor: Cursor): number {
  const length = cursor.u64();
  if (length > MOST_GGUF_HEADER_BYTES) throw malformed('too_large', `a text of it would be ${length} bytes`);
  return length;
}

/** @returns undefined for a text that is too long to matter */
function readValue(cursor: Cursor): GgufValue | undefined {
  const type = cursor.u32();
  if (type === TEXT) return cursor.text(MOST_GGUF_HEADER_BYTES, KEPT_TEXT_BYTES);
  if (type === ARRAY) return readArray(cursor);
  if (VALUE_BYTES[type] === undefined) throw malformed('value_type', `a value of it is of type ${type}`);
  const value = cursor.number(type);
  return type === BOOL ? value !== 0 : value;
}

function readKeys(cursor: Cursor, count: number): ReadonlyMap<string, GgufValue> {
  const seen = new Set<string>();
  const kept = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = cursor.text(MOST_KEY_BYTES) as string;
    if (seen.has(key)) throw malformed('duplicate_key', 'it has a key twice');
    seen.add(key);
    const value = readValue(cursor);
    if (value !== undefined) kept.set(key, value);
  }
  return kept;
}

interface Tensor {
  readonly from: number;
  readonly bytes: number;
}

function readTensor(cursor: Cursor, alignment: number): Tensor {
  const name = cursor.text(MOST_NAME_BYTES) as string;
  const wrong = (why: string): Stop => malformed('tensor', `the tensor ${name.slice(0, 64)} ${why}`);
  const dimensions = cursor.u32();
  if (dimensions > MOST_DIMENSIONS) throw wrong(`has ${dimensions} dimensions`);
  let elements = 1;
  let row = 1;
  for (let i = 0; i < dimensions; i++) {
    const size = cursor.u64();
    if (i === 0) row = size;
    elements *= size;
  }
  const type = cursor.u32();
  const from = cursor.u64();
  const block = Object.hasOwn(TENSOR_TYPES, type) ? TENSOR_TYPES[type] : undefined;
  if (block === undefined) throw wrong(`is of type ${type}`);
  if (!Number.isSafeInteger(elements) || row % block[0] !== 0) throw wrong('has a shape that cannot be');
  const bytes = (elements / block[0]) * block[1];
  if (!Number.isSafeInteger(from + bytes)) throw wrong('has a size that cannot be');
  if (from % alignment !== 0) throw malformed('alignment', `the tensor ${name.slice(0, 64)} is not aligned`);
  return { from, bytes };
}

function alignmentIn(keys: ReadonlyMap<string, GgufValue>): number {
  const value = keys.get('general.alignment') ?? PRESET_ALIGNMENT;
  const isSound = Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= MOST_ALIGNMENT;
  if (!isSound) throw malformed('alignment', 'its alignment cannot be');
  return value as number;
}

function readAll(head: Uint8Array): GgufHeader {
  const cursor = new Cursor(head);
  if (cursor.u32() !== MAGIC) throw malformed('not_gguf', 'it does not begin as a GGUF file does');
  const version = cursor.u32();
  // The low half of a small number is its high half where the bytes are the other way round.
  if (version !== 0 && version % 65_536 === 0) throw malformed('big_endian', 'its numbers are big-endian');
  if (version !== 2 && version !== 3) throw malformed('version', `it is of version ${version}`);
  const tensors = cursor.u64();
  const count = cursor.u64();
  if (tensors > MOST_TENSORS) throw malformed('too_many', `it would have ${tensors} tensors`);
  if (count > MOST_KEYS) throw malformed('too_many', `it would have ${count} keys`);
  const keys = readKeys(cursor, count);
  const alignment = alignmentIn(keys);
  const found: Tensor[] = [];
  for (let i = 0; i < tensors; i++) found.push(readTensor(cursor, alignment));
  found.sort((a, b) => a.from - b.from || a.bytes - b.bytes);
  let end = 0;
  let tensorBytes = 0;
  for (const { from, bytes } of found) {
    if (from < end) throw malformed('overlap', 'its tensors overlap');
    end = from + bytes;
    tensorBytes += bytes;
  }
  const architecture = keys.get('general.architecture');
  const splits = keys.get('split.count');
  return {
    kind: 'header',
    version,
    architecture: typeof architecture === 'string' ? architecture : '',
    shape: ggufShape(keys),
    tensors,
    tensorBytes,
    fileBytes: Math.ceil(cursor.at / alignment) * alignment + end,
    splits: Number.isSafeInteger(splits) && (splits as number) > 0 ? (splits as number) : 1,
  };
}

/** @param head the beginning of a file; where it is short, it is asked again with at least as much as it needs */
export function readGgufHeader(head: Uint8Array): GgufResult {
  try {
    return readAll(head);
  } catch (thrown) {
    if (!(thrown instanceof Stop)) throw thrown;
    return thrown.result;
  }
}
