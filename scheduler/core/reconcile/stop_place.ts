/**
 * A person ends one engine of a deployment, as one deletes a pod: its place is told to stop, and when its agent has confirmed
 * that, reconcile gives the replica a new one. Whichever scheduler is asked writes the event, under the version of the place
 * that it has seen, so that a leader that decides about the same place at the same time decides anew.
 */
import type { Entry } from '../events/projection.ts';
import type { AppendItem } from '../events/store_port.ts';
import {
  conflictOf,
  type Origin,
  type PlannedChange,
  type ResourceRef,
  type VersionConflict,
} from '../resources/changes.ts';
import { PLACE_KIND, type Place } from './contract.ts';
import { placeOf, placeValue } from './places.ts';

const MAX_REASON = 400;

function itemOf(place: Place, origin: Origin): AppendItem {
  const resource = { kind: PLACE_KIND, name: place.name };
  const expected = place.version;
  // It has not started: nobody has to confirm anything.
  if (place.phase === 'waiting') return { kind: 'placement.released', resource, ...origin, after: null, expected };
  const reason = `stopped by hand${origin.reason === '' ? '' : `: ${origin.reason}`}`.slice(0, MAX_REASON);
  const after = placeValue({ ...place, phase: 'stopping', reason });
  return { kind: 'placement.moved', resource, ...origin, after, expected };
}

/**
 * @param ref the engine as the caller names it, with the version of its place that it has seen
 * @param entry of its place now
 */
export function planStop(ref: ResourceRef, entry: Entry | undefined, origin: Origin): PlannedChange | VersionConflict {
  const { kind, name } = ref;
  const version = entry?.version ?? 0;
  const conflict = conflictOf(ref, version);
  if (conflict !== undefined) return conflict;
  const place = entry === undefined ? undefined : placeOf(entry);
  const planned = { kindOfPlan: 'planned' as const, kind, name, version, changes: [] };
  if (place === undefined) return { ...planned, outcome: 'not_found' };
  if (place.phase === 'stopping' || place.phase === 'lost') return { ...planned, outcome: 'unchanged' };
  return { ...planned, outcome: 'stopped', item: itemOf(place, origin) };
}
