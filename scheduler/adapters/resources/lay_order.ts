/** One entry of the log, such as an order to the leader, and what the store says to it as an error of the door. */
import { CodedError } from '../../../lib/errors.ts';
import { headProblemText } from '../../core/events/head.ts';
import type { AppendItem } from '../../core/events/store_port.ts';
import type { ControlPlane } from '../../core/resources/control_port.ts';

export interface OrderDeps {
  readonly control: ControlPlane;
  readonly newId: () => string;
}

/**
 * Appends one entry.
 * @returns false when the entry that it follows is not the expected one: nothing was written
 * @throws CodedError store_behind, invalid_value, internal, store_…
 */
export async function layEntry({ control, newId }: OrderDeps, item: AppendItem): Promise<boolean> {
  const outcome = await control.store.append({ idempotencyId: newId(), items: [item] });
  switch (outcome.kind) {
    case 'appended':
      return true;
    case 'conflict':
      return false;
    case 'behind':
      throw new CodedError('store_behind', `Nothing was changed: ${headProblemText(outcome.problem)}.`);
    case 'invalid':
      throw new CodedError('invalid_value', outcome.problem, { param: 'reason' });
    default:
      throw new CodedError('internal', `The store answered ${outcome.kind}.`);
  }
}

/**
 * @param conflict what it means that the entry is not as expected
 * @throws CodedError that of `conflict`, and those of layEntry
 */
export async function layOrder(deps: OrderDeps, item: AppendItem, conflict: () => CodedError): Promise<void> {
  if (!(await layEntry(deps, item))) throw conflict();
}
