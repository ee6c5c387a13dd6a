/**
 * How a deployment's requests are divided, by its state alone: a scheduler that does not lead divides them as the leader
 * has written, and decides nothing of its own.
 */
import { takeCensus } from './census.ts';
import type { ReplicaFacts, RolloutState, Traffic } from './contract.ts';
import { NO_TALLY } from './tallies.ts';
import { trafficOf } from './traffic.ts';

/**
 * @param replicas as they are seen now; without a rollout under way nobody looks at them
 * @param wanted replicas that the deployment is to have
 */
export function trafficNow(
  { running, current, seen }: RolloutState,
  replicas: readonly ReplicaFacts[],
  wanted: number,
): Traffic {
  if (running === null)
    return { shares: [{ revision: current?.id ?? seen, weight: 100, standby: false, proven: true }], admitted: [] };
  return trafficOf({ running, census: takeCensus(replicas, running), replicas: wanted, fresh: NO_TALLY, nowMs: 0 });
}
