/**
 * What routing is told of the rollouts of all deployments: each engine's revision, whether it is closed, and its share. It
 * is made anew whenever one of the rollouts says something else; routing then asks for every engine once.
 */
import type { EngineId } from '../../../lib/ids.ts';
import type { EngineMark, TrafficRules } from '../routing/traffic_rules.ts';
import type { RevisionShare, Traffic } from './contract.ts';

export interface DeploymentTraffic {
  readonly deployment: string;
  readonly traffic: Traffic;
  /** The replica that an engine belongs to; undefined: to none of this deployment. */
  readonly replicaOf: (engine: EngineId) => { readonly key: string; readonly revision: string } | undefined;
}

/** What the requests of a revision are counted under. */
export const labelOf = (deployment: string, revision: string): string => `${deployment}.${revision}`;

/** An engine of a revision that the rollout does not know (any more) is closed: it is on its way out, or not looked at yet. */
const UNKNOWN: RevisionShare = { revision: '', weight: 0, standby: false, proven: false };

export function trafficRules(deployments: readonly DeploymentTraffic[]): TrafficRules {
  const tables = deployments.map(({ deployment, traffic, replicaOf }) => ({
    deployment,
    replicaOf,
    shares: new Map(traffic.shares.map((share) => [share.revision, share])),
    admitted: new Set(traffic.admitted),
  }));
  return {
    markOf(engine): EngineMark | undefined {
      for (const { deployment, replicaOf, shares, admitted } of tables) {
        const replica = replicaOf(engine);
        if (replica === undefined) continue;
        const { weight, standby, proven } = shares.get(replica.revision) ?? UNKNOWN;
        const label = labelOf(deployment, replica.revision);
        const closed = !proven && !admitted.has(replica.key);
        // One revision alone has nothing to be divided from.
        return shares.size < 2 ? { label, closed } : { label, closed, share: { split: deployment, weight, standby } };
      }
      return undefined;
    },
  };
}
