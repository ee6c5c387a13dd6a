/** A thread that plans once for a large fleet, or answers one question about it, so that seconds of search hold up no request. */
import { parentPort, workerData } from 'node:worker_threads';
import { seededRandom } from '../../lib/rng.ts';
import type { FleetSnapshot, PlacementPlan } from '../core/placement/contract.ts';
import { planPlacement } from '../core/placement/planner.ts';
import { foresee, type ForesightTask } from '../core/reconcile/foresight.ts';

/** What the thread is given: a plan for the leader has no kind. */
export type ThreadTask =
  | { readonly kind?: undefined; readonly snapshot: FleetSnapshot; readonly searchSteps: number }
  | ForesightTask;

function planned({ snapshot, searchSteps }: Pick<ForesightTask, 'snapshot' | 'searchSteps'>): PlacementPlan {
  return planPlacement(snapshot, { random: seededRandom(1), searchSteps });
}

const task = workerData as ThreadTask;
parentPort?.postMessage(task.kind === undefined ? planned(task) : foresee(task));
