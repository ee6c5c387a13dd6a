/** A router with engines that the test names, for the tests of routing. */
import type { EngineId, NodeId, TenantId } from '../../../../lib/ids.ts';
import { seededRandom } from '../../../../lib/rng.ts';
import type { RequestShape, Residency } from '../../../../scheduler/core/routing/contract.ts';
import type { EngineFacts } from '../../../../scheduler/core/routing/engine_slot.ts';
import type { PolicyName } from '../../../../scheduler/core/routing/policies.ts';
import { createRouter, type RouteAsk } from '../../../../scheduler/core/routing/router.ts';

export const SHAPE: RequestShape = { model: 'm', tenant: 'acme' as TenantId, promptTokens: 100 };

export interface AskChange {
  readonly shape?: Partial<RequestShape>;
  readonly endpoint?: RouteAsk['endpoint'];
  readonly tried?: readonly string[];
  readonly nowMs?: number;
  readonly plain?: boolean;
}

export function facts(name: string, change: Partial<EngineFacts> = {}): EngineFacts {
  return {
    engine: `n/${name}` as EngineId,
    incarnation: 1,
    node: 'n' as NodeId,
    name,
    serves: [{ model: 'm', endpoints: [] }],
    lastSeenAtMs: 0,
    otherRequests: 0,
    ...change,
  };
}

export function fleet(options: {
  readonly policy: PolicyName;
  readonly seed?: number;
  readonly residency?: Residency;
  readonly maxPendingPrefillMs?: number;
}) {
  const drops: string[] = [];
  const { policy, seed = 1, residency, maxPendingPrefillMs = 1000 } = options;
  const router = createRouter({
    options: { policy, staleAfterMs: 10_000, maxPendingPrefillMs },
    random: seededRandom(seed),
    residency,
    dropped: (where) => void drops.push(where),
  });
  return {
    router,
    drops,
    put: (name: string, change: Partial<EngineFacts> = {}) => router.engines.put(facts(name, change)),
    pick: (change: AskChange = {}) =>
      router.pick({
        shape: { ...SHAPE, ...change.shape },
        endpoint: change.endpoint ?? 'chat',
        tried: new Set((change.tried ?? []) as EngineId[]),
        nowMs: change.nowMs ?? 0,
        plain: change.plain ?? false,
      }),
  };
}
