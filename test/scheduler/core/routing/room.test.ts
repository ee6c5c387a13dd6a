/** Whether a request may be sent now or is better held: every engine over its cap of waiting prefill. */
import t from 'tap';
import { fleet } from './support.ts';

t.test('there is room until every engine has more waiting prefill than the cap, and the wait is told', async (t) => {
  const { router, put, pick } = fleet({ policy: 'cost', maxPendingPrefillMs: 50 });
  t.same(router.room('m', 'chat', 0), { kind: 'none' });
  put('a');
  put('b', { refusal: { by: 'draining', detail: '' } });
  t.same(router.room('m', 'chat', 0), { kind: 'room' });
  const lease = pick({ shape: { promptTokens: 8000 } }).picked?.lease;
  const full = router.room('m', 'chat', 0);
  t.equal(full.kind, 'full');
  t.ok(full.kind === 'full' && full.waitMs > 50 && full.waitMs < 200);
  put('c');
  t.same(router.room('m', 'chat', 0), { kind: 'room' });
  put('c', { refusal: { by: 'draining', detail: '' } });
  lease?.firstToken(10);
  t.same(router.room('m', 'chat', 10), { kind: 'room' });
});

t.test('a model whose engines cannot be picked has none; another endpoint is another question', async (t) => {
  const { router, put } = fleet({ policy: 'cost' });
  put('a', { serves: [{ model: 'm', endpoints: ['chat'] }] });
  t.same(router.room('m', 'embeddings', 0), { kind: 'none' });
  t.same(router.room('m', 'chat', 0), { kind: 'room' });
});

t.test('an engine that works on as many sequences as it can has no room', async (t) => {
  const { router, put, pick } = fleet({ policy: 'cost' });
  put('a', { maxSequences: 2 });
  const leases = [pick(), pick()].map(({ picked }) => picked?.lease);
  for (const lease of leases) lease?.firstToken(1);
  t.same(router.room('m', 'chat', 2), { kind: 'full', waitMs: 0 });
  leases[0]?.release();
  t.same(router.room('m', 'chat', 2), { kind: 'room' });
});
