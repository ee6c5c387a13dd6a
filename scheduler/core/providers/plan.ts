/**
 * Which providers may answer a request, in order, and why the others may not. The data policy is here: a prompt leaves
 * the fleet only for a tenant that allowed it.
 */
import type { ErrorCode } from '../../../lib/errors.ts';
import type { AdmittedRequest } from '../../ports.ts';
import type { FallbackRules, ProviderSpec } from './contract.ts';

/** Why a provider does not answer a request. */
export type ProviderRefusal = 'data_policy' | 'token_ids' | 'field' | 'breaker' | 'busy' | 'told_to_wait';

/**
 * Failures of the fleet after which another may answer: it could not take the request, or lost it. What is wrong with
 * the request stays wrong elsewhere; what the client or this process ended stays ended. A model that no engine has ever
 * served is one that only providers have.
 */
const MAY_FOLLOW: ReadonlySet<ErrorCode> = new Set([
  'model_not_found',
  'no_engine',
  'overloaded',
  'engine_overloaded',
  'engine_unreachable',
  'engine_failed',
  'engine_garbage',
  'engine_died',
  'engine_aborted',
  'stream_lost',
]);

export function mayFollow(code: ErrorCode): boolean {
  return MAY_FOLLOW.has(code);
}

export interface FallbackPlan {
  readonly allowed: readonly ProviderSpec[];
  readonly refused: readonly { readonly provider: string; readonly by: ProviderRefusal }[];
}

export type Planner = (request: Pick<AdmittedRequest, 'model' | 'tenant' | 'wantTokenIds'>) => FallbackPlan;

const NOTHING: FallbackPlan = { allowed: [], refused: [] };

/** A planner over rules that were checked (rules.ts). */
export function createPlanner(rules: FallbackRules): Planner {
  const byName = new Map(rules.providers.map((spec) => [spec.name, spec]));
  const chains = new Map(
    Object.entries(rules.fallbacks).map(([model, names]) => [model, names.flatMap((name) => byName.get(name) ?? [])]),
  );
  const mayLeave = new Set(rules.leaveFleetTenants);
  return ({ model, tenant, wantTokenIds }) => {
    const chain = chains.get(model);
    if (chain === undefined) return NOTHING;
    const whyNot = ({ leavesFleet }: ProviderSpec): ProviderRefusal | undefined => {
      if (leavesFleet && !mayLeave.has(tenant)) return 'data_policy';
      // Token ids are vLLM's own; a provider has none to tell.
      return wantTokenIds ? 'token_ids' : undefined;
    };
    const refused = chain.flatMap((spec) => {
      const by = whyNot(spec);
      return by === undefined ? [] : [{ provider: spec.name, by }];
    });
    return { allowed: chain.filter((spec) => whyNot(spec) === undefined), refused };
  };
}
