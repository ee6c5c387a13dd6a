/** Requests of one engine keep together on a lane until it has much more to carry than another. */
import t from 'tap';
import { chooseLane } from '../../../../scheduler/core/fleet/lanes.ts';
import { fakeLane, NODE } from '../../fakes.ts';

/** A lane that carries so many requests of each engine. */
function lane(worker: number, byEngine: Readonly<Record<string, number>>) {
  const handle = fakeLane(NODE, worker);
  handle.load = Object.values(byEngine).reduce((sum, count) => sum + count, 0);
  handle.loadOf = (engine) => byEngine[engine] ?? 0;
  return handle;
}

const chosen = (engine: string, ...lanes: ReturnType<typeof lane>[]): number | undefined =>
  chooseLane(lanes, engine)?.worker;

t.test('the first request of an engine takes the emptiest lane, the next ones follow it', async (t) => {
  t.equal(chosen('a', lane(0, { b: 3 }), lane(1, { b: 1 }), lane(2, { b: 2 })), 1);
  t.equal(chosen('a', lane(0, { a: 1, b: 90 }), lane(1, {})), 0);
  t.equal(chosen('a', lane(0, { a: 1 }), lane(1, { a: 5 }), lane(2, { a: 2 })), 1, 'where most of them are');
});

t.test('an engine whose lane has 256 requests more than another goes on there', async (t) => {
  t.equal(chosen('a', lane(0, { a: 256 }), lane(1, {})), 0);
  t.equal(chosen('a', lane(0, { a: 257 }), lane(1, {})), 1);
  t.equal(chosen('a', lane(0, { a: 300 }), lane(1, { a: 44 })), 0, 'and comes back when that has filled up');
});

t.test('without a lane there is none', async (t) => {
  t.equal(chosen('a'), undefined);
});
