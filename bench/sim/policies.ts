/**
 * The policies of a simulated fleet: all of the scheduler's registry, the cache-aware ones also with an index that no
 * engine tells, and the references from a paper. A new policy of the registry is here by itself.
 */
import { POLICIES, POLICY_NAMES, type PolicyName } from '../../scheduler/core/routing/policies.ts';
import type { CreateDispatcher } from './fleet/dispatcher.ts';
import { REFERENCES } from './fleet/references.ts';
import { routedBy } from './fleet/routed.ts';

/** The policy that the scheduler uses when nothing is said. */
export const DEFAULT_POLICY: PolicyName = 'cost';

/** Appended to a policy's name where the index is only fed by what was sent and by `cached_tokens`. */
const APPROXIMATE = '_approximate';

export interface SimPolicy {
  readonly name: string;
  readonly create: CreateDispatcher;
  /** Of the registry and not the default: what the default is measured against. */
  readonly isBaseline: boolean;
}

function registered(): SimPolicy[] {
  return POLICY_NAMES.flatMap((policy) => {
    const isBaseline = policy !== DEFAULT_POLICY;
    const exact = { name: policy, create: routedBy({ policy, belief: 'events' }), isBaseline };
    if (!POLICIES[policy].usesResidency) return [exact];
    const create = routedBy({ policy, belief: 'guess' });
    return [exact, { name: `${policy}${APPROXIMATE}`, create, isBaseline }];
  });
}

export const SIM_POLICIES: readonly SimPolicy[] = [
  ...registered(),
  ...Object.entries(REFERENCES).map(([name, create]) => ({ name, create, isBaseline: false })),
];
