/** A part that does not turn is named, and only then. */
import t from 'tap';
import { Vitals } from '../../lib/vitals.ts';

t.test('parts live while each beats within its bound, and the longest silent comes first', async (t) => {
  const vitals = new Vitals();
  let slowLimitMs = 1000;
  vitals.expect('fast', () => 100, 0);
  vitals.expect('slow', () => slowLimitMs, 0);
  t.same(vitals.stale(100), []);
  vitals.beat('slow', 50);
  t.same(vitals.stale(101), [{ part: 'fast', silentMs: 101, limitMs: 100 }]);
  t.same(
    vitals.stale(2000).map(({ part }) => part),
    ['fast', 'slow'],
  );
  slowLimitMs = 10_000;
  vitals.beat('fast', 2000);
  t.same(vitals.stale(2000), [], 'a bound may change while the process runs');
});

t.test('a part that nobody expects is ignored; the same part twice, or too many, is a mistake', async (t) => {
  const vitals = new Vitals();
  vitals.beat('unknown', 5);
  t.same(vitals.stale(1e9), []);
  vitals.expect('one', () => 1, 0);
  t.throws(() => vitals.expect('one', () => 1, 0), /watched already/);
  for (let i = 0; i < 31; i++) vitals.expect(`part-${i}`, () => 1, 0);
  t.throws(() => vitals.expect('beyond', () => 1, 0), /No more than 32/);
});
