/** The bounded queue: both bounds hold under every sequence of operations, and nothing is lost silently. */
import fc from 'fast-check';
import t from 'tap';
import { createBoundedQueue, type OverflowPolicy } from '../../lib/bounded_queue.ts';

t.test('refuse hands the new item back when the count is reached', async (t) => {
  const queue = createBoundedQueue<string>({ maxCount: 2, maxWeight: 100, overflow: 'refuse' });
  t.same(queue.push('a'), []);
  t.same(queue.push('b'), []);
  t.same(queue.push('c'), ['c']);
  t.equal(queue.peek(), 'a');
  t.equal(queue.shift(), 'a');
  t.same(queue.push('d'), []);
  t.same(queue.drain(), ['b', 'd']);
  t.equal(queue.count, 0);
  t.equal(queue.weight, 0);
  t.equal(queue.shift(), undefined);
  t.equal(queue.peek(), undefined);
});

t.test('drop_oldest makes room by weight and hands back what it dropped', async (t) => {
  const queue = createBoundedQueue<string>({ maxCount: 10, maxWeight: 10, overflow: 'drop_oldest' });
  queue.push('a', 4);
  queue.push('b', 4);
  queue.push('c', 2);
  t.same(queue.push('d', 7), ['a', 'b']);
  t.equal(queue.weight, 9);
  t.same(queue.push('too heavy', 11), ['too heavy'], 'an item that can never fit displaces nothing');
  t.same(queue.drain(), ['c', 'd']);
});

t.test('removeWhere takes queued work out of the middle and keeps the order', async (t) => {
  const queue = createBoundedQueue<number>({ maxCount: 10, maxWeight: 100, overflow: 'refuse' });
  for (const item of [1, 2, 3, 4]) queue.push(item, item);
  t.same(
    queue.removeWhere((item) => item % 2 === 0),
    [2, 4],
  );
  t.equal(queue.weight, 4);
  t.same(queue.drain(), [1, 3]);
});

t.test('a queue that is never empty goes on for long without keeping what it gave out', async (t) => {
  const queue = createBoundedQueue<number>({ maxCount: 100, maxWeight: 1_000, overflow: 'refuse' });
  for (let item = 0; item < 80; item++) queue.push(item, 2);
  for (let item = 80; item < 5_000; item++) {
    if (queue.shift() !== item - 80) t.fail(`item ${item - 80} was lost`);
    queue.push(item, 2);
  }
  t.equal(queue.count, 80);
  t.equal(queue.weight, 160);
  t.equal(queue.peek(), 4_920);
});

t.test('limits and weights that make no sense are programming errors', async (t) => {
  t.throws(() => createBoundedQueue({ maxCount: 0, maxWeight: 1, overflow: 'refuse' }), RangeError);
  t.throws(() => createBoundedQueue({ maxCount: 1, maxWeight: Number.NaN, overflow: 'refuse' }), RangeError);
  const queue = createBoundedQueue({ maxCount: 1, maxWeight: 1, overflow: 'refuse' });
  t.throws(() => queue.push(1, -1), RangeError);
});

type Operation = { readonly kind: 'push'; readonly weight: number } | { readonly kind: 'shift' };
const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('push' as const), weight: fc.integer({ min: 0, max: 9 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('shift' as const) }) },
);

t.test('every item comes out exactly once, in order, and the bounds always hold', async () => {
  fc.assert(
    fc.property(
      fc.constantFrom<OverflowPolicy>('refuse', 'drop_oldest'),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 30 }),
      fc.array(operation, { maxLength: 400 }),
      (overflow, maxCount, maxWeight, operations) => {
        const queue = createBoundedQueue<{ id: number; weight: number }>({ maxCount, maxWeight, overflow });
        const inside: { id: number; weight: number }[] = [];
        let id = 0;
        for (const next of operations) {
          if (next.kind === 'shift') {
            if (queue.shift() !== inside.shift()) return false;
          } else {
            const item = { id: id++, weight: next.weight };
            const back = queue.push(item, item.weight);
            if (!back.includes(item)) inside.push(item);
            // What came back, other than the item itself, must have been the oldest, in order.
            for (const dropped of back) if (dropped !== item && dropped !== inside.shift()) return false;
            if (overflow === 'refuse' && back.length > 1) return false;
          }
          const weight = inside.reduce((sum, item) => sum + item.weight, 0);
          if (queue.count !== inside.length || queue.weight !== weight) return false;
          if (queue.count > maxCount || queue.weight > maxWeight) return false;
        }
        return JSON.stringify(queue.drain()) === JSON.stringify(inside);
      },
    ),
    { numRuns: 300 },
  );
});
