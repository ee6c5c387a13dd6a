/**
 * Compares the newest desired state with the engines that exist and says which events their lifecycles get. It is
 * level-triggered: the same desired state may come any number of times, from any scheduler, and does nothing twice.
 */
import type { AcceptedSpec } from './engine_spec.ts';
import type { EngineEventIn, EngineLife } from './lifecycle/life.ts';

/** What the agent remembers of orders: the newest term and the newest generation within it. */
export interface OrderState {
  /** Newest fencing term seen from any scheduler; undefined before the first. */
  readonly term?: number;
  /** Generation of the desired state that is worked on, and the term in which it was ordered. */
  readonly generation?: number;
  readonly orderedInTerm?: number;
}

export type OrderVerdict =
  | { readonly kind: 'obey'; readonly orders: OrderState }
  | { readonly kind: 'ignore'; readonly code: 'stale_term' | 'stale_generation'; readonly reason: string };

/**
 * Whether a desired state is to be obeyed. An order of an older term is never obeyed: its sender has been replaced
 * and does not know it. Within one term the generation must not go back.
 */
export function judgeOrder(orders: OrderState, term: number, generation: number): OrderVerdict {
  if (orders.term !== undefined && term < orders.term) {
    return { kind: 'ignore', code: 'stale_term', reason: `term ${term} is older than ${orders.term}` };
  }
  if (orders.generation !== undefined && term === orders.orderedInTerm && generation < orders.generation) {
    return {
      kind: 'ignore',
      code: 'stale_generation',
      reason: `generation ${generation} is older than ${orders.generation}`,
    };
  }
  return { kind: 'obey', orders: { term, generation, orderedInTerm: term } };
}

/** The newest term, also learned from messages that carry no order. */
export function observeTerm(orders: OrderState, term: number): OrderState {
  return orders.term === undefined || term > orders.term ? { ...orders, term } : orders;
}

export type ReconcileAction =
  | { readonly kind: 'begin'; readonly spec: AcceptedSpec }
  | { readonly kind: 'event'; readonly engine: string; readonly event: EngineEventIn };

/**
 * What to do so that exactly the wanted engines run. An engine in `kept` has a wish that was rejected: what runs under its
 * name goes on as it is, because a mistake in an order must not stop a healthy engine.
 */
export function reconcile(
  wanted: readonly AcceptedSpec[],
  generation: number,
  existing: ReadonlyMap<string, EngineLife>,
  kept: ReadonlySet<string> = new Set(),
): readonly ReconcileAction[] {
  const actions: ReconcileAction[] = [];
  const names = new Set(wanted.map((spec) => spec.name));
  // What must go comes first, so that its GPUs and addresses are on their way to be free.
  for (const name of existing.keys()) {
    if (!names.has(name) && !kept.has(name)) actions.push({ kind: 'event', engine: name, event: { kind: 'unwanted' } });
  }
  for (const spec of wanted) {
    if (existing.has(spec.name)) {
      actions.push({ kind: 'event', engine: spec.name, event: { kind: 'wanted', spec, generation } });
    } else actions.push({ kind: 'begin', spec });
  }
  return actions;
}
