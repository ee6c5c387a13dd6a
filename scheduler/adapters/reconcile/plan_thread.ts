/** Plans for large fleets in a thread of their own, one thread a plan: they are rare, and an idle thread costs memory. */
import { Worker } from 'node:worker_threads';
import { CodedError } from '../../../lib/errors.ts';
import type { FleetSnapshot, PlacementPlan } from '../../core/placement/contract.ts';

/** Undefined: it is small, and is planned at once. The signal ends it. */
export type PlanElsewhere = (
  snapshot: FleetSnapshot,
  searchSteps: number,
  signal: AbortSignal,
) => Promise<PlacementPlan> | undefined;

/** About what is planned in some tens of milliseconds: nodes times deployments, and replicas. */
const MOST_PAIRS = 20_000;
const MOST_REPLICAS = 500;
const WORKER = new URL('../../workers/plan_worker.js', import.meta.url);

export function isLarge({ nodes, deployments }: FleetSnapshot): boolean {
  if (nodes.length * deployments.length > MOST_PAIRS) return true;
  let replicas = 0;
  for (const deployment of deployments) replicas += deployment.replicas;
  return replicas > MOST_REPLICAS;
}

function planInThread(snapshot: FleetSnapshot, searchSteps: number, signal: AbortSignal): Promise<PlacementPlan> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(WORKER, { workerData: { snapshot, searchSteps } });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new CodedError('internal', 'The planning thread ended without a plan.')));
    signal.addEventListener('abort', () => void worker.terminate(), { once: true });
  });
}

export const planElsewhere: PlanElsewhere = (snapshot, searchSteps, signal) =>
  isLarge(snapshot) ? planInThread(snapshot, searchSteps, signal) : undefined;
