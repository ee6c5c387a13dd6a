/** How a deployment stands, out of its places and what agents say of them. */
import type { FleetState } from '../fleet/state.ts';
import type { DeploymentStatus, ReplicaView } from '../resources/contract.ts';
import type { DeploymentResource, Place } from './contract.ts';
import { observe, type Observed, RUNNING_STATE } from './observe.ts';
import { isStanding } from './places.ts';

type View = Pick<ReplicaView, 'state' | 'reason'>;

function viewOf(place: Place, seen: Observed): View {
  switch (place.phase) {
    case 'waiting':
      return { state: 'placed', reason: `waits for ${place.waitsFor.join(', ')} to stop` };
    case 'placed':
      return { state: RUNNING_STATE[seen.state], reason: seen.detail };
    case 'leaving':
      return { state: 'draining', reason: `${place.reason}; it serves until its successor is ready` };
    default:
      return { state: 'stopping', reason: place.reason };
  }
}

function replicaView(place: Place, seen: Observed): ReplicaView {
  const { index, revision, engine, parts } = place;
  return {
    index,
    revision,
    engines: parts.map(({ node }) => `${node}/${engine}`),
    gpus: parts.map(({ node, gpus }) => ({ node, gpus })),
    ...viewOf(place, seen),
  };
}

/** Whether a place answers requests: it is to run, and its engines are ready. */
export const isServing = (place: Place, seen: Observed): boolean =>
  (place.phase === 'placed' || place.phase === 'leaving') && seen.state === 'ready';

/** @param whyPending of a replica without a place, in words */
export function statusOf(
  deployment: DeploymentResource,
  places: readonly Place[],
  fleet: FleetState,
  whyPending: () => string,
): DeploymentStatus {
  const mine = places.filter((place) => place.deployment === deployment.name);
  const seen = new Map(mine.map((place) => [place, observe(fleet, place)]));
  const { replicas: wanted } = deployment.spec;
  const views = mine.map((place) => replicaView(place, seen.get(place) as Observed));
  const standing = mine.filter(isStanding);
  const taken = new Set(standing.filter(({ revision }) => revision === deployment.revision).map(({ index }) => index));
  const missing = wanted - standing.length;
  const reason = missing > 0 ? whyPending() : '';
  for (let index = 0, left = missing; left > 0; index++) {
    if (taken.has(index)) continue;
    left -= 1;
    views.push({ index, revision: deployment.revision, engines: [], gpus: [], state: 'pending', reason });
  }
  // A replica that moves counts once, though two of it serve for a moment.
  const serving = new Set(
    mine
      .filter((place) => isServing(place, seen.get(place) as Observed))
      .map(({ revision, index }) => `${revision}/${index}`),
  );
  return {
    observedVersion: deployment.version,
    wanted,
    ready: Math.min(wanted, serving.size),
    replicas: views.sort((left, right) => left.index - right.index),
  };
}
