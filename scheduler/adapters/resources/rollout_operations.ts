/**
 * Looking at rollouts and giving orders for them. An order is an entry of the log, one at a time for each deployment, until
 * the leader takes it up in the same append in which it writes what became of it; so it is carried out once, by whoever leads.
 */
import { CodedError } from '../../../lib/errors.ts';
import { ROLLOUT_KIND, ROLLOUT_ORDER_KIND } from '../../core/reconcile/contract.ts';
import type { ReconcileView, RolloutReport } from '../../core/resources/contract.ts';
import { resourceText } from '../../core/resources/names.ts';
import type { Caller, RolloutOrderRequest } from '../../core/resources/operations.ts';
import { orderProblem } from '../../core/rollout/orders.ts';
import { readState } from '../../core/rollout/state_json.ts';
import { layOrder, type OrderDeps } from './lay_order.ts';

export interface RolloutDeps extends OrderDeps {
  readonly reconcile: () => ReconcileView | undefined;
}

/** @throws CodedError reconcile_unavailable, not_found */
function reportOf({ reconcile }: RolloutDeps, name: string): RolloutReport {
  const view = reconcile();
  if (view === undefined)
    throw new CodedError('reconcile_unavailable', 'This scheduler does not reconcile: nothing is known of rollouts.');
  const report = view.rollout(name);
  if (report !== undefined) return report;
  const param = resourceText('Deployment', name.slice(0, 253));
  throw new CodedError('not_found', `There is no ${param}.`, { param });
}

/** @throws CodedError reconcile_unavailable, not_found, store_… */
export async function showRollout(deps: RolloutDeps, name: string): Promise<RolloutReport> {
  if (!deps.control.isRead()) await deps.control.catchUp();
  return reportOf(deps, name);
}

const conflict = (text: string): CodedError => new CodedError('rollout_conflict', text, { param: 'verb' });

/** @throws CodedError rollout_conflict, invalid_value, store_… */
async function layBefore(deps: RolloutDeps, request: RolloutOrderRequest, caller: Caller): Promise<void> {
  const { name, verb, reason } = request;
  await layOrder(
    deps,
    {
      kind: 'lifecycle.changed',
      resource: { kind: ROLLOUT_ORDER_KIND, name },
      ...caller,
      reason,
      after: { verb, reason },
      expected: 'absent',
    },
    () => conflict('Another order came first, and the leader has not taken it up yet.'),
  );
}

/** @throws CodedError reconcile_unavailable, not_found, rollout_conflict, invalid_value, store_… */
export async function orderRollout(
  deps: RolloutDeps,
  request: RolloutOrderRequest,
  caller: Caller,
): Promise<RolloutReport> {
  const { control } = deps;
  const { name, verb } = request;
  const projection = await control.catchUp();
  reportOf(deps, name);
  const why = orderProblem(readState(projection.get('lifecycle', ROLLOUT_KIND, name)?.value), verb);
  if (why !== undefined) throw conflict(why);
  await layBefore(deps, request, caller);
  await control.catchUp();
  return reportOf(deps, name);
}
