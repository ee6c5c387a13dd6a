/** A thread that plans once for a large fleet, so that seconds of search hold up no request. */
import { parentPort, workerData } from 'node:worker_threads';
import { seededRandom } from '../../lib/rng.ts';
import type { FleetSnapshot } from '../core/placement/contract.ts';
import { planPlacement } from '../core/placement/planner.ts';

/** What the thread is given. */
export interface PlanTask {
  readonly snapshot: FleetSnapshot;
  readonly searchSteps: number;
}

const { snapshot, searchSteps } = workerData as PlanTask;
parentPort?.postMessage(planPlacement(snapshot, { random: seededRandom(1), searchSteps }));
