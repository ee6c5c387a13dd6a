/**
 * Current state as a fold of the log: a table of entries by area, kind and name. An entry's version is the seq of the
 * event that put it, so that a version never comes again, not even after a deletion.
 */
import { decodeEvent, type FleetEvent, type ResourceRef } from './event.ts';
import { canonicalText, type JsonObject, type JsonValue } from './json.ts';
import { AREAS, type Area } from './kinds.ts';

export interface Entry {
  readonly area: Area;
  readonly kind: string;
  readonly name: string;
  /** The seq of the event that put it. */
  readonly version: number;
  readonly value: JsonValue;
  /** Wall clock of the store when it was put. */
  readonly atMs: number;
  /** Who put it. */
  readonly actor: string;
}

/** A desired resource as operators see it. */
export interface DesiredResource {
  readonly kind: string;
  readonly name: string;
  readonly version: number;
  readonly spec: JsonObject;
  readonly labels: Readonly<Record<string, string>>;
}

/** Why an event does not fit the state before it; `version` is the entry's own. */
export interface FoldProblem {
  readonly seq: number;
  readonly problem: 'out_of_order' | 'base_differs';
  readonly expected: number;
  readonly actual: number;
}

export interface Projection {
  /** The last event that is in it, 0 for none. */
  readonly seq: () => number;
  readonly atMs: () => number;
  readonly size: () => number;
  /** Adds one event. One that does not fit is taken all the same, so that one bad row does not hide the rest. */
  apply(event: FleetEvent): FoldProblem | undefined;
  get(area: Area, kind: string, name: string): Entry | undefined;
  /** Entries of an area by kind and name, of one kind where given. */
  list(area: Area, kind?: string): Entry[];
  entries(): IterableIterator<Entry>;
  /** The whole state as canonical text: the same state always gives the same text. */
  snapshot(): string;
}

/** An entry's key in maps, and its place in sorted lists. Names hold no blank. */
export const entryKey = (area: string, kind: string, name: string): string => `${area} ${kind} ${name}`;

export const compareKeys = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0);

/** What the read model keeps of an entry beside its key and version. */
export const entryBody = (entry: Entry): string =>
  canonicalText({ actor: entry.actor, atMs: entry.atMs, value: entry.value });

/** The reverse of entryBody; undefined when the text is not one. */
export function entryOf(area: string, kind: string, name: string, version: number, body: string): Entry | undefined {
  let parsed: { actor?: unknown; atMs?: unknown; value?: JsonValue } | null;
  try {
    parsed = JSON.parse(body) as typeof parsed;
  } catch {
    return undefined;
  }
  if (!AREAS.includes(area as Area) || typeof parsed !== 'object' || parsed === null) return undefined;
  const { actor, atMs, value } = parsed;
  if (typeof actor !== 'string' || typeof atMs !== 'number' || value === undefined) return undefined;
  return { area: area as Area, kind, name, version, value, atMs, actor };
}

export function createProjection(entries: Iterable<Entry> = [], seq = 0, atMs = 0): Projection {
  const table = new Map<string, Entry>();
  for (const entry of entries) table.set(entryKey(entry.area, entry.kind, entry.name), entry);
  let lastSeq = seq;
  let lastAtMs = atMs;

  const put = (event: FleetEvent): void => {
    const { area, resource, seq: version, after: value, atMs: at, actor } = event;
    const key = entryKey(area, resource.kind, resource.name);
    if (event.effect === 'put')
      table.set(key, { area, kind: resource.kind, name: resource.name, version, value, atMs: at, actor });
    else if (event.effect === 'remove') table.delete(key);
  };
  const sorted = (wanted: (entry: Entry) => boolean): Entry[] =>
    [...table]
      .filter(([, entry]) => wanted(entry))
      .sort(([left], [right]) => compareKeys(left, right))
      .map(([, entry]) => entry);

  return {
    seq: () => lastSeq,
    atMs: () => lastAtMs,
    size: () => table.size,
    apply(event) {
      const actual = table.get(entryKey(event.area, event.resource.kind, event.resource.name))?.version ?? 0;
      let problem: FoldProblem | undefined;
      if (event.seq !== lastSeq + 1)
        problem = { seq: event.seq, problem: 'out_of_order', expected: lastSeq + 1, actual: event.seq };
      else if (event.effect !== 'record' && event.base !== actual)
        problem = { seq: event.seq, problem: 'base_differs', expected: actual, actual: event.base };
      put(event);
      lastSeq = event.seq;
      lastAtMs = event.atMs;
      return problem;
    },
    get: (area, kind, name) => table.get(entryKey(area, kind, name)),
    list: (area, kind) => sorted((entry) => entry.area === area && (kind === undefined || entry.kind === kind)),
    entries: () => table.values(),
    snapshot: () => canonicalText(sorted(() => true).map((entry) => ({ ...entry }))),
  };
}

/** The reverse of Projection.snapshot; undefined when the text is not one. */
export function restoreProjection(snapshot: string, seq: number, atMs: number): Projection | undefined {
  try {
    const entries = JSON.parse(snapshot) as Entry[];
    const isSound = entries.every(
      ({ area, kind, name, version }) =>
        AREAS.includes(area) && typeof kind === 'string' && typeof name === 'string' && Number.isSafeInteger(version),
    );
    return isSound ? createProjection(entries, seq, atMs) : undefined;
  } catch {
    return undefined;
  }
}

/** How far a replay goes: both bounds are inclusive, absent ones do not bound. */
export interface Until {
  readonly seq?: number;
  readonly atMs?: number;
}

export interface Replayed {
  readonly projection: Projection;
  /** Events that do not fit, the first MAX_PROBLEMS of them. */
  readonly problems: readonly FoldProblem[];
  /** Whether the bound was met, so that no later row is needed. */
  readonly reachedEnd: boolean;
}

export const MAX_PROBLEMS = 100;

/** Folds events in the order of their seq until a bound, onto `start` (changed in place) or nothing. */
export function replay(
  events: Iterable<FleetEvent>,
  until: Until = {},
  start: Projection = createProjection(),
): Replayed {
  const problems: FoldProblem[] = [];
  for (const event of events) {
    if (event.seq > (until.seq ?? Infinity) || event.atMs > (until.atMs ?? Infinity))
      return { projection: start, problems, reachedEnd: true };
    const problem = start.apply(event);
    if (problem !== undefined && problems.length < MAX_PROBLEMS) problems.push(problem);
  }
  return { projection: start, problems, reachedEnd: false };
}

/** The desired resource in an entry of the area `desired`; undefined for others. */
export function desiredResource(entry: Entry): DesiredResource | undefined {
  if (entry.area !== 'desired') return undefined;
  const { spec, labels } = entry.value as unknown as Pick<DesiredResource, 'spec' | 'labels'>;
  return { kind: entry.kind, name: entry.name, version: entry.version, spec, labels };
}

/** The one entry that stops all reconcile fleet-wide. */
export const FLEET_FREEZE: ResourceRef = { kind: 'Fleet', name: 'fleet' };

/** Who froze the fleet and why, or undefined. */
export const freezeOf = (projection: Pick<Projection, 'get'>): Entry | undefined =>
  projection.get('freeze', FLEET_FREEZE.kind, FLEET_FREEZE.name);

/** The events of rows, without those whose body is none; verification names them. */
export function* eventsOf(rows: Iterable<{ readonly body: string }>): Generator<FleetEvent> {
  for (const { body } of rows) {
    const event = decodeEvent(body);
    if (event !== undefined) yield event;
  }
}
