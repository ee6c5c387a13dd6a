/** Backoff: bounds, growth and the spread that full jitter promises. */
import fc from 'fast-check';
import t from 'tap';
import { backoffCeilingMs, backoffDelayMs } from '../../lib/backoff.ts';
import { seededRandom } from '../../lib/rng.ts';

t.test('the ceiling doubles from the base to the cap', async (t) => {
  const policy = { baseMs: 100, capMs: 1_000 };
  t.same(
    [0, 1, 2, 3, 4, 5].map((attempt) => backoffCeilingMs(attempt, policy)),
    [100, 200, 400, 800, 1_000, 1_000],
  );
  t.equal(backoffCeilingMs(-3, policy), 100, 'a negative attempt counts as the first');
  t.equal(backoffCeilingMs(5_000, policy), 1_000, 'overflow to infinity stays under the cap');
  t.equal(backoffCeilingMs(2, { ...policy, factor: 3 }), 900);
  t.equal(backoffCeilingMs(0, { baseMs: 10, capMs: 20, minMs: 50 }), 50, 'the floor wins over a lower cap');
});

t.test('a delay is a whole number between floor and ceiling', async () => {
  fc.assert(
    fc.property(
      fc.nat(60),
      fc.integer({ min: 1, max: 10_000 }),
      fc.integer({ min: 1, max: 600_000 }),
      fc.integer({ min: 0, max: 500 }),
      fc.integer(),
      (attempt, baseMs, capMs, minMs, seed) => {
        const policy = { baseMs, capMs, minMs };
        const delay = backoffDelayMs(attempt, policy, seededRandom(seed));
        return Number.isInteger(delay) && delay >= minMs && delay <= backoffCeilingMs(attempt, policy);
      },
    ),
  );
});

t.test('delays of many clients fill the whole range evenly', async (t) => {
  const random = seededRandom(7);
  const delays = Array.from({ length: 4_000 }, () => backoffDelayMs(3, { baseMs: 125, capMs: 1_000 }, random));
  const quarters = [0, 0, 0, 0];
  for (const delay of delays) quarters[Math.min(3, Math.floor(delay / 250))]! += 1;
  for (const count of quarters) t.ok(count > 800 && count < 1_200, `${count} of 4,000 in a quarter of the range`);
});
