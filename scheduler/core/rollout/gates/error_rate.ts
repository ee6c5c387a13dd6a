/**
 * Requests fail no more often with the new revision: not more than the old one's (Fisher's exact test, one-sided, with a
 * least difference), and not more than the operator allows (exact binomial test against that rate). The second does not
 * turn back to an old revision that fails as often itself: that would help nobody.
 */
import type { RevisionTally } from '../contract.ts';
import { fisherGreater } from '../statistics/fisher.ts';
import { afterLook, alphaOf, isDue } from '../statistics/looks.ts';
import { binomialTail } from '../statistics/tails.ts';
import { type Asked, failed, type Gate, type GateAsk, looksOf, passed, rounded, WATCHED } from './gate.ts';

/** A difference that is sure and smaller than this is no reason to go back. */
export const LEAST_DIFFERENCE = 0.005;

const rateOf = (count: number, { ended }: RevisionTally): number => (ended === 0 ? 0 : count / ended);

/** Fisher's test of one kind of failure. */
export function compareRates(ask: GateAsk, gate: 'error_rate' | 'rejections'): Asked {
  const [looksName, field] =
    gate === 'error_rate' ? (['failures', 'failures'] as const) : (['rejections', 'rejections'] as const);
  const { fresh, old } = ask;
  const looks = looksOf(ask, looksName);
  if (!isDue(looks, fresh.ended) || old.ended === 0) return passed();
  const p = fisherGreater(
    { requests: fresh.ended, failures: fresh[field] },
    { requests: old.ended, failures: old[field] },
  );
  const [rate, oldRate] = [rateOf(fresh[field], fresh), rateOf(old[field], old)];
  if (p > alphaOf(looks) || rate - oldRate < LEAST_DIFFERENCE)
    return passed({ [looksName]: afterLook(looks, fresh.ended) });
  return failed(gate, {
    test: 'Fisher exact, one-sided',
    requests: fresh.ended,
    failed: fresh[field],
    oldRequests: old.ended,
    oldFailed: old[field],
    p: rounded(p),
    alpha: rounded(alphaOf(looks)),
  });
}

function againstLimit(ask: GateAsk): Asked {
  const { fresh, old, running } = ask;
  const looks = looksOf(ask, 'limit');
  if (!isDue(looks, fresh.ended)) return passed();
  const p = binomialTail(fresh.failures, fresh.ended, running.rules.maxErrorRate);
  const isOldAsBad = old.ended > 0 && rateOf(old.failures, old) >= rateOf(fresh.failures, fresh);
  if (p > alphaOf(looks) || isOldAsBad) return passed({ limit: afterLook(looks, fresh.ended) });
  return failed('error_rate', {
    test: 'binomial, exact, one-sided',
    requests: fresh.ended,
    failed: fresh.failures,
    limit: running.rules.maxErrorRate,
    p: rounded(p),
    alpha: rounded(alphaOf(looks)),
  });
}

export const errorRate: Gate = {
  name: 'error_rate',
  phases: WATCHED,
  ask(ask) {
    const compared = compareRates(ask, 'error_rate');
    if (compared.verdict.kind === 'fail') return compared;
    const limited = againstLimit(ask);
    return { verdict: limited.verdict, looks: { ...compared.looks, ...limited.looks } };
  },
};
