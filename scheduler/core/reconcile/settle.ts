/**
 * The part of a pass that follows what has happened: places whose end is confirmed are released, those that waited for them
 * start, those whose successor is ready stop. It decides nothing that an operator or the planner would have to.
 */
import type { NodeId } from '../../../lib/ids.ts';
import type { Place } from './contract.ts';
import type { Draft } from './draft.ts';
import { type FleetFacts, isLost } from './fleet_view.ts';
import { isGoneFrom, observe } from './observe.ts';
import { isOrderedOn } from './places.ts';

export interface SettleFacts extends FleetFacts {
  /** Of the newest orders of a node; undefined: it got none from this leader. */
  readonly generationOf: (node: string) => number | undefined;
}

/** Nobody will ever confirm it: an operator has said that the node is gone for good, and it is not here. */
function isWrittenOff({ declared, fleet }: FleetFacts, place: Place): boolean {
  return place.parts.every(
    ({ node }) =>
      declared.nodes.get(node)?.spec.retired === true && fleet.nodes.get(node as NodeId)?.connected !== true,
  );
}

/** What nobody has confirmed yet to have ended, host by host. */
function partsLeft({ fleet, generationOf }: SettleFacts, place: Place): Place['parts'] {
  return place.parts.filter(
    ({ node }) =>
      isOrderedOn(place, node) || !isGoneFrom(fleet.nodes.get(node as NodeId), place.engine, generationOf(node)),
  );
}

function settleEnding(draft: Draft, facts: SettleFacts, place: Place): void {
  const left = partsLeft(facts, place);
  if (left.length === 0) draft.release(place, 'its agent confirms that it has stopped');
  else if (isWrittenOff(facts, place)) draft.release(place, 'its node is retired and gone');
  else if (place.phase === 'stopping' && place.parts.some(({ node }) => isLost(facts, node)))
    draft.move(place, 'lost', 'its node was lost before it confirmed the stop');
  else if (left.length < place.parts.length) {
    const gone = place.parts.filter((part) => !left.includes(part)).map(({ node }) => node);
    draft.keepParts(place, left, `its part on ${gone.join(' and ')} has stopped`);
  }
}

function settleWaiting(draft: Draft, place: Place): void {
  if (place.waitsFor.some((name) => draft.find(name) !== undefined)) return;
  draft.move(place, 'placed', 'what it waited for has stopped');
}

function settleLeaving(draft: Draft, facts: SettleFacts, place: Place, successor: Place | undefined): void {
  if (successor === undefined) {
    draft.move(place, 'placed', 'its successor is not wanted any more');
    return;
  }
  if (observe(facts.fleet, successor).state === 'ready') draft.move(place, 'stopping', 'its successor is ready');
  else if (place.parts.some(({ node }) => isLost(facts, node)))
    draft.move(place, 'lost', 'its node was lost while it was being moved');
}

export function settle(draft: Draft, facts: SettleFacts): void {
  const { places } = draft;
  for (const place of places)
    if (place.phase === 'stopping' || place.phase === 'lost') settleEnding(draft, facts, place);
  for (const place of places) if (place.phase === 'waiting') settleWaiting(draft, place);
  const successors = new Map<string, Place>();
  for (const place of draft.places) {
    const isLive = place.phase === 'placed' || place.phase === 'waiting' || place.phase === 'leaving';
    if (place.replaces !== undefined && isLive) successors.set(place.replaces, place);
  }
  for (const place of places)
    if (place.phase === 'leaving') settleLeaving(draft, facts, place, successors.get(place.name));
}
