/** What operators may order of a rollout, and what that does; an order that makes no sense is refused with its reason. */
import { CodedError } from '../../../lib/errors.ts';
import { beginRollout, previousRevision, turnBack } from './begin.ts';
import type { OrderVerb, RolloutInput, RolloutOrder, RolloutState } from './contract.ts';

const VERBS: readonly string[] = ['pause', 'resume', 'undo'] satisfies OrderVerb[];

export const isOrderVerb = (word: unknown): word is OrderVerb => VERBS.includes(word as string);

/** A word as a person types it. @throws CodedError invalid_value */
export function orderVerb(word: string): OrderVerb {
  if (isOrderVerb(word)) return word;
  throw new CodedError('invalid_value', 'verb must be pause, resume or undo.', { param: 'verb' });
}

/** Why an order cannot be carried out, in a sentence; undefined: it can. The doors ask before they pass one on. */
export function orderProblem(state: RolloutState | undefined, verb: OrderVerb): string | undefined {
  const running = state?.running ?? null;
  switch (verb) {
    case 'pause':
      if (running === null) return 'No rollout is under way.';
      if (running.phase === 'rolling_back') return 'It is being rolled back, and that is not paused.';
      return running.pause === null ? undefined : `It has been paused already, by ${running.pause.actor}.`;
    case 'resume':
      return running?.pause === undefined || running.pause === null ? 'No rollout is paused.' : undefined;
    case 'undo':
      if (running === null)
        return state === undefined || previousRevision(state) === undefined
          ? 'There is no earlier revision to go back to.'
          : undefined;
      if (running.phase === 'rolling_back') return 'It is being rolled back already.';
      return running.from === null ? 'There is no earlier revision to go back to.' : undefined;
  }
}

/** The state after one order that has no problem. */
function carryOut(state: RolloutState, { verb, actor, reason }: RolloutOrder, input: RolloutInput): RolloutState {
  const { nowMs } = input;
  const { running } = state;
  if (running === null) {
    // orderProblem has seen that there is one.
    const back = previousRevision(state);
    return back === undefined ? state : { ...state, running: beginRollout(input, state.current, back) };
  }
  switch (verb) {
    case 'pause':
      return { ...state, running: { ...running, pause: { actor, reason, atMs: nowMs } } };
    case 'resume': {
      // The clock of a rollout stands still while it is paused.
      const pausedMs = Math.max(0, nowMs - (running.pause?.atMs ?? nowMs));
      const step = { ...running.step, sinceMs: running.step.sinceMs + pausedMs };
      return { ...state, running: { ...running, pause: null, step, deadlineAtMs: running.deadlineAtMs + pausedMs } };
    }
    case 'undo':
      return { ...state, running: turnBack(running, { kind: 'operator', actor, reason }, nowMs) };
  }
}

export interface OrdersDone {
  readonly state: RolloutState;
  readonly done: readonly RolloutOrder[];
  readonly refused: readonly { readonly order: RolloutOrder; readonly why: string }[];
}

/** Orders in the order in which they were given. */
export function takeOrders(state: RolloutState, input: RolloutInput): OrdersDone {
  const done: RolloutOrder[] = [];
  const refused: { order: RolloutOrder; why: string }[] = [];
  let now = state;
  for (const order of input.orders) {
    const why = orderProblem(now, order.verb);
    if (why === undefined) {
      now = carryOut(now, order, input);
      done.push(order);
    } else refused.push({ order, why });
  }
  return { state: now, done, refused };
}
