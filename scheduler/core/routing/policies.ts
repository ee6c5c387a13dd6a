/** The registry of routing policies. To add one: a file in policies/ with its test, and its name here. */
import { cost } from './policies/cost.ts';
import { leastRequests } from './policies/least_requests.ts';
import type { Policy } from './policies/policy.ts';
import { powerOfTwo } from './policies/power_of_two.ts';
import { prefixAffinity } from './policies/prefix_affinity.ts';
import { random } from './policies/random.ts';
import { roundRobin } from './policies/round_robin.ts';
import { sessionSticky } from './policies/session_sticky.ts';

export const POLICIES = {
  cost,
  least_requests: leastRequests,
  power_of_two: powerOfTwo,
  prefix_affinity: prefixAffinity,
  random,
  round_robin: roundRobin,
  session_sticky: sessionSticky,
} as const satisfies Record<string, Policy>;

export type PolicyName = keyof typeof POLICIES;
export const POLICY_NAMES = Object.keys(POLICIES) as [PolicyName, ...PolicyName[]];
