/** Plans for large fleets in a thread of their own, one thread a plan: they are rare, and an idle thread costs memory. */
import { Worker } from 'node:worker_threads';
import { CodedError } from '../../../lib/errors.ts';
import { createSerial } from '../../../lib/serial.ts';
import type { FleetSnapshot, PlacementPlan } from '../../core/placement/contract.ts';
import { foresee, type ForesightAnswers, type ForesightTask } from '../../core/reconcile/foresight.ts';

/** Undefined: it is small, and is planned at once. The signal ends it. */
export type PlanElsewhere = (
  snapshot: FleetSnapshot,
  searchSteps: number,
  signal: AbortSignal,
) => Promise<PlacementPlan> | undefined;

/** Answers what operators ask. @throws CodedError planner_busy */
export type Foresee = <Task extends ForesightTask>(task: Task) => Promise<ForesightAnswers[Task['kind']]>;

/** About what is planned in some tens of milliseconds: nodes times deployments, and replicas. */
const MOST_PAIRS = 20_000;
const MOST_REPLICAS = 500;
const WORKER = new URL('../../workers/plan_worker.js', import.meta.url);

/** What the size of a fleet is judged by. */
export interface Size {
  readonly nodes: readonly unknown[];
  readonly deployments: readonly { readonly replicas: number }[];
}

export function isLarge({ nodes, deployments }: Size): boolean {
  if (nodes.length * deployments.length > MOST_PAIRS) return true;
  let replicas = 0;
  for (const deployment of deployments) replicas += deployment.replicas;
  return replicas > MOST_REPLICAS;
}

function inThread<Answer>(workerData: object, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(WORKER, { workerData });
    const end = (): void => void worker.terminate();
    const settled = (): void => signal.removeEventListener('abort', end);
    worker.once('message', (answer: Answer) => {
      settled();
      resolve(answer);
    });
    worker.once('error', (error) => {
      settled();
      reject(error);
    });
    worker.once('exit', () => {
      settled();
      reject(new CodedError('internal', 'The planning thread ended without a plan.'));
    });
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}

export const planElsewhere: PlanElsewhere = (snapshot, searchSteps, signal) =>
  isLarge(snapshot) ? inThread<PlacementPlan>({ snapshot, searchSteps }, signal) : undefined;

export interface ForesightOptions {
  /** Ends what is under way and what waits. */
  readonly signal: AbortSignal;
  /** Questions about a large fleet that wait while another is answered. */
  readonly mostWaiting: number;
  /** How long one may be worked on. */
  readonly timeoutMs: number;
}

export const FORESIGHT_BOUNDS = { mostWaiting: 4, timeoutMs: 120_000 } as const;
const BUSY_RETRY_MS = 2000;

/** Small fleets are answered at once; of large ones one question after the other, each in a thread. */
export function createForesight({ signal, mostWaiting, timeoutMs }: ForesightOptions): Foresee {
  let open = 0;
  const serial = createSerial();
  const answer = async <Task extends ForesightTask>(task: Task): Promise<ForesightAnswers[Task['kind']]> => {
    const late = AbortSignal.timeout(timeoutMs);
    try {
      return await inThread(task, AbortSignal.any([signal, late]));
    } catch (error) {
      if (!late.aborted || signal.aborted) throw error;
      throw new CodedError('planner_busy', `The plan was not ready after ${Math.round(timeoutMs / 1000)} s.`, {
        retryAfterMs: BUSY_RETRY_MS,
      });
    }
  };
  return async (task) => {
    if (!isLarge(task.snapshot)) return foresee(task);
    if (open > mostWaiting) {
      const words = `${open} questions about plans of this large fleet are being answered or wait.`;
      throw new CodedError('planner_busy', words, { retryAfterMs: BUSY_RETRY_MS });
    }
    open += 1;
    try {
      return await serial(() => answer(task));
    } finally {
      open -= 1;
    }
  };
}
