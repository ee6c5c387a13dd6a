/** Each new replica gives one real answer, and the right one, before it is sent any request of a client. */
import type { ReplicaFacts } from '../contract.ts';
import { type Gate, failed, passed, WATCHED, waits } from './gate.ts';

/** A prompt that was not answered at all may be asked so often: a connection breaks now and then, a wrong answer does not. */
export const MOST_ATTEMPTS = 3;

const isWrong = ({ smoke }: ReplicaFacts): boolean =>
  smoke !== undefined && !smoke.ok && (smoke.answered || smoke.attempts >= MOST_ATTEMPTS);

export const smoke: Gate = {
  name: 'smoke',
  phases: WATCHED,
  ask({ census, running }) {
    const wrong = census.fresh.find(isWrong);
    if (wrong !== undefined) {
      const { attempts = 0, detail = '' } = wrong.smoke ?? {};
      return failed('smoke', { replica: wrong.key, attempts, answer: detail, wanted: running.rules.smoke.contains });
    }
    const passedKeys = new Set(running.passed);
    const unasked = census.fresh.find(({ key, state }) => state === 'ready' && !passedKeys.has(key));
    return unasked === undefined ? passed() : waits('smoke', { replica: unasked.key });
  },
};

/** Keys of replicas whose prompt is to be sent now. */
export function toAsk(fresh: readonly ReplicaFacts[], passedKeys: ReadonlySet<string>): string[] {
  return fresh
    .filter((replica) => replica.state === 'ready' && !passedKeys.has(replica.key))
    .filter((replica) => replica.smoke?.ok !== true && !isWrong(replica))
    .map(({ key }) => key);
}
