/**
 * How many bytes a model's weights are, by the headers of its safetensors files alone: the first 8 bytes are the length of a JSON
 * header (unsigned, little endian), which names each tensor's type, shape and place. Only the header has to be fetched. The
 * bytes are foreign: every number is checked before it counts. Source: the format's description in the safetensors README
 * (huggingface/safetensors), with its limit of 100 MB for a header.
 */

/** Most bytes of a header, as in the reference implementation. */
const MOST_HEADER_BYTES = 100_000_000;

/** Bits of one element; types of less than a byte are packed. */
const DTYPE_BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
};

export interface SafetensorsHeader {
  readonly kind: 'header';
  /** Bytes of all tensors, without the header. */
  readonly tensorBytes: number;
  readonly tensors: number;
  /** Bytes by type, the largest first. */
  readonly byDtype: readonly { readonly dtype: string; readonly bytes: number }[];
}

export type SafetensorsResult =
  | SafetensorsHeader
  /** More of the file's beginning is needed. */
  | { readonly kind: 'short'; readonly needBytes: number }
  | { readonly kind: 'malformed'; readonly why: string };

/** @param head the beginning of a file: 8 bytes say how much is needed */
export function readSafetensorsHeader(head: Uint8Array): SafetensorsResult {
  if (head.length < 8) return { kind: 'short', needBytes: 8 };
  const size = Number(new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true));
  if (size < 2 || size > MOST_HEADER_BYTES) return malformed(`its header would be ${size} bytes`);
  if (head.length < 8 + size) return { kind: 'short', needBytes: 8 + size };
  const entries = parse(head.subarray(8, 8 + size));
  return entries === undefined ? malformed('its header is no JSON object') : sumUp(entries);
}

const malformed = (why: string): SafetensorsResult => ({ kind: 'malformed', why });

function parse(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return isObject(value) ? value : undefined;
  } catch {
    // Neither UTF-8 nor JSON: the caller says so.
    return undefined;
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function sumUp(entries: Readonly<Record<string, unknown>>): SafetensorsResult {
  const bytesOf = new Map<string, number>();
  const ranges: [number, number][] = [];
  for (const [name, entry] of Object.entries(entries)) {
    if (name === '__metadata__') continue;
    const tensor = tensorOf(entry);
    if (tensor === undefined) return malformed(`the tensor ${name} is not described rightly`);
    const { dtype, from, to } = tensor;
    ranges.push([from, to]);
    bytesOf.set(dtype, (bytesOf.get(dtype) ?? 0) + to - from);
  }
  ranges.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  for (const [i, [from]] of ranges.entries())
    if (from !== (ranges[i - 1]?.[1] ?? 0)) return malformed('its tensors leave gaps or overlap');
  const byDtype = [...bytesOf].map(([dtype, bytes]) => ({ dtype, bytes })).sort((a, b) => b.bytes - a.bytes);
  return { kind: 'header', tensorBytes: ranges.at(-1)?.[1] ?? 0, tensors: ranges.length, byDtype };
}

function tensorOf(entry: unknown): { readonly dtype: string; readonly from: number; readonly to: number } | undefined {
  if (!isObject(entry)) return undefined;
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string' || !Array.isArray(shape) || !Array.isArray(offsets)) return undefined;
  const [from, to] = offsets as unknown[];
  const bits = Object.hasOwn(DTYPE_BITS, dtype) ? DTYPE_BITS[dtype] : undefined;
  if (bits === undefined || !shape.every(isCount) || !isCount(from) || !isCount(to)) return undefined;
  const elements = shape.reduce((product, size) => product * size, 1);
  return (elements * bits) / 8 === to - from ? { dtype, from, to } : undefined;
}
