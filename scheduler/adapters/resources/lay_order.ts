/** Lays an order before the leader: one entry of the log, and what the store says to it as an error of the door. */
import { CodedError } from '../../../lib/errors.ts';
import { headProblemText } from '../../core/events/head.ts';
import type { AppendItem } from '../../core/events/store_port.ts';
import type { ControlPlane } from '../../core/resources/control_port.ts';

export interface OrderDeps {
  readonly control: ControlPlane;
  readonly newId: () => string;
}

/**
 * @param conflict what it means that the entry is not as expected
 * @throws CodedError that of `conflict`, store_behind, invalid_value, internal, store_…
 */
export async function layOrder(
  { control, newId }: OrderDeps,
  item: AppendItem,
  conflict: () => CodedError,
): Promise<void> {
  const outcome = await control.store.append({ idempotencyId: newId(), items: [item] });
  switch (outcome.kind) {
    case 'appended':
      return;
    case 'conflict':
      throw conflict();
    case 'behind':
      throw new CodedError('store_behind', `Nothing was ordered: ${headProblemText(outcome.problem)}.`);
    case 'invalid':
      throw new CodedError('invalid_value', outcome.problem, { param: 'reason' });
    default:
      throw new CodedError('internal', `The store answered ${outcome.kind}.`);
  }
}
