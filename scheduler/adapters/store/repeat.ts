/** When a statement is tried again and after which wait: one rule for both databases, which differ in their pauses. */
import { backoffDelayMs, type BackoffPolicy } from '../../../lib/backoff.ts';
import type { Clock } from '../../../lib/clock.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { SqlOptions } from './sql_driver.ts';
import { isAborted, sqlStateOf, toStoreError } from './sql_errors.ts';

const MAX_TRIES = 5;

/** Waits after a failed attempt, 0 being the first. */
export type Pause = (attempt: number, policy: BackoffPolicy) => Promise<void>;

export const createPause =
  ({ clock, random }: { readonly clock: Clock; readonly random: RandomSource }): Pause =>
  (attempt, policy) =>
    new Promise((resolve) => {
      clock.after(backoffDelayMs(attempt, policy, random), resolve);
    });

export interface RepeatRules {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly pauses: BackoffPolicy;
  /** A driver that is closed tries nothing again. */
  readonly isClosed: () => boolean;
}

/** Runs a statement, and again where that is allowed, five times at most. @throws CodedError of the last try */
export type Repeat = <Value>(options: Pick<SqlOptions, 'repeatable'>, run: () => Promise<Value>) => Promise<Value>;

export function createRepeat({ clock, random, pauses, isClosed }: RepeatRules): Repeat {
  const pause = createPause({ clock, random });
  return async ({ repeatable }, run) => {
    for (let attempt = 0; ; attempt++) {
      try {
        return await run();
      } catch (thrown) {
        const error = toStoreError(thrown);
        const mayRepeat = isAborted(sqlStateOf(thrown)) || (repeatable && error.code === 'store_unavailable');
        if (isClosed() || !mayRepeat || attempt + 1 >= MAX_TRIES) throw error;
      }
      await pause(attempt, pauses);
    }
  };
}
