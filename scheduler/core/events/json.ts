/**
 * JSON in one spelling only, because the hash of an event is over its bytes: two schedulers that mean the same must
 * write the same. The form is that of RFC 8785 (JSON Canonicalization Scheme): no blanks, keys by their UTF-16 code
 * units, numbers and strings as ECMAScript prints them.
 */

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

export type Canonical =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly path: string; readonly problem: string };

/** Deeper values are refused: nothing that an operator writes nests so far. */
export const MAX_JSON_DEPTH = 32;

// PostgreSQL's jsonb takes neither of them, and a lone surrogate has no UTF-8.
const BAD_TEXT = /\0|\p{Surrogate}/u;

interface Failure {
  path: string;
  problem: string;
}

function textOf(value: string, path: string, failure: Failure): string {
  if (BAD_TEXT.test(value)) {
    failure.path ||= path;
    failure.problem ||= 'has a zero byte or half of a surrogate pair';
  }
  return JSON.stringify(value);
}

function fail(path: string, problem: string, failure: Failure): string {
  failure.path ||= path;
  failure.problem ||= problem;
  return 'null';
}

function write(value: unknown, path: string, depth: number, failure: Failure): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') {
    return Number.isFinite(value) ? JSON.stringify(value) : fail(path, 'is not a finite number', failure);
  }
  if (typeof value === 'string') return textOf(value, path, failure);
  if (typeof value !== 'object') return fail(path, `is ${typeof value}, which JSON does not have`, failure);
  if (depth >= MAX_JSON_DEPTH) return fail(path, `nests deeper than ${MAX_JSON_DEPTH}`, failure);
  if (Array.isArray(value)) {
    return `[${value.map((item, index) => write(item, `${path}[${index}]`, depth + 1, failure)).join(',')}]`;
  }
  const object = value as Readonly<Record<string, unknown>>;
  const parts = Object.keys(object)
    .sort()
    .map((key) => `${textOf(key, path, failure)}:${write(object[key], `${path}.${key}`, depth + 1, failure)}`);
  return `{${parts.join(',')}}`;
}

/**
 * The one spelling of a value, or where and why it has none. `undefined`, NaN, functions, zero bytes, lone surrogates
 * and more than MAX_JSON_DEPTH levels have none.
 */
export function canonicalJson(value: unknown): Canonical {
  const failure: Failure = { path: '', problem: '' };
  const text = write(value, '$', 0, failure);
  return failure.problem === '' ? { ok: true, text } : { ok: false, ...failure };
}

/** As canonicalJson, for values of which the program knows that they have a spelling. */
export function canonicalText(value: JsonValue): string {
  const result = canonicalJson(value);
  if (!result.ok) throw new TypeError(`The value at ${result.path} ${result.problem}.`);
  return result.text;
}
