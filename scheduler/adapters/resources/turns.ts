/**
 * Changes of one scheduler take turns: two that meet would race for the end of the log, and the loser would decide and
 * write anew for nothing. Whoever would wait behind too many is told so.
 */
import { CodedError } from '../../../lib/errors.ts';

/** Most changes that wait for their turn. */
const MAX_WAITING = 200;

export type Turns = <Result>(task: () => Promise<Result>) => Promise<Result>;

/** @returns a function that runs each task after the one before has ended; it throws CodedError store_busy when too many wait */
export function createTurns(maxWaiting = MAX_WAITING): Turns {
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return async (task) => {
    if (waiting >= maxWaiting) throw new CodedError('store_busy', 'Too many changes wait for their turn.');
    waiting++;
    const begin = async () => {
      waiting--;
      return task();
    };
    const turn = last.then(begin, begin);
    last = turn;
    return turn;
  };
}
