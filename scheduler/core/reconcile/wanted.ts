/**
 * What is wanted of each deployment, revision by revision, in placement's terms. Without a rollout that says otherwise a
 * deployment rolls to its newest revision one replica at a time: one more is started, and an old one goes when it is ready.
 */
import { modelName } from '../fleet/models_on_disk.ts';
import type { FleetState } from '../fleet/state.ts';
import type { Requirement, WantedDeployment } from '../placement/contract.ts';
import { HOSTNAME_KEY, NODE_NAME_KEY } from '../placement/requirements.ts';
import type { Declared, DeploymentResource, Place, RevisionTarget, Targets } from './contract.ts';
import type { DeploymentSpec } from '../resources/contract.ts';
import { plannerName } from './fleet_view.ts';
import { gpuSizes, memoryNeed, type MemoryNeed, type NeedContext } from './memory_need.ts';
import { KNOWS_NOTHING, type ModelKnowledge } from './model_book.ts';
import { isStanding } from './places.ts';

const MAX_SURGE = 1;

/** Rolls by one replica at a time. Old revisions give up their places newest last. */
export const rollingTargets: Targets = (deployment, places, isReady) => {
  const { revision, spec } = deployment;
  const mine = places.filter(isStanding);
  const old = new Map<string, Place[]>();
  for (const place of mine)
    if (place.revision !== revision) old.set(place.revision, [...(old.get(place.revision) ?? []), place]);
  if (old.size === 0) return [{ revision, spec, replicas: spec.replicas }];
  const ready = mine.filter((place) => place.revision === revision && isReady(place)).length;
  const surge = spec.rollout?.maxSurge ?? MAX_SURGE;
  const targets: RevisionTarget[] = [{ revision, spec, replicas: Math.min(spec.replicas, ready + Math.max(1, surge)) }];
  // Where none may be above the wanted number, old ones go first.
  const missed = surge > 0 ? 0 : Math.max(1, spec.rollout?.maxUnavailable ?? 1);
  let left = Math.max(0, spec.replicas - ready - missed);
  for (const group of old.values()) {
    const replicas = Math.min(left, group.length);
    left -= replicas;
    const [first] = group as [Place, ...Place[]];
    targets.push({ revision: first.revision, spec: first.spec, replicas });
  }
  return targets;
};

/** The nodes of a pool; a pool that is not there has none. */
function poolConstraints(declared: Declared, pool: string | undefined): readonly Requirement[] {
  if (pool === undefined) return [];
  return declared.pools.get(pool)?.nodes ?? [{ key: 'sophia/pool', operator: 'In', values: [pool] }];
}

/** A declared engine runs where its revision says, and nowhere else. */
const pinned = ({ node }: DeploymentSpec): readonly Requirement[] =>
  node === undefined ? [] : [{ key: NODE_NAME_KEY, operator: 'In', values: [node] }];

function avoided(declared: Declared, deployment: string, wallMs: number): readonly Requirement[] {
  const values = declared.avoidances
    .filter((each) => each.deployment === deployment && each.untilMs > wallMs)
    .map((each) => each.node);
  return values.length === 0 ? [] : [{ key: HOSTNAME_KEY, operator: 'NotIn', values }];
}

export interface WantedContext {
  readonly declared: Declared;
  readonly fleet: FleetState;
  /** The store's clock, as well as it is known. */
  readonly wallMs: number;
  readonly isReady: (place: Place) => boolean;
  readonly targets: Targets;
  /** Absent: nothing is known of any model. */
  readonly models?: ModelKnowledge;
}

/** A deployment in one of its revisions, with what a new replica of it is promised. */
export interface WantedTarget {
  readonly deployment: DeploymentResource;
  readonly target: RevisionTarget;
  readonly memory: MemoryNeed;
}

function wantedOf({ deployment, target, memory }: WantedTarget, context: WantedContext): WantedDeployment {
  const { declared, wallMs } = context;
  // Where and how important is said by the deployment as it is now; what runs by the revision.
  const { spec: run, revision, replicas } = target;
  const { spec: now, name } = deployment;
  const constraints = [
    ...(now.constraints ?? []),
    ...poolConstraints(declared, now.pool),
    ...pinned(run),
    ...avoided(declared, name, wallMs),
  ];
  const optional = Object.fromEntries(
    Object.entries({
      hosts: run.hosts,
      gangTopologyKey: now.gangTopologyKey,
      graceSpillBytes: run.graceSpillBytes,
      hostMemoryBytes: run.hostMemoryBytes,
      sharing: memory.sharing,
      nvlink: now.nvlink,
      regions: now.regions,
      architectures: now.architectures,
      minDriverVersion: now.minDriverVersion,
      gpuModels: now.gpuModels,
      preferences: now.preferences,
      tolerations: now.tolerations,
      priority: now.priority,
      preemptionPolicy: now.preemptionPolicy,
      strategy: now.placement,
      tenant: now.tenant,
    }).filter(([, value]) => value !== undefined),
  ) as Partial<WantedDeployment>;
  return {
    ...optional,
    name: plannerName(name, revision),
    version: deployment.version,
    model: modelName(run),
    replicas,
    gpusPerHost: run.gpusPerHost,
    gpuMemoryBytes: memory.gpuMemoryBytes,
    constraints,
  };
}

/** Terms name deployments; placement knows revisions, and each revision of the other is meant. */
function withTerms(
  wanted: WantedDeployment,
  { name, spec }: DeploymentResource,
  revisions: ReadonlyMap<string, readonly string[]>,
): WantedDeployment {
  const spread = (terms: NonNullable<WantedDeployment['affinity']>) =>
    terms.flatMap((term) =>
      (revisions.get(term.deployment ?? name) ?? []).map((deployment) => ({ ...term, deployment })),
    );
  return {
    ...wanted,
    ...(spec.affinity === undefined ? {} : { affinity: spread(spec.affinity) }),
    ...(spec.antiAffinity === undefined ? {} : { antiAffinity: spread(spec.antiAffinity) }),
  };
}

/** All that is wanted now, and which deployment and revision each is. */
export function wantedDeployments(context: WantedContext): {
  readonly wanted: readonly WantedDeployment[];
  readonly targets: ReadonlyMap<string, WantedTarget>;
} {
  const need: NeedContext = { sizes: gpuSizes(context.fleet), models: context.models ?? KNOWS_NOTHING };
  const targets = new Map<string, WantedTarget>();
  const revisions = new Map<string, string[]>();
  const places = new Map<string, Place[]>();
  for (const place of context.declared.places) {
    const mine = places.get(place.deployment) ?? [];
    mine.push(place);
    places.set(place.deployment, mine);
  }
  for (const deployment of context.declared.deployments.values()) {
    const names: string[] = [];
    for (const target of context.targets(deployment, places.get(deployment.name) ?? [], context.isReady)) {
      const name = plannerName(deployment.name, target.revision);
      targets.set(name, { deployment, target, memory: memoryNeed(target.spec, deployment.spec, need) });
      names.push(name);
    }
    revisions.set(deployment.name, names);
  }
  const wanted = [...targets.values()].map((each) => withTerms(wantedOf(each, context), each.deployment, revisions));
  return { wanted, targets };
}
