/**
 * A rollout strategy as an operator wrote it, made whole. What is left open has the values of the table in docs/ROLLOUTS.md;
 * what cannot be is brought to the nearest that can, because the doors have refused it before and old entries of the log
 * must not stop a scheduler.
 */
import type { RolloutStrategy } from '../resources/contract.ts';
import type { Rules } from './contract.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const MOST_STEPS = 20;
const MOST_REPLICAS = 100_000;

/** Shortest time of a step, and requests that it waits for, by kind; of blue-green the step is the bake after the switch. */
const BY_KIND = {
  rolling: { stepMs: 10 * SECOND, leastRequests: 20, steps: [] },
  blue_green: { stepMs: 5 * MINUTE, leastRequests: 50, steps: [] },
  canary: { stepMs: MINUTE, leastRequests: 50, steps: [5, 25, 50] },
} as const satisfies Record<RolloutStrategy['kind'], Pick<Rules, 'stepMs' | 'leastRequests' | 'steps'>>;

export const DEFAULT_RULES = {
  kind: 'rolling',
  maxSurge: 1,
  maxUnavailable: 0,
  deadlineMs: HOUR,
  maxErrorRate: 0.02,
  maxTtftRatio: 1.25,
  /** Any answer that is not empty will do where nothing is said. */
  smoke: { prompt: 'Say OK.', contains: '' },
  /** A step waits so many times its length for requests, then it is judged by those that came. */
  sampleWaitSteps: 10,
} as const;

const within = (value: number | undefined, least: number, most: number, fallback: number): number =>
  value === undefined || Number.isNaN(value) ? fallback : Math.min(most, Math.max(least, value));

/** Percentages between 0 and 100, rising. */
function stepsOf(given: readonly number[]): number[] {
  const steps = [...new Set(given.filter((share) => share > 0 && share < 100))].sort((a, b) => a - b);
  return steps.slice(0, MOST_STEPS);
}

/** @param strategy absent: rolling, with all defaults */
export function rulesOf(strategy: RolloutStrategy | undefined): Rules {
  const given: RolloutStrategy = strategy ?? { kind: DEFAULT_RULES.kind };
  const byKind = BY_KIND[given.kind];
  const whole = (value: number | undefined, fallback: number): number =>
    Math.floor(within(value, 0, MOST_REPLICAS, fallback));
  const maxUnavailable = whole(given.maxUnavailable, DEFAULT_RULES.maxUnavailable);
  const stepMs = within(given.stepMs, 0, 24 * HOUR, byKind.stepMs);
  const steps = given.kind === 'canary' ? stepsOf(given.steps ?? byKind.steps) : [];
  return {
    kind: given.kind,
    // With neither more nor fewer replicas than wanted nothing could ever be replaced.
    maxSurge: Math.max(maxUnavailable === 0 ? 1 : 0, whole(given.maxSurge, DEFAULT_RULES.maxSurge)),
    maxUnavailable,
    steps,
    stepMs,
    deadlineMs: within(given.deadlineMs, SECOND, 30 * 24 * HOUR, DEFAULT_RULES.deadlineMs),
    deadlineFrom: given.deadlineMs === undefined ? 'progress' : 'start',
    maxErrorRate: within(given.maxErrorRate, 0, 1, DEFAULT_RULES.maxErrorRate),
    maxTtftRatio: within(given.maxTtftRatio, 1, 1000, DEFAULT_RULES.maxTtftRatio),
    smoke: given.smoke ?? DEFAULT_RULES.smoke,
    leastRequests: byKind.leastRequests,
    sampleWaitMs: stepMs * DEFAULT_RULES.sampleWaitSteps,
  };
}
