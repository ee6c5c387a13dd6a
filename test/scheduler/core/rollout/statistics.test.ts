/** The statistical tests against figures that others have published, and against counting out. */
import fc from 'fast-check';
import t from 'tap';
import { fisherGreater } from '../../../../scheduler/core/rollout/statistics/fisher.ts';
import { afterLook, ALPHA, alphaOf, firstLook, isDue } from '../../../../scheduler/core/rollout/statistics/looks.ts';
import { exactTail, mannWhitneyGreater, medianOf } from '../../../../scheduler/core/rollout/statistics/mann_whitney.ts';
import {
  binomialTail,
  hypergeometricTail,
  lnFactorial,
  normalTail,
} from '../../../../scheduler/core/rollout/statistics/tails.ts';

const near = (
  t: { ok(value: boolean, what: string): unknown },
  found: number,
  wanted: number,
  relative: number,
  what: string,
): void => {
  t.ok(Math.abs(found - wanted) <= relative * wanted, `${what}: ${found}, published ${wanted}`);
};

t.test('the tail of the normal distribution is that of printed tables', async (t) => {
  // Abramowitz and Stegun, table 26.1 and 26.2.
  near(t, normalTail(1), 0.1586552539, 1e-9, 'z = 1');
  near(t, normalTail(1.96), 0.0249978952, 1e-8, 'z = 1.96');
  near(t, normalTail(3), 0.0013498980316, 1e-9, 'z = 3');
  near(t, normalTail(3.1), 0.0009676032132, 1e-9, 'z = 3.1');
  near(t, normalTail(4), 3.16712418e-5, 1e-8, 'z = 4');
  near(t, normalTail(6), 9.86587645e-10, 1e-8, 'z = 6');
  near(t, normalTail(-1.96), 0.9750021048, 1e-9, 'z = -1.96');
  t.equal(normalTail(0), 0.5);
});

t.test('the logarithm of a factorial is a sum of logarithms on both sides of its table', async (t) => {
  t.equal(lnFactorial(0), 0);
  near(t, lnFactorial(10), Math.log(3_628_800), 1e-14, '10!');
  near(t, lnFactorial(1024), lnFactorial(1023) + Math.log(1024), 1e-14, '1024!');
  near(t, lnFactorial(5000), 37_591.143508877, 1e-12, '5000!');
});

t.test('the binomial tail is that of the textbooks', async (t) => {
  near(t, binomialTail(8, 10, 0.5), 56 / 1024, 1e-12, '8 or more heads of 10');
  // 51 sixes or more in 235 throws of a die, the standard example of the exact binomial test.
  near(t, binomialTail(51, 235, 1 / 6), 0.02654425, 1e-6, '51 sixes');
  t.same(
    [binomialTail(0, 5, 0.1), binomialTail(6, 5, 0.1), binomialTail(3, 5, 0), binomialTail(3, 5, 1)],
    [1, 0, 0, 1],
  );
  near(t, binomialTail(1, 100_000, 0.5), 1, 1e-9, 'a tail that begins where doubles have no number');
});

t.test("Fisher's test gives his own figures", async (t) => {
  const p = (a: number, n: number, c: number, m: number): number =>
    fisherGreater({ failures: a, requests: n }, { failures: c, requests: m });
  near(t, p(4, 4, 0, 4), 1 / 70, 1e-12, 'the lady tasting tea, all right');
  near(t, p(3, 4, 1, 4), 17 / 70, 1e-12, 'the lady tasting tea, three right');
  near(t, p(11, 14, 1, 10), 0.0013797281, 1e-7, 'eleven of 14 against one of 10');
  t.equal(p(0, 10, 5, 10), 1);
  t.equal(hypergeometricTail(6, 5, 7, 20), 0);
});

t.test("Fisher's test is what counting out gives", async (t) => {
  const choose = (n: number, k: number): number => {
    let ways = k < 0 || k > n ? 0 : 1;
    for (let i = 1; i <= Math.min(k, n); i++) ways = (ways * (n - k + i)) / i;
    return ways;
  };
  fc.assert(
    fc.property(fc.nat(12), fc.nat(12), fc.nat(12), fc.nat(12), (a, b, c, d) => {
      const [n, m] = [a + b, c + d];
      let tail = 0;
      for (let x = a; x <= n; x++) tail += choose(n, x) * choose(m, a + c - x);
      const wanted = tail / choose(n + m, a + c);
      const found = fisherGreater({ failures: a, requests: n }, { failures: c, requests: m });
      return Math.abs(found - wanted) < 1e-9;
    }),
    { numRuns: 300, seed: 1 },
  );
  t.pass('300 tables');
});

t.test('U has the critical values of the printed tables', async (t) => {
  // Largest U of the smaller side at 5 % one-sided; a tail from n * m - U on is as likely.
  const table: readonly (readonly [n: number, m: number, critical: number])[] = [
    [5, 5, 4],
    [8, 8, 15],
    [10, 10, 27],
    [4, 10, 7],
    [12, 15, 55],
    [20, 20, 138],
  ];
  for (const [n, m, critical] of table) {
    t.ok(exactTail(n * m - critical, n, m) <= 0.05, `${n} and ${m}: ${critical} is critical`);
    t.ok(exactTail(n * m - critical - 1, n, m) > 0.05, `${n} and ${m}: ${critical + 1} is not`);
  }
});

t.test('an example of the statistics packages comes out alike', async (t) => {
  // Ages at diagnosis of men and women: U = 17; half of the two-sided exact 0.1111.
  const { u, p } = mannWhitneyGreater([19, 22, 16, 29, 24], [20, 11, 17, 12]);
  t.equal(u, 17);
  near(t, p, 0.1111111 / 2, 1e-6, 'exact');
  const many = Array.from({ length: 21 }, (_, at) => at);
  const shifted = mannWhitneyGreater(
    many.map((value) => value + 6.5),
    many,
  );
  near(t, shifted.p, exactTail(shifted.u, 21, 21), 0.3, 'the normal distribution where there are many');
});

t.test('with ties the variance is that of all ways to deal the same values out', async (t) => {
  const values = [1, 1, 2, 2, 2, 3];
  const all: number[] = [];
  for (let mask = 0; mask < 64; mask++) {
    const left = values.filter((_, at) => (mask >> at) & 1);
    if (left.length === 3)
      all.push(
        mannWhitneyGreater(
          left,
          values.filter((_, at) => !((mask >> at) & 1)),
        ).u,
      );
  }
  const mean = all.reduce((sum, u) => sum + u, 0) / all.length;
  const variance = all.reduce((sum, u) => sum + (u - mean) ** 2, 0) / all.length;
  t.equal(mean, 4.5);
  const tieSum = 2 ** 3 - 2 + (3 ** 3 - 3);
  near(t, variance, (9 / 12) * (7 - tieSum / 30), 1e-9, 'variance');
  // U = 9 of these: the p of the program is that of this mean and variance.
  near(t, mannWhitneyGreater([2, 2, 3], [1, 1, 2]).p, normalTail((8 - 4.5 - 0.5) / Math.sqrt(variance)), 1e-9, 'p');
});

t.test('samples that say nothing give 1', async (t) => {
  t.same(mannWhitneyGreater([], [1]), { u: 0, p: 1 });
  t.equal(mannWhitneyGreater([1], []).p, 1);
  t.same(mannWhitneyGreater([3, 3], [3, 3, 3]), { u: 3, p: 1 });
  t.same([medianOf([3, 1, 2]), medianOf([4, 1, 2, 3]), medianOf([])], [2, 2.5, Number.NaN]);
});

t.test('all looks together may be wrong with ALPHA, however many there are', async (t) => {
  let looks = firstLook(10);
  let sum = 0;
  t.notOk(isDue(looks, 9));
  for (let sample = 10; sample < 1e9; sample = looks.nextAt) {
    t.ok(isDue(looks, sample));
    sum += alphaOf(looks);
    looks = afterLook(looks, sample);
  }
  t.ok(looks.taken > 60 && looks.taken < 100, `${looks.taken} looks at a thousand million requests`);
  t.ok(sum < ALPHA && sum > 0.98 * ALPHA, `they spend ${sum}`);
  t.equal(afterLook(firstLook(1), 1).nextAt, 2, 'the next look is a later one');
});
