/**
 * The new revision says something. An engine that takes requests and never answers gives no failures and no times, so the
 * tests of both would wait for ever.
 */
import { since } from '../tallies.ts';
import { failed, type Gate, passed, WATCHED } from './gate.ts';

/** So many requests without a word from any are no chance. */
export const LEAST_STARTED = 10;

export const silence: Gate = {
  name: 'silence',
  phases: WATCHED,
  ask({ running: { step, rules }, fresh, old, nowMs }) {
    const { started, spoken, ended } = since(fresh, step.before);
    const heard = spoken + ended;
    const waitedMs = nowMs - step.sinceMs;
    const isSilent = started >= LEAST_STARTED && heard === 0 && waitedMs >= rules.stepMs;
    // Where the old revision does not speak either, it is not the revision.
    if (!isSilent || old.spoken + old.ended === 0) return passed();
    return failed('silence', { started, waitedMs });
  },
};
