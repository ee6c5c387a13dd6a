/** The shares of tenants as `npm run bench -- fairness` measures them, in a run that is short enough for a suite. */
import t from 'tap';
import { measureFairness } from '../../bench/sim/fairness.ts';

t.test('tenants get their weights’ shares of a fleet that all want more of', async (t) => {
  for (const weights of [
    [1, 1, 1],
    [1, 2, 4],
  ]) {
    const row = measureFairness(weights, { seconds: 500, overload: 1.3, seed: 7 });
    t.ok(row.jain > 0.99, `jain ${row.jain}`);
    t.ok(row.maxShareError < 0.02, `off by ${row.maxShareError}`);
    t.ok(row.shed > 0 && row.meanWaitS > 1, 'there was more than could be served');
    t.same(measureFairness(weights, { seconds: 500, overload: 1.3, seed: 7 }), row, 'one seed, one result');
  }
});
