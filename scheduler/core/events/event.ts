/**
 * An event and its row. The row keeps the event as canonical JSON (`body`), because the hash is over exactly these
 * bytes; the other columns repeat parts of it for the sake of indexes, and verification compares them.
 */
import { canonicalJson, canonicalText, type JsonObject, type JsonValue } from './json.ts';
import { AREAS, type Area, type Effect, type EventKind, isEventKind, kindSpec } from './kinds.ts';

/** The name of an entry of the state within its area. */
export interface ResourceRef {
  /** Such as Deployment, Node, Engine, Key. */
  readonly kind: string;
  readonly name: string;
}

/** What a caller knows of an event before it is written. */
export interface EventDraft {
  readonly kind: EventKind;
  readonly resource: ResourceRef;
  /** Who: a subject such as `key:abc` or `scheduler:a`. */
  readonly actor: string;
  /** Why, in a person's or the program's words. */
  readonly reason: string;
  /** Ties events, requests and log lines of one cause together. */
  readonly correlationId: string;
  /** The entry's value from now on; null for `remove`. For the area `desired`: { spec, labels }. */
  readonly after: JsonValue;
}

/** An event as it is in the log. */
export interface FleetEvent {
  readonly seq: number;
  /** Wall clock of the store, milliseconds; never falls along the log. */
  readonly atMs: number;
  /** A name of EVENT_KINDS, or of a newer version's table. */
  readonly kind: string;
  readonly area: Area;
  readonly effect: Effect;
  readonly resource: ResourceRef;
  readonly actor: string;
  readonly reason: string;
  readonly correlationId: string;
  /** Version of the entry before: the seq of the event that last put it, 0 when there was none. */
  readonly base: number;
  readonly before: JsonValue;
  readonly after: JsonValue;
}

/** One row of the log. Hashes are 64 hex digits. */
export interface EventRow {
  readonly seq: number;
  readonly atMs: number;
  readonly kind: string;
  readonly resourceKind: string;
  readonly resourceName: string;
  readonly prevHash: string;
  readonly hash: string;
  readonly body: string;
}

/** Most bytes (UTF-16 units) of one event's body. */
export const MAX_BODY_CHARACTERS = 512 * 1024;
const MAX_WORDS = 512;
const KIND = /^[A-Z][A-Za-z0-9]{0,62}$/;
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._:/@-]{0,251}[A-Za-z0-9])?$/;
const LABEL_KEY = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,315}[A-Za-z0-9])?$/;
const MAX_LABEL_VALUE = 256;
const MAX_LABELS = 64;

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function desiredProblem(after: JsonValue): string | undefined {
  if (!isObject(after) || !isObject(after['spec']) || !isObject(after['labels']))
    return 'after must be { spec, labels }, both objects';
  if (Object.keys(after).length !== 2) return 'after may have spec and labels only';
  const labels = Object.entries(after['labels']);
  if (labels.length > MAX_LABELS) return `at most ${MAX_LABELS} labels`;
  const bad = labels.find(
    ([key, value]) => !LABEL_KEY.test(key) || typeof value !== 'string' || value.length > MAX_LABEL_VALUE,
  );
  return bad === undefined ? undefined : `the label ${JSON.stringify(bad[0].slice(0, 64))} is not allowed`;
}

function wordsProblem(draft: EventDraft): string | undefined {
  for (const field of ['actor', 'reason', 'correlationId'] as const) {
    const text: unknown = draft[field];
    if (typeof text !== 'string' || text.length > MAX_WORDS) return `${field} must be up to ${MAX_WORDS} characters`;
  }
  return draft.actor === '' ? 'actor must not be empty' : undefined;
}

/** What is wrong with a draft, in words for its author, or undefined. */
export function draftProblem(draft: EventDraft): string | undefined {
  if (!isEventKind(draft.kind)) return `there is no kind of event called ${JSON.stringify(String(draft.kind))}`;
  if (!KIND.test(draft.resource.kind)) return 'resource.kind must be a capital and up to 62 letters or digits';
  if (!NAME.test(draft.resource.name)) return 'resource.name must be 1 to 253 letters, digits and . _ : / @ -';
  const words = wordsProblem(draft);
  if (words !== undefined) return words;
  const { area, effect } = kindSpec(draft.kind);
  if (effect === 'remove' && draft.after !== null) return 'after must be null where an entry is removed';
  if (effect === 'put' && draft.after === null) return 'after must not be null';
  if (effect === 'put' && area === 'desired') {
    const problem = desiredProblem(draft.after);
    if (problem !== undefined) return problem;
  }
  const canonical = canonicalJson([draft.actor, draft.reason, draft.correlationId, draft.after]);
  if (!canonical.ok) return `the value at ${canonical.path} ${canonical.problem}`;
  return canonical.text.length > MAX_BODY_CHARACTERS / 2
    ? `the event is larger than ${MAX_BODY_CHARACTERS / 2} characters`
    : undefined;
}

/** The bytes that the hash is over. */
export function encodeEvent(event: FleetEvent): string {
  return canonicalText({ ...event, resource: { kind: event.resource.kind, name: event.resource.name } });
}

const wholeNumber = (value: unknown): value is number => typeof value === 'number' && Number.isSafeInteger(value);
const EFFECTS: readonly unknown[] = ['put', 'remove', 'record'] satisfies Effect[];

/** Reads a body; undefined when it is not that of an event. */
export function decodeEvent(body: string): FleetEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { seq, atMs, base, kind, area, effect, resource, actor, reason, correlationId } = value;
  const isSound =
    wholeNumber(seq) &&
    wholeNumber(atMs) &&
    wholeNumber(base) &&
    [kind, actor, reason, correlationId].every((word) => typeof word === 'string') &&
    AREAS.includes(area as Area) &&
    EFFECTS.includes(effect) &&
    isObject(resource) &&
    typeof resource['kind'] === 'string' &&
    typeof resource['name'] === 'string' &&
    value['before'] !== undefined &&
    value['after'] !== undefined;
  return isSound ? (value as unknown as FleetEvent) : undefined;
}
