/** The new replicas come up: none has failed for good, and none ends again and again. */
import { type Gate, failed, passed, WATCHED, waits } from './gate.ts';

/** An engine that ended so often before it was ready will not come up by itself. */
export const MOST_RESTARTS = 3;

export const readiness: Gate = {
  name: 'readiness',
  phases: WATCHED,
  ask({ census }) {
    const { fresh } = census;
    const bad = fresh.find(
      ({ state, restarts = 0 }) => state === 'failed' || (state !== 'ready' && restarts >= MOST_RESTARTS),
    );
    if (bad !== undefined) {
      const { key, state, restarts = 0, reason = '' } = bad;
      return failed('readiness', { replica: key, state, restarts, reason });
    }
    const late = fresh.find(({ state }) => state !== 'ready');
    if (late === undefined) return passed();
    return waits('readiness', { replica: late.key, state: late.state, reason: late.reason ?? '' });
  },
};
