/**
 * What a rollout's state means for reconcile: which revisions are to have how many replicas, and how each of them is now.
 * The state alone says so, and whoever leads writes it before anything is done, so every scheduler sees the same.
 */
import type { NodeId } from '../../../lib/ids.ts';
import type { FleetState } from '../fleet/state.ts';
import type { DeploymentSpec } from '../resources/contract.ts';
import type { ReplicaFacts, Revision, RolloutState, SmokeResult } from '../rollout/contract.ts';
import { specWith } from '../rollout/revision.ts';
import type { Declared, DeploymentResource, Place, RevisionTarget, Targets } from './contract.ts';
import { observe, RUNNING_STATE } from './observe.ts';
import { isStanding } from './places.ts';
import { gpuHold } from './quarantines.ts';
import { rollingTargets } from './wanted.ts';

/** Replicas by revision; revisions that are not named are to have none. */
function wantedOf({ running, current, seen }: RolloutState, replicas: number): Readonly<Record<string, number>> {
  return running === null ? { [current?.id ?? seen]: replicas } : running.wanted;
}

/** What stands is kept, as long as nobody has looked at the deployment. */
function standing(places: readonly Place[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const place of places) if (isStanding(place)) counts[place.revision] = (counts[place.revision] ?? 0) + 1;
  return counts;
}

/** Of what an adopted revision is made nobody wrote down but its places. */
const isKnown = (revision: Revision | null | undefined): revision is Revision =>
  revision !== null && revision !== undefined && Object.keys(revision.spec).length > 0;

function specOf(deployment: DeploymentResource, id: string, places: readonly Place[]): DeploymentSpec | undefined {
  const { revision, spec, rollout } = deployment;
  if (id === revision) return spec;
  const { running, current, history = [] } = rollout ?? {};
  const named = [current, running?.from, running?.to, ...history.map((entry) => entry.revision)];
  const known = named.filter(isKnown).find((each) => each.id === id);
  return known === undefined ? places.find((place) => place.revision === id)?.spec : specWith(spec, known);
}

/** Divides a deployment as its rollout says. */
export const rolloutTargets: Targets = (deployment, places) => {
  const { rollout, spec } = deployment;
  const wanted = rollout === undefined ? standing(places) : wantedOf(rollout, spec.replicas);
  return Object.entries(wanted).flatMap(([revision, replicas]): RevisionTarget[] => {
    const run = specOf(deployment, revision, places);
    return run === undefined ? [] : [{ revision, spec: run, replicas }];
  });
};

/** For a plan of what is not applied yet: a rollout that has not begun looks like its first step. */
export const foreseenTargets: Targets = (deployment, places, isReady) =>
  deployment.rollout?.seen === deployment.revision
    ? rolloutTargets(deployment, places, isReady)
    : rollingTargets(deployment, places, isReady);

type GpuFacts = Pick<ReplicaFacts, 'gpu' | 'gpuReason'>;
const RANK: readonly ReplicaFacts['gpu'][] = ['failed', 'degraded', 'ok'];

function gpuFacts(fleet: FleetState, quarantines: Declared['quarantines'], node: string, index: number): GpuFacts {
  const state = fleet.nodes.get(node as NodeId);
  const health = state?.telemetry?.gpus.find((each) => each.index === index)?.health;
  const healthReason = `its agent calls it ${health}`;
  const event = state?.gpuEvents.get(index);
  const where = `${node} GPU ${index}`;
  const uuid = state?.hello.gpus.find((each) => each.index === index)?.uuid;
  const held = gpuHold(quarantines, node, index, uuid);
  const quarantine = held?.why ?? (event?.quarantined === true ? event.message : undefined);
  if (quarantine !== undefined) return { gpu: 'failed', gpuReason: `${where}: ${quarantine}` };
  if (health === 'quarantined' || health === 'unhealthy')
    return { gpu: 'failed', gpuReason: `${where}: ${healthReason}` };
  return health === 'degraded' ? { gpu: 'degraded', gpuReason: `${where}: ${healthReason}` } : { gpu: 'ok' };
}

function worstGpu(fleet: FleetState, quarantines: Declared['quarantines'], { parts }: Place): GpuFacts {
  const all = parts.flatMap(({ node, gpus }) => gpus.map((index) => gpuFacts(fleet, quarantines, node, index)));
  all.sort((left, right) => RANK.indexOf(left.gpu) - RANK.indexOf(right.gpu));
  return all[0] ?? { gpu: 'ok' };
}

/** The life of the engine of a place that takes requests; undefined: its agent has not told of it. */
export function incarnationOf(fleet: FleetState, { engine, parts }: Place): number | undefined {
  const [first] = parts;
  return fleet.nodes.get(first?.node as NodeId)?.engines.get(engine)?.event.incarnation;
}

function stateOf(fleet: FleetState, place: Place): Pick<ReplicaFacts, 'state' | 'reason'> {
  switch (place.phase) {
    case 'waiting':
      return { state: 'placed', reason: `it waits for ${place.waitsFor.join(', ')} to stop` };
    case 'placed':
    case 'leaving': {
      const { state, detail } = observe(fleet, place);
      return { state: RUNNING_STATE[state], reason: detail };
    }
    case 'stopping':
    case 'lost':
      return { state: 'stopping', reason: place.reason };
  }
}

/**
 * The replicas of a deployment as a rollout wants to know them. A place on a lost node counts for nothing: nobody can tell
 * when it ends, and its replica is placed elsewhere.
 * @param smokeOf the newest answer of a life of a place's engine to the smoke prompt
 */
export function replicaFacts(
  { places, quarantines }: Pick<Declared, 'places' | 'quarantines'>,
  deployment: string,
  fleet: FleetState,
  smokeOf: (place: string, incarnation: number) => SmokeResult | undefined,
): ReplicaFacts[] {
  const mine = places.filter((place) => place.deployment === deployment && place.phase !== 'lost');
  return mine.map((place) => {
    const incarnation = incarnationOf(fleet, place);
    const smoke = incarnation === undefined ? undefined : smokeOf(place.name, incarnation);
    return {
      key: place.name,
      revision: place.revision,
      ...stateOf(fleet, place),
      restarts: Math.max(0, (incarnation ?? 1) - 1),
      ...worstGpu(fleet, quarantines, place),
      ...(smoke === undefined ? {} : { smoke }),
    };
  });
}
