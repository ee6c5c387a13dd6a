/**
 * Filter, score, pick: one engine for one request, in one step with the reservation of its place. Every engine that was
 * looked at is in the decision with its cost or with the reason of its refusal, for `sophia explain request`.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { EngineId } from '../../../lib/ids.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { Candidate } from '../fleet/candidates.ts';
import { POLICIES, type PolicyName } from './policies.ts';
import type { Lease, Reservations } from './reservations.ts';

export type Verdict =
  | { readonly kind: 'picked'; readonly engine: EngineId; readonly cost: number }
  | { readonly kind: 'passed'; readonly engine: EngineId; readonly cost: number }
  | { readonly kind: 'refused'; readonly engine: EngineId; readonly by: string; readonly detail: string };

export interface Picked {
  readonly candidate: Candidate;
  /** The taken place: whoever gets it gives it back. */
  readonly lease: Lease;
}

export interface Decision {
  readonly policy: PolicyName;
  /** One for each candidate, in their order. */
  readonly verdicts: readonly Verdict[];
  readonly picked: Picked | undefined;
}

export interface RouteInput {
  readonly policy: PolicyName;
  readonly candidates: readonly Candidate[];
  /** Engines that have failed this request already. */
  readonly tried: ReadonlySet<EngineId>;
  readonly reservations: Reservations;
  readonly random: RandomSource;
}

const STALE = 'stale_telemetry';

/** Decides and reserves. Without a picked engine nothing was reserved. */
export function route(input: RouteInput): Decision {
  const { candidates, tried, policy, random } = input;
  const admits = (candidate: Candidate, by: string | undefined): boolean =>
    candidate.refusal?.by === by && !tried.has(candidate.engine);
  let open = candidates.filter((candidate) => admits(candidate, undefined));
  // A node that has fallen silent may still serve: better than no answer at all.
  if (open.length === 0) open = candidates.filter((candidate) => admits(candidate, STALE));
  const score = POLICIES[policy];
  const costs = new Map(open.map((candidate) => [candidate, score(candidate)]));
  const lowest = Math.min(...costs.values());
  const best = open.filter((candidate) => costs.get(candidate) === lowest);
  const winner = best[best.length === 1 ? 0 : Math.floor(random.next() * best.length)];
  const verdicts = candidates.map((candidate): Verdict => {
    const { engine } = candidate;
    const cost = costs.get(candidate);
    if (cost !== undefined) return { kind: candidate === winner ? 'picked' : 'passed', engine, cost };
    if (tried.has(engine))
      return { kind: 'refused', engine, by: 'tried', detail: 'It has failed this request already.' };
    return { kind: 'refused', engine, by: candidate.refusal?.by ?? '', detail: candidate.refusal?.detail ?? '' };
  });
  if (winner === undefined) return { policy, verdicts, picked: undefined };
  const lease = input.reservations.reserve(winner.engine, winner.incarnation);
  return { policy, verdicts, picked: { candidate: winner, lease } };
}

/** What a client is told when no engine was picked for a model that is known. */
export function refusalOf(model: string, candidates: readonly Candidate[]): CodedError {
  const reasons = new Set(candidates.map((candidate) => candidate.refusal?.by));
  const only = reasons.size === 1 ? [...reasons][0] : undefined;
  if (only === 'at_capacity') {
    return new CodedError('overloaded', `All engines of the model ${model} are at their limit.`, {
      retryAfterMs: 1000,
    });
  }
  if (only === 'no_endpoint')
    return new CodedError('not_supported', `No engine of the model ${model} serves this endpoint.`);
  return new CodedError('no_engine', `No engine of the model ${model} is ready at this moment.`, {
    retryAfterMs: 2000,
  });
}
