/** Writes GGUF files for tests, as the specification in ggml's repository lays them out; what is given may be nonsense. */

export type GgufField = readonly [
  key: string,
  type: number,
  value: string | number | boolean | readonly (string | number)[],
  of?: number,
];

export interface GgufTensor {
  readonly name: string;
  readonly shape: readonly (number | bigint)[];
  readonly type: number;
  readonly from: number;
}

export interface GgufPlan {
  readonly version?: number;
  readonly fields: readonly GgufField[];
  readonly tensors: readonly GgufTensor[];
  /** Counts other than those that there are. */
  readonly tensorCount?: bigint;
  readonly fieldCount?: bigint;
}

function number(bytes: 1 | 2 | 4 | 8, value: number | bigint): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigInt64LE(BigInt.asIntN(64, BigInt(value)));
  return out.subarray(0, bytes);
}
export const u32 = (value: number): Buffer => number(4, value);
export const u64 = (value: number | bigint): Buffer => number(8, value);
export const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);

const WIDTHS: Readonly<Record<number, 1 | 2 | 4 | 8>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 7: 1, 10: 8, 11: 8 };

function valueOf(type: number, value: string | number | boolean): Buffer {
  if (type === 8) return text(String(value));
  const out = Buffer.alloc(8);
  if (type === 6) out.writeFloatLE(Number(value));
  if (type === 12) out.writeDoubleLE(Number(value));
  if (type === 6 || type === 12) return out.subarray(0, type === 6 ? 4 : 8);
  return number(WIDTHS[type] ?? 4, Number(value));
}

function fieldOf([key, type, value, of = 4]: GgufField): Buffer {
  if (!Array.isArray(value)) return Buffer.concat([text(key), u32(type), valueOf(type, value as string)]);
  const values = value.map((each: string | number) => valueOf(of, each));
  return Buffer.concat([text(key), u32(type), u32(of), u64(value.length), ...values]);
}

/** The header, without padding and data. */
export function ggufHeader({ version = 3, fields, tensors, tensorCount, fieldCount }: GgufPlan): Buffer {
  return Buffer.concat([
    Buffer.from('GGUF'),
    u32(version),
    u64(tensorCount ?? tensors.length),
    u64(fieldCount ?? fields.length),
    ...fields.map(fieldOf),
    ...tensors.map(({ name, shape, type, from }) =>
      Buffer.concat([text(name), u32(shape.length), ...shape.map(u64), u32(type), u64(from)]),
    ),
  ]);
}

/** A small model: its shape, a vocabulary of six words and two tensors of 64 and 36 bytes. */
export const SMALL: GgufPlan = {
  fields: [
    ['general.architecture', 8, 'llama'],
    ['general.name', 8, 'x'.repeat(300)],
    ['llama.block_count', 4, 4],
    ['llama.embedding_length', 4, 64],
    ['llama.feed_forward_length', 4, 128],
    ['llama.attention.head_count', 4, 8],
    ['llama.attention.head_count_kv', 10, 2],
    ['llama.context_length', 5, 4096],
    ['llama.rope.freq_base', 6, 10_000],
    ['tokenizer.ggml.tokens', 9, ['a', 'b', 'c', 'd', 'e', 'f'], 8],
    ['tokenizer.ggml.scores', 9, [0.5, 1], 6],
    ['tokenizer.ggml.add_bos_token', 7, true],
  ],
  tensors: [
    { name: 'a', shape: [4, 8], type: 1, from: 0 },
    { name: 'b', shape: [32, 2], type: 2, from: 64 },
  ],
};
