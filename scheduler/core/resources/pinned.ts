/**
 * An engine that an operator pins to a node is a deployment of one replica that may use that node alone, and goes the way of
 * all deployments, so that nothing of it is started twice either. Its name has a slash, which no name of a deployment has.
 */
import type { DeploymentSpec, ResourceKind, RolloutStrategy } from './contract.ts';

const PREFIX = 'engine/';

/** The old one stops before the new one starts: both have to be on the one node, where there may be room for one. */
const STOP_FIRST: RolloutStrategy = { kind: 'rolling', maxSurge: 0, maxUnavailable: 1 };

/** The name under which reconcile knows a declared engine. */
export const pinnedName = (engine: string): string => `${PREFIX}${engine}`;

/** The name of the Engine behind a name of reconcile; undefined: it is a deployment. */
export const engineOfPinned = (deployment: string): string | undefined =>
  deployment.startsWith(PREFIX) ? deployment.slice(PREFIX.length) : undefined;

/** The spec of a declared engine as that of a deployment. */
export const pinnedSpec = (spec: object): Partial<DeploymentSpec> => ({ ...spec, replicas: 1, rollout: STOP_FIRST });

/** A replica for a person: `chat/0`; a pinned engine has but one, `engine/NAME`. */
export const replicaText = (deployment: string, index: number): string =>
  engineOfPinned(deployment) === undefined ? `${deployment}/${index}` : deployment;

/** The resource that wants what reconcile knows under this name. */
export function wantedBy(deployment: string): { readonly kind: ResourceKind; readonly name: string } {
  const engine = engineOfPinned(deployment);
  return engine === undefined ? { kind: 'Deployment', name: deployment } : { kind: 'Engine', name: engine };
}
