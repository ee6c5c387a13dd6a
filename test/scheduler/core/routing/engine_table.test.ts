/** The table of engines by model, and the rows of numbers that picks read. */
import t from 'tap';
import type { EngineId } from '../../../../lib/ids.ts';
import { ROW } from '../../../../scheduler/core/routing/engine_rows.ts';
import { NEUTRAL_SPEED, speedOfRow } from '../../../../scheduler/core/routing/speed_priors.ts';
import { TIMING_ROWS } from '../../../../lib/engine_timing.ts';
import { facts, fleet, heldBlocks } from './support.ts';

const E = 'n/e' as EngineId;

t.test('an engine stands in the pool of each model that it serves, until it serves another or goes', async (t) => {
  const { router, put } = fleet({ policy: 'cost' });
  const models = () => ['m', 'x', 'y'].filter((model) => router.engines.pool(model) !== undefined);
  put('e', {
    serves: [
      { model: 'm', endpoints: [] },
      { model: 'x', endpoints: ['chat'] },
    ],
  });
  t.same(models(), ['m', 'x']);
  put('f');
  put('e', { serves: [{ model: 'y', endpoints: ['embeddings'] }] });
  t.same(models(), ['m', 'y']);
  t.same(
    router.engines.pool('m')?.slots.map(({ name }) => name),
    ['f'],
  );
  router.engines.remove(E);
  router.engines.remove(E);
  t.same(models(), ['m']);
  t.equal(router.engines.find(E), undefined);
  t.same(
    [...router.engines.slots].map(({ name }) => name),
    ['f'],
  );
});

t.test('the endpoints that all engines of a model answer are known, also after one has gone', async (t) => {
  const { router, put } = fleet({ policy: 'cost' });
  put('a', { serves: [{ model: 'm', endpoints: ['chat', 'completions'] }] });
  put('b', { serves: [{ model: 'm', endpoints: ['chat'] }] });
  t.equal(router.engines.pool('m')?.commonEndpoints, 1);
  router.engines.remove('n/b' as EngineId);
  t.equal(router.engines.pool('m')?.commonEndpoints, 3);
});

t.test(
  'a new life starts with no load and a closed breaker, as fast as the one before; the old one is forgotten',
  async (t) => {
    const { residency, told } = heldBlocks({});
    const { router, put, pick } = fleet({ policy: 'cost', residency });
    put('e');
    const lease = pick({ shape: { promptTokens: 500 } }).picked?.lease;
    const old = router.engines.find(E);
    for (let i = 0; i < 9; i++) pick().picked?.lease.end({ nowMs: 1, outcome: 'engine_died', outputTokens: 0 });
    t.equal(old?.breaker.state, 'open');
    const fit = old?.fit;
    put('e', { incarnation: 2 });
    const young = router.engines.find(E);
    t.match(young, { incarnation: 2, reservedRequests: 0, pendingPrefillTokens: 0, breaker: { state: 'closed' } });
    t.equal(young?.fit, fit);
    t.same(told, ['forget n/e 1']);
    lease?.end({ nowMs: 2, outcome: 'engine_died', outputTokens: 0 });
    t.match(young, { reservedRequests: 0, breaker: { state: 'closed', faults: 0 } }, 'a late end is not its doing');
    t.match(old, { reservedRequests: 0, pendingPrefillTokens: 0, contextTokens: 0 });
    t.equal(router.reservations.lives, 0);
  },
);

t.test('the size of a cache is passed on when it is news', async (t) => {
  const { residency, told } = heldBlocks({});
  const { put } = fleet({ policy: 'cost', residency });
  put('e');
  for (const kvTokens of [4096, 4096, 8192, undefined]) put('e', { kvTokens });
  put('e', { kvTokens: Number.NaN });
  t.same(told, ['sized n/e 4096', 'sized n/e 8192', 'sized n/e 0']);
});

t.test('an engine that comes back in the same life finds its requests again', async (t) => {
  const { router, put, pick } = fleet({ policy: 'cost' });
  put('e');
  const lease = pick().picked?.lease;
  router.engines.remove(E);
  put('e');
  t.equal(router.engines.find(E)?.reservedRequests, 1);
  lease?.release();
  t.equal(router.engines.find(E)?.reservedRequests, 0);
});

t.test('another model on the same engine has a speed of its own; engines of one kind share theirs', async (t) => {
  const { router, put } = fleet({ policy: 'cost' });
  const prior = speedOfRow(TIMING_ROWS['8b-fp8-h200']);
  put('e', { prior });
  t.same(router.engines.find(E)?.speed, prior);
  put('f', { prior });
  put('g');
  t.equal(put('g').speed, NEUTRAL_SPEED);
  const sample = { tookMs: 100, tokens: 1000, squares: 1e6, otherMs: 0 };
  for (let i = 0; i < 50; i++) router.engines.find(E)?.fit.prefill(sample);
  t.same(put('f', { prior }).speed, put('e', { prior }).speed);
  t.equal(put('g').speed, NEUTRAL_SPEED);
  const before = router.engines.find(E)?.fit;
  t.not(put('e', { prior, incarnation: 2, serves: [{ model: 'other', endpoints: [] }] }).fit, before);
});

t.test('rows are given out again, and keep what they say when there are more of them', async (t) => {
  const { router, put, pick } = fleet({ policy: 'least_requests' });
  for (let i = 0; i < 50; i++) put(`a${i}`, { otherRequests: i });
  for (let i = 0; i < 50; i += 2) router.engines.remove(`n/a${i}` as EngineId);
  for (let i = 0; i < 200; i++) put(`b${i}`, { otherRequests: 100 + i });
  for (const slot of router.engines.slots)
    t.equal(router.engines.rows[slot.rowAt + ROW.requests], slot.otherRequests + slot.reservedRequests);
  t.equal(new Set([...router.engines.slots].map(({ rowAt }) => rowAt)).size, 225);
  const first = pick().picked;
  t.equal(first?.lease.engine, 'n/a1');
  t.equal(router.engines.rows[(first?.slot.rowAt ?? 0) + ROW.requests], 2, 'a change is in the row at once');
});

t.test('the name of an engine without a slash is borne', async (t) => {
  const { router } = fleet({ policy: 'cost' });
  const slot = router.engines.put({ ...facts('x'), engine: 'x' as EngineId });
  t.equal(slot.name, 'x');
});
