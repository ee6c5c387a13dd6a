/** Stands before the fleet's generator: requests of models with fallbacks get them, and degraded modes are told. */
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import type { Planner } from '../../core/providers/plan.ts';
import type { Generator } from '../../ports.ts';
import { FallbackGeneration, type FallbackHost } from './fallback_generation.ts';

export interface FallbackGenerator extends Generator {
  /** Requests that providers are answering. */
  readonly running: number;
  /** Resolves when no provider is asked any more. */
  idle(): Promise<void>;
  abortAll(error: CodedError): void;
}

export type FallbackDeps = Omit<FallbackHost, 'began' | 'ended'> & { readonly planner: Planner };

const keyOf = (tenant: TenantId, id: RequestId): string => `${tenant}\0${id}`;

export function createFallbackGenerator(deps: FallbackDeps): FallbackGenerator {
  const { inner, planner, figures } = deps;
  const asked = new Map<string, FallbackGeneration>();
  let idleWaiters: (() => void)[] = [];
  const settleIdle = (): void => {
    if (asked.size > 0) return;
    const waiters = idleWaiters;
    idleWaiters = [];
    for (const resolve of waiters) resolve();
  };
  const host: FallbackHost = {
    ...deps,
    began: (generation) => void asked.set(keyOf(generation.request.tenant, generation.id), generation),
    ended(generation) {
      const key = keyOf(generation.request.tenant, generation.id);
      if (asked.get(key) !== generation) return;
      asked.delete(key);
      settleIdle();
    },
  };
  return {
    start(request, sink, creditBytes) {
      if (asked.has(keyOf(request.tenant, request.id)))
        throw new CodedError('already_exists', 'A request with this id is running.', { param: 'id' });
      const { allowed, refused } = planner(request);
      for (const { provider, by } of refused) figures.refused(provider, by);
      const generation = new FallbackGeneration(host, request, sink, { creditBytes, providers: allowed, refused });
      generation.start();
      return generation;
    },
    cancel(id, tenant) {
      const generation = asked.get(keyOf(tenant, id));
      if (generation === undefined) return inner.cancel(id, tenant);
      generation.abort(new CodedError('cancelled', 'The request was cancelled.'));
      return true;
    },
    get running() {
      return asked.size;
    },
    idle: () =>
      new Promise((resolve) => {
        idleWaiters.push(resolve);
        settleIdle();
      }),
    abortAll(error) {
      for (const generation of [...asked.values()]) generation.abort(error);
    },
  };
}
