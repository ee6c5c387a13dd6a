/**
 * From what is wanted to events: what an apply or a delete comes to, given the entry that is there. Pure; the caller looks
 * the entries up, writes the items, and decides anew when somebody else was faster.
 */
import type { JsonObject, JsonValue } from '../events/json.ts';
import type { Area, EventKind } from '../events/kinds.ts';
import { type Entry, FLEET_FREEZE } from '../events/projection.ts';
import type { AppendItem } from '../events/store_port.ts';
import type { Resource, ResourceKind } from './contract.ts';
import { diffValues, type FieldChange } from './diff.ts';
import { keptSince } from './quarantine.ts';

/** Who changes something, why, and what ties it to the request. */
export interface Origin {
  readonly actor: string;
  readonly reason: string;
  readonly correlationId: string;
}

export interface ResourceName {
  readonly kind: ResourceKind;
  readonly name: string;
}

/** A name with the version that the caller has seen; 0: it must not be there. */
export interface ResourceRef extends ResourceName {
  readonly version?: number;
}

/** `stopped`: one engine of a deployment was told to end, and its replica gets a new place. */
export type Outcome = 'created' | 'changed' | 'unchanged' | 'deleted' | 'stopped' | 'not_found';

export interface PlannedChange extends ResourceName {
  readonly kindOfPlan: 'planned';
  readonly outcome: Outcome;
  /** Before the change; 0: it was not there. */
  readonly version: number;
  readonly changes: readonly FieldChange[];
  /** Absent when there is nothing to write. */
  readonly item?: AppendItem;
}

export interface VersionConflict extends ResourceName {
  readonly kindOfPlan: 'conflict';
  readonly expected: number;
  readonly actual: number;
}

/** Where resources are kept and which events change them. */
const KEPT: Readonly<Record<'desired' | 'quarantine', Readonly<Record<'created' | 'changed' | 'deleted', EventKind>>>> =
  {
    desired: { created: 'desired.created', changed: 'desired.changed', deleted: 'desired.deleted' },
    quarantine: { created: 'quarantine.set', changed: 'quarantine.set', deleted: 'quarantine.lifted' },
  };

/** The area of the log in which resources of a kind are entries. */
export const areaOf = (kind: ResourceKind): Extract<Area, 'desired' | 'quarantine'> =>
  kind === 'Quarantine' ? 'quarantine' : 'desired';

type Value = { readonly spec: JsonObject; readonly labels: Readonly<Record<string, string>> };

const valueOf = ({ spec, metadata }: Resource): Value => ({ spec, labels: metadata.labels });

const NOTHING: Value = { spec: {}, labels: {} };

/** A resource as it was declared, from its entry. */
export function resourceOf(entry: Entry): Resource {
  const { spec, labels } = entry.value as unknown as Value;
  const { kind, name, version } = entry;
  return { apiVersion: 'sophia/v1', kind: kind as ResourceKind, metadata: { name, labels, version }, spec };
}

/** Undefined: the caller's version holds, or it named none. */
export function conflictOf(ref: ResourceRef, actual: number): VersionConflict | undefined {
  const { kind, name, version: expected } = ref;
  return expected === undefined || expected === actual
    ? undefined
    : { kindOfPlan: 'conflict', kind, name, expected, actual };
}

/** What an entry holds of a resource: a quarantine that ends after a while also when that began, where it began before. */
function written(kind: ResourceKind, after: Value, current: Entry | undefined): JsonValue {
  const sinceMs = kind === 'Quarantine' ? keptSince(after.spec, current) : undefined;
  return sinceMs === undefined ? after : { ...after, sinceMs };
}

/**
 * What applying a resource does.
 * @param current its entry now, or undefined
 */
export function planApply(
  resource: Resource,
  current: Entry | undefined,
  origin: Origin,
): PlannedChange | VersionConflict {
  const { kind, metadata } = resource;
  const { name } = metadata;
  const version = current?.version ?? 0;
  const conflict = conflictOf({ kind, ...metadata }, version);
  if (conflict !== undefined) return conflict;
  const after = valueOf(resource);
  const { spec, labels } = current === undefined ? NOTHING : (current.value as unknown as Value);
  const changes = diffValues({ spec, labels }, after);
  const planned = { kindOfPlan: 'planned' as const, kind, name, version, changes };
  if (current !== undefined && changes.length === 0) return { ...planned, outcome: 'unchanged' };
  const item: AppendItem = {
    kind: KEPT[areaOf(kind)][current === undefined ? 'created' : 'changed'],
    resource: { kind, name },
    ...origin,
    after: written(kind, after, current),
    // What was decided on must still be there, also when the caller named no version.
    expected: version,
  };
  return { ...planned, outcome: current === undefined ? 'created' : 'changed', item };
}

/** What deleting a resource does. */
export function planDelete(
  ref: ResourceRef,
  current: Entry | undefined,
  origin: Origin,
): PlannedChange | VersionConflict {
  const { kind, name } = ref;
  const version = current?.version ?? 0;
  const conflict = conflictOf(ref, version);
  if (conflict !== undefined) return conflict;
  const planned = { kindOfPlan: 'planned' as const, kind, name, version, changes: [] };
  if (current === undefined) return { ...planned, outcome: 'not_found' };
  const item: AppendItem = {
    kind: KEPT[areaOf(kind)].deleted,
    resource: { kind, name },
    ...origin,
    after: null,
    expected: version,
  };
  return { ...planned, outcome: 'deleted', item };
}

/** The event that stops all reconcile, whoever had stopped it before. */
export const freezeItem = (origin: Origin): AppendItem => ({
  kind: 'freeze.set',
  resource: FLEET_FREEZE,
  ...origin,
  after: { reason: origin.reason },
});

export const unfreezeItem = (origin: Origin): AppendItem => ({
  kind: 'freeze.lifted',
  resource: FLEET_FREEZE,
  ...origin,
  after: null,
});

/** Pieces of at most `size` items, in order. */
export function piecesOf<Item>(items: readonly Item[], size: number): Item[][] {
  const pieces: Item[][] = [];
  for (let at = 0; at < items.length; at += size) pieces.push(items.slice(at, at + size));
  return pieces;
}
