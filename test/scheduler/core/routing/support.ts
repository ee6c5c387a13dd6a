/** A router with engines that the test names, for the tests of routing. */
import type { EngineId, NodeId, TenantId } from '../../../../lib/ids.ts';
import { seededRandom } from '../../../../lib/rng.ts';
import type { PromptBlocks, RequestShape, Residency } from '../../../../scheduler/core/routing/contract.ts';
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
        tried: new Map((change.tried ?? []).map((engine) => [engine as EngineId, 1])),
        nowMs: change.nowMs ?? 0,
        plain: change.plain ?? false,
      }),
  };
}

/** Blocks of 16 tokens: `chain` names the text, so two prompts with the same chain and length are the same. */
export function blocksOf(chain: number, count: number): PromptBlocks {
  const hashes = new Uint32Array(count * 2);
  for (let i = 0; i < count; i++) hashes.set([chain, i + 1], i * 2);
  return { blockTokens: 16, hashes };
}

/** A residency that holds what the test says, by engine, in blocks; it writes down what it is told. */
export function heldBlocks(held: Record<string, number>) {
  const told: string[] = [];
  const residency: Residency = {
    overlap(engines, blocks, out) {
      for (const [at, { engine }] of engines.entries()) out[at] = Math.min(held[engine] ?? 0, blocks.hashes.length / 2);
    },
    dispatched: ({ engine }) => void told.push(`dispatched ${engine}`),
    corrected: ({ engine }, _blocks, cachedTokens) => void told.push(`corrected ${engine} ${cachedTokens}`),
    withdrawn: ({ engine }) => void told.push(`withdrawn ${engine}`),
    sized: ({ engine }, tokens) => void told.push(`sized ${engine} ${tokens}`),
    forget: ({ engine, incarnation }) => void told.push(`forget ${engine} ${incarnation}`),
    bytes: 0,
  };
  return { residency, told };
}

/** How often each engine is picked, each request ending before the next comes. */
export function picksOf(
  world: ReturnType<typeof fleet>,
  times: number,
  change: AskChange = {},
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < times; i++) {
    const { picked } = world.pick({ nowMs: i, ...change });
    const engine = picked?.lease.engine ?? 'none';
    counts[engine] = (counts[engine] ?? 0) + 1;
    picked?.lease.release();
  }
  return counts;
}
