/**
 * The registry of routing policies. A policy gives each engine that may be picked a cost; the lowest cost wins, and
 * equal costs are decided by the seeded random source. To add one: a function here, its name in the registry, a test.
 */
import type { Candidate } from '../fleet/candidates.ts';

/** The cost of giving the request to this engine, in the policy's own unit; lower is better. */
export type Score = (candidate: Candidate) => number;

/** Requests on the engine: our own, counted exactly, and those of others, as last pushed by the agent. */
const leastRequests: Score = (candidate) => candidate.reserved + candidate.otherRequests;

export const POLICIES = { least_requests: leastRequests } as const satisfies Record<string, Score>;

export type PolicyName = keyof typeof POLICIES;
export const POLICY_NAMES = Object.keys(POLICIES) as [PolicyName, ...PolicyName[]];
