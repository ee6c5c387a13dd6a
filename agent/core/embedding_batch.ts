/**
 * Several small embedding calls as one: the engine's API takes an array of inputs, and one forward pass over ten short
 * texts costs little more than one over a single text. Only calls whose parameters are equal go together. The answer is
 * split by bytes, not parsed: a vector of thousands of numbers goes through as the engine wrote it.
 *
 * Usage: an engine tells one sum for the whole call. A caller's share is by the size of its inputs (token ids where they
 * were given, else UTF-8 bytes), in whole tokens that add up to the engine's figure.
 */
import { scanJson, type TopLevelMember } from '../../lib/json_scan.ts';

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const MAX_DEPTH = 32;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;

/** One caller's part of a batch. */
export interface EmbeddingCall {
  /** Calls with the same key may share one call of the engine. */
  readonly key: string;
  /** The inputs as JSON texts, without the brackets of their array. */
  readonly inputsJson: string;
  readonly inputs: number;
  /** What its share of the usage is measured by; at least 1. */
  readonly size: number;
}

interface InputsShape {
  readonly kind: 'text' | 'ids';
  readonly texts: string;
  readonly count: number;
  readonly size: number;
}

const isIds = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && value.every((one) => Number.isSafeInteger(one));

function shapeOf(input: unknown): InputsShape | undefined {
  if (typeof input === 'string') return shapeOf([input]);
  if (isIds(input)) return shapeOf([input]);
  if (!Array.isArray(input) || input.length === 0) return undefined;
  const texts = input.map((one) => JSON.stringify(one)).join(',');
  if (input.every((one) => typeof one === 'string')) {
    const size = input.reduce((sum: number, one: string) => sum + encoder.encode(one).length, 0);
    return { kind: 'text', texts, count: input.length, size: Math.max(1, size) };
  }
  if (!input.every(isIds)) return undefined;
  const size = input.reduce((sum: number, one: number[]) => sum + one.length, 0);
  return { kind: 'ids', texts, count: input.length, size };
}

/** The body of a call as a part of a batch; undefined when it must go alone. */
export function readEmbeddingCall(body: Uint8Array): EmbeddingCall | undefined {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(body));
  } catch {
    // The engine is the one to say what is wrong with it.
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const { input, ...rest } = value as Record<string, unknown>;
  const shape = shapeOf(input);
  if (shape === undefined) return undefined;
  const entries = Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    key: `${shape.kind} ${JSON.stringify(entries)}`,
    inputsJson: shape.texts,
    inputs: shape.count,
    size: shape.size,
  };
}

/** The body of the common call. All calls have the key of the first, whose parameters it takes. */
export function mergeEmbeddingCalls(calls: readonly EmbeddingCall[]): Uint8Array {
  const [first] = calls as readonly [EmbeddingCall];
  const entries = JSON.parse(first.key.slice(first.key.indexOf(' ') + 1)) as [string, unknown][];
  const parameters = entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)},`).join('');
  return encoder.encode(`{${parameters}"input":[${calls.map((call) => call.inputsJson).join(',')}]}`);
}

/** Whole shares of `total` by `sizes`, which add up to `total`: the largest remainders get what is left over. */
export function shares(total: number, sizes: readonly number[]): number[] {
  const sum = sizes.reduce((all, size) => all + size, 0);
  const exact = sizes.map((size) => (total * size) / sum);
  const whole = exact.map(Math.floor);
  const left = total - whole.reduce((all, one) => all + one, 0);
  const order = exact.map((value, at) => ({ at, rest: value - Math.floor(value) })).sort((a, b) => b.rest - a.rest);
  for (const { at } of order.slice(0, left)) whole[at] = (whole[at] as number) + 1;
  return whole;
}

/** Where the values of an array begin and end; undefined when it is none. The bytes are well-formed JSON. */
function elementsOf(
  bytes: Uint8Array,
  start: number,
  end: number,
): (readonly [from: number, to: number])[] | undefined {
  if (bytes[start] !== OPEN_BRACKET) return undefined;
  const found: (readonly [number, number])[] = [];
  let depth = 0;
  let from = start + 1;
  for (let at = start + 1; at < end - 1; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      for (at += 1; bytes[at] !== QUOTE; at++) if (bytes[at] === BACKSLASH) at += 1;
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth += 1;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth -= 1;
    else if (byte === COMMA && depth === 0) {
      found.push([from, at]);
      from = at + 1;
    }
  }
  found.push([from, end - 1]);
  return found;
}

const textOf = (bytes: Uint8Array, member: TopLevelMember): string =>
  decoder.decode(bytes.subarray(member.valueStart, member.valueEnd));

/** The vectors in the order of their inputs, each without its index: what stands before and behind the number. */
function vectorsOf(bytes: Uint8Array, data: TopLevelMember, inputs: number): (readonly [string, string])[] | undefined {
  const elements = elementsOf(bytes, data.valueStart, data.valueEnd);
  if (elements?.length !== inputs) return undefined;
  const vectors: (readonly [string, string])[] = new Array(inputs);
  for (const [from, to] of elements) {
    const element = bytes.subarray(from, to);
    const scan = scanJson(element, { maxDepth: MAX_DEPTH });
    const index = scan.ok ? scan.members.find((member) => member.key === 'index') : undefined;
    if (index === undefined) return undefined;
    const place = Number(textOf(element, index));
    if (!Number.isInteger(place) || place < 0 || place >= inputs || vectors[place] !== undefined) return undefined;
    vectors[place] = [
      decoder.decode(element.subarray(0, index.valueStart)),
      decoder.decode(element.subarray(index.valueEnd)),
    ];
  }
  return vectors;
}

/** The usage objects of the callers, as JSON texts; undefined when the answer tells none that can be shared. */
function usagesOf(text: string, sizes: readonly number[]): string[] | undefined {
  const usage = JSON.parse(text) as Record<string, unknown> | null;
  const prompt = usage?.['prompt_tokens'];
  if (typeof prompt !== 'number' || !Number.isSafeInteger(prompt) || prompt < 0) return undefined;
  return shares(prompt, sizes).map((tokens) =>
    JSON.stringify({ ...usage, prompt_tokens: tokens, total_tokens: tokens, prompt_tokens_details: undefined }),
  );
}

/**
 * The answers of the callers out of the answer of the common call, in the order of `calls`; undefined when it is not one
 * vector for each input, with usage: then each must be asked for alone.
 */
export function splitEmbeddingAnswer(answer: Uint8Array, calls: readonly EmbeddingCall[]): Uint8Array[] | undefined {
  const scan = scanJson(answer, { maxDepth: MAX_DEPTH });
  if (!scan.ok) return undefined;
  const data = scan.members.find((member) => member.key === 'data');
  const usage = scan.members.find((member) => member.key === 'usage');
  if (data === undefined || usage === undefined) return undefined;
  const inputs = calls.reduce((sum, call) => sum + call.inputs, 0);
  const vectors = vectorsOf(answer, data, inputs);
  const sizes = calls.map((call) => call.size);
  const usages = usagesOf(textOf(answer, usage), sizes);
  if (vectors === undefined || usages === undefined) return undefined;
  let next = 0;
  return calls.map((call, at) => {
    const own = vectors.slice(next, next + call.inputs);
    next += call.inputs;
    const list = own.map(([before, after], index) => `${before}${index}${after}`).join(',');
    const members = scan.members.map((member) => {
      const key = JSON.stringify(member.key);
      if (member === data) return `${key}:[${list}]`;
      return `${key}:${member === usage ? (usages[at] as string) : textOf(answer, member)}`;
    });
    return encoder.encode(`{${members.join(',')}}`);
  });
}
