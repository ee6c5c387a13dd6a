/** Second tries are a part of the requests, with a trickle for quiet fleets and a store for one large failure. */
import fc from 'fast-check';
import t from 'tap';
import { createRetryBudget } from '../../../../scheduler/core/routing/retry_budget.ts';

t.test('what was saved up is granted at once, then only what comes in', async (t) => {
  const budget = createRetryBudget({ perRequest: 0.5, perSecond: 2, most: 3 });
  for (let i = 0; i < 3; i++) t.same(budget.take(0), { granted: true });
  t.same(budget.take(0), { granted: false, retryAfterMs: 500 });
  budget.arrived();
  t.same(budget.take(0), { granted: false, retryAfterMs: 250 });
  budget.arrived();
  t.same(budget.take(0), { granted: true });
  t.same(budget.take(250), { granted: false, retryAfterMs: 250 });
  t.same(budget.take(500), { granted: true });
  t.match(budget, { granted: 5, refused: 3 });
});

t.test('no more is saved than the store holds, and a clock that goes back adds nothing', async (t) => {
  const budget = createRetryBudget({ perRequest: 1, perSecond: 10, most: 2 });
  for (let i = 0; i < 10; i++) budget.arrived();
  t.equal(budget.left, 2);
  budget.take(10_000);
  budget.take(10_000);
  t.equal(budget.take(0).granted, false);
  t.equal(budget.take(50).granted, false);
  t.equal(budget.take(150).granted, true);
});

t.test('over any history the grants stay within the part of the requests, the trickle and the store', async (t) => {
  const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: -100, max: 300 })), { maxLength: 300 });
  fc.assert(
    fc.property(steps, (history) => {
      const budget = createRetryBudget({ perRequest: 0.2, perSecond: 10, most: 20 });
      let nowMs = 0;
      let forwardMs = 0;
      let requests = 0;
      for (const [isRequest, byMs] of history) {
        nowMs += byMs;
        forwardMs += Math.max(0, byMs);
        if (isRequest) {
          requests += 1;
          budget.arrived();
        } else budget.take(nowMs);
        if (budget.left < 0) return false;
      }
      return budget.granted <= 20 + requests * 0.2 + (forwardMs / 1000) * 10 + 1e-6;
    }),
  );
  t.equal(createRetryBudget().left, 512);
});
