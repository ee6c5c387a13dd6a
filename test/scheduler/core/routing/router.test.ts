/** Filter, score, pick, reserve: the decision names the engines with their costs or their reasons. */
import t from 'tap';
import type { EngineId } from '../../../../lib/ids.ts';
import { MOST_OPEN, MOST_REFUSED, refusalOf, type Verdict } from '../../../../scheduler/core/routing/decision.ts';
import { POLICIES, POLICY_NAMES } from '../../../../scheduler/core/routing/policies.ts';
import { fleet } from './support.ts';

t.test('the engine with the fewest requests of all schedulers is picked and reserved', async (t) => {
  const { put, pick, router } = fleet({ policy: 'least_requests' });
  put('a', { otherRequests: 2 });
  put('b');
  put('c', { otherRequests: 1 });
  const first = pick();
  t.equal(first.picked?.lease.engine, 'n/b');
  t.equal(router.reservations.count('n/b' as EngineId, 1), 1, 'the place is taken with the pick');
  t.same(
    first.trace.verdicts.map((verdict) => verdict.kind !== 'refused' && [verdict.kind, verdict.engine, verdict.cost]),
    [
      ['picked', 'n/b', 0],
      ['passed', 'n/c', 1],
      ['passed', 'n/a', 2],
    ],
  );
});

t.test('refused and tried engines are passed over with their reasons', async (t) => {
  const { put, pick } = fleet({ policy: 'least_requests' });
  put('a', { refusal: { by: 'draining', detail: 'it stops' } });
  put('b');
  put('c', { otherRequests: 9 });
  const decision = pick({ tried: ['n/b'] });
  t.equal(decision.picked?.lease.engine, 'n/c');
  const refused = decision.trace.verdicts.filter((verdict) => verdict.kind === 'refused');
  t.match(refused, [{ by: 'draining', detail: 'it stops' }, { by: 'tried' }] satisfies Partial<Verdict>[]);
  t.same(
    [...decision.trace.refused],
    [
      ['draining', 1],
      ['tried', 1],
    ],
  );
});

t.test('ties are broken by the seed: the same seed picks the same engine, and every engine has its turn', async (t) => {
  const picksOf = () =>
    Array.from({ length: 60 }, (_, seed) => {
      const { put, pick } = fleet({ policy: 'least_requests', seed });
      for (const name of ['a', 'b', 'c']) put(name);
      return pick().picked?.lease.engine;
    });
  t.equal(new Set(picksOf()).size, 3);
  t.same(picksOf(), picksOf());
});

t.test('a silent node is taken only when there is no other, and the decision says so', async (t) => {
  const { put, pick } = fleet({ policy: 'least_requests' });
  put('a', { lastSeenAtMs: -20_000 });
  t.match(pick(), { trace: { mode: 'stale' }, picked: { lease: { engine: 'n/a' } } });
  put('b', { otherRequests: 50 });
  t.match(pick(), { trace: { mode: undefined }, picked: { lease: { engine: 'n/b' } } });
  t.match(pick({ tried: ['n/b'] }), { trace: { mode: 'stale' }, picked: { lease: { engine: 'n/a' } } });
  t.equal(pick({ tried: ['n/a', 'n/b'] }).picked, undefined);
});

t.test('nothing is reserved when nothing is picked, and the refusal says why', async (t) => {
  const { put, pick, router } = fleet({ policy: 'cost' });
  t.match(refusalOf('m', pick().trace), { code: 'no_engine' });
  put('a', { refusal: { by: 'starting', detail: '' } });
  const decision = pick();
  t.equal(decision.picked, undefined);
  t.equal(router.reservations.total, 0);
  t.match(refusalOf('m', decision.trace), { code: 'no_engine', retryAfterMs: 2000 });
  put('a', { maxRequests: 0 });
  t.match(refusalOf('m', pick().trace), { code: 'overloaded', retryAfterMs: 1000 });
  put('a', { serves: [{ model: 'm', endpoints: ['chat'] }] });
  t.match(refusalOf('m', pick({ endpoint: 'embeddings' }).trace), { code: 'not_supported' });
  put('b', { refusal: { by: 'starting', detail: '' } });
  t.match(refusalOf('m', pick({ endpoint: 'embeddings' }).trace), { code: 'no_engine' });
});

t.test('a decision over a large fleet is bounded: the best, some refused, and counts of the rest', async (t) => {
  const { put, pick } = fleet({ policy: 'least_requests' });
  for (let i = 0; i < 200; i++) put(`a${i}`, { otherRequests: 200 - i });
  for (let i = 0; i < 100; i++) put(`b${i}`, { refusal: { by: 'draining', detail: '' } });
  const { verdicts, refused, engines } = pick().trace;
  t.equal(engines, 300);
  t.same([...refused], [['draining', 100]]);
  t.equal(verdicts.length, MOST_OPEN + MOST_REFUSED);
  const costs = verdicts.flatMap((verdict) => (verdict.kind === 'refused' ? [] : [verdict.cost]));
  t.same(
    costs,
    Array.from({ length: MOST_OPEN }, (_, i) => i + 1),
    'the cheapest first',
  );
});

t.test('the registry names its policies', async (t) => {
  t.same(POLICY_NAMES, Object.keys(POLICIES));
  t.ok(POLICY_NAMES.includes('cost'));
});
