/**
 * The difference of two resources, member by member, as `sophia diff` and `sophia plan` print it. Lists of objects are
 * compared place by place, lists of plain values as a whole.
 */
import { canonicalText, type JsonObject, type JsonValue } from '../events/json.ts';

/** One member that differs; an absent side means that it is not there. */
export interface FieldChange {
  /** Such as spec.rollout.steps or spec.taints[0].value. */
  readonly path: string;
  readonly before?: JsonValue;
  readonly after?: JsonValue;
}

/** Most changes that are told of one resource. */
export const MAX_CHANGES = 200;

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isObjectList = (value: JsonValue | undefined): value is readonly JsonObject[] =>
  Array.isArray(value) && value.length > 0 && value.every((item: JsonValue) => isObject(item));

const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** A key that holds a dot or a slash, such as that of a label, is quoted. */
const memberPath = (path: string, key: string): string =>
  PLAIN_KEY.test(key) ? (path === '' ? key : `${path}.${key}`) : `${path}[${JSON.stringify(key)}]`;

function compareKeysOf(before: JsonObject, after: JsonObject, path: string, out: FieldChange[]): void {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  for (const key of keys) {
    const left = Object.hasOwn(before, key) ? before[key] : undefined;
    const right = Object.hasOwn(after, key) ? after[key] : undefined;
    compare(left, right, memberPath(path, key), out);
  }
}

function compare(before: JsonValue | undefined, after: JsonValue | undefined, path: string, out: FieldChange[]): void {
  if (out.length >= MAX_CHANGES) return;
  if (isObject(before) && isObject(after)) {
    compareKeysOf(before, after, path, out);
    return;
  }
  if (isObjectList(before) && isObjectList(after)) {
    for (let index = 0; index < Math.max(before.length, after.length); index++)
      compare(before[index], after[index], `${path}[${index}]`, out);
    return;
  }
  if (before !== undefined && after !== undefined && canonicalText(before) === canonicalText(after)) return;
  out.push({ path, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) });
}

/** The members in which two values differ, in the order of their paths; at most MAX_CHANGES. */
export function diffValues(before: JsonObject, after: JsonObject): FieldChange[] {
  const out: FieldChange[] = [];
  compareKeysOf(before, after, '', out);
  return out;
}
