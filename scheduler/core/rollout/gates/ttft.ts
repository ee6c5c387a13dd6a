/**
 * The first token comes no later than `maxTtftRatio` times what the old revision takes: the Mann-Whitney U test, one-sided,
 * of the new times against the old ones made that many times longer. So the least difference that counts is part of what
 * is tested, and no slowness below it turns a rollout back however sure it is.
 */
import { afterLook, alphaOf, isDue } from '../statistics/looks.ts';
import { mannWhitneyGreater, medianOf } from '../statistics/mann_whitney.ts';
import { failed, type Gate, looksOf, passed, rounded, WATCHED } from './gate.ts';

/** Times of the old revision below which there is nothing to compare with. */
export const LEAST_OLD_TIMES = 12;

export const ttft: Gate = {
  name: 'ttft',
  phases: WATCHED,
  ask(ask) {
    const { fresh, old, running } = ask;
    const { maxTtftRatio } = running.rules;
    const looks = looksOf(ask, 'ttft');
    if (!isDue(looks, fresh.ttftCount) || old.ttftMs.length < LEAST_OLD_TIMES) return passed();
    const { p } = mannWhitneyGreater(
      fresh.ttftMs,
      old.ttftMs.map((ms) => ms * maxTtftRatio),
    );
    if (p > alphaOf(looks)) return passed({ ttft: afterLook(looks, fresh.ttftCount) });
    return failed('ttft', {
      test: 'Mann-Whitney U, one-sided',
      medianMs: rounded(medianOf(fresh.ttftMs)),
      oldMedianMs: rounded(medianOf(old.ttftMs)),
      times: fresh.ttftMs.length,
      oldTimes: old.ttftMs.length,
      limit: maxTtftRatio,
      p: rounded(p),
      alpha: rounded(alphaOf(looks)),
    });
  },
};
