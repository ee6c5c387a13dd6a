/**
 * Looking at a defragmentation plan, and having it carried out. The order is one entry of the log: whoever is asked writes it,
 * only the leader begins moves, under its fence, and what is in the log survives the loss of either.
 */
import { CodedError } from '../../../lib/errors.ts';
import { MOVE_ORDER, moveOrderOf, moveOrderText, moveOrderValue, orderedMoves } from '../../core/reconcile/moves.ts';
import type { DefragmentView, ReconcileView } from '../../core/resources/contract.ts';
import type { Caller, DefragmentAnswer, DefragmentOrder } from '../../core/resources/operations.ts';
import { layOrder, type OrderDeps } from './lay_order.ts';

export interface DefragmentDeps extends OrderDeps {
  readonly reconcile: () => ReconcileView | undefined;
}

/** Moves of one plan: each is a load of weights, so a person wants to look at all of them. */
const PRESET_MOVES = 16;
const MAX_MOVES = 256;
/** What is said wherever the answer would be the reconciler's. */
export const NO_RECONCILE = 'This scheduler does not reconcile: nothing is known of replicas, placements and plans.';

/** @throws CodedError reconcile_unavailable, invalid_value, planner_busy, store_… */
export async function defragment(deps: DefragmentDeps, maxMoves = PRESET_MOVES): Promise<DefragmentView> {
  const reconcile = deps.reconcile();
  if (reconcile === undefined) throw new CodedError('reconcile_unavailable', NO_RECONCILE);
  if (!Number.isSafeInteger(maxMoves) || maxMoves < 1 || maxMoves > MAX_MOVES)
    throw new CodedError('invalid_value', `maxMoves is from 1 to ${MAX_MOVES}.`, { param: 'maxMoves' });
  if (!deps.control.isRead()) await deps.control.catchUp();
  return reconcile.defragment(maxMoves);
}

const stale = (text: string): CodedError => new CodedError('plan_stale', text, { param: 'plan' });

async function cancel(deps: DefragmentDeps, reason: string, caller: Caller): Promise<DefragmentAnswer> {
  const entry = (await deps.control.catchUp()).get('lifecycle', MOVE_ORDER.kind, MOVE_ORDER.name);
  if (entry === undefined) throw new CodedError('not_found', 'No defragmentation is under way.');
  const { state } = moveOrderOf(entry);
  const correlationId = state?.correlationId ?? caller.correlationId;
  await layOrder(
    deps,
    {
      kind: 'lifecycle.ended',
      resource: MOVE_ORDER,
      actor: caller.actor,
      correlationId,
      reason,
      after: null,
      expected: entry.version,
    },
    () => stale('The leader has just gone on with it; look again.'),
  );
  return { moves: state === undefined ? 0 : state.moves.length - state.begun, correlationId };
}

/**
 * Lays a plan before the leader, if it is still what would be planned; the leader checks each move again when its turn comes.
 * @throws CodedError reconcile_unavailable, planner_busy, invalid_value, fleet_frozen, plan_stale, plan_running, not_found,
 * store_…
 */
export async function orderDefragment(
  deps: DefragmentDeps,
  { verb, plan, maxMoves, reason }: DefragmentOrder,
  caller: Caller,
): Promise<DefragmentAnswer> {
  if (verb === 'cancel') return cancel(deps, reason, caller);
  const { control } = deps;
  const projection = await control.catchUp();
  const freeze = control.freeze();
  if (freeze.frozen) {
    const text = `The fleet is frozen by ${freeze.by} (${freeze.reason}): nothing is moved.`;
    throw new CodedError('fleet_frozen', text);
  }
  const entry = projection.get('lifecycle', MOVE_ORDER.kind, MOVE_ORDER.name);
  if (entry !== undefined)
    throw new CodedError('plan_running', `A defragmentation is ${moveOrderText(moveOrderOf(entry))}.`);
  const now = await defragment(deps, maxMoves);
  if (now.moves.length === 0) throw stale('There is nothing to move now.');
  if (now.plan !== plan) throw stale(`This is plan ${now.plan} now: the fleet has changed since the other was made.`);
  const after = moveOrderValue({
    by: caller.actor,
    why: reason,
    correlationId: caller.correlationId,
    moves: orderedMoves(now.moves),
    begun: 0,
    running: [],
  });
  await layOrder(
    deps,
    { kind: 'lifecycle.changed', resource: MOVE_ORDER, ...caller, reason, after, expected: 'absent' },
    () => new CodedError('plan_running', 'Another order came first.'),
  );
  await control.catchUp();
  return { moves: now.moves.length, correlationId: caller.correlationId };
}
