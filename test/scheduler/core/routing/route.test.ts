/** Filter, score, pick: the decision names every engine with its cost or its reason. */
import t from 'tap';
import type { EngineId } from '../../../../lib/ids.ts';
import { seededRandom } from '../../../../lib/rng.ts';
import type { Candidate } from '../../../../scheduler/core/fleet/candidates.ts';
import { POLICIES, POLICY_NAMES } from '../../../../scheduler/core/routing/policies.ts';
import { createReservations } from '../../../../scheduler/core/routing/reservations.ts';
import { refusalOf, route } from '../../../../scheduler/core/routing/route.ts';
import { engineIdOf, NODE } from '../../fakes.ts';

function candidate(name: string, change: Partial<Candidate> = {}): Candidate {
  return {
    engine: engineIdOf(name),
    node: NODE,
    name,
    incarnation: 1,
    reserved: 0,
    otherRequests: 0,
    refusal: undefined,
    ...change,
  };
}

function decide(candidates: readonly Candidate[], tried: readonly string[] = [], seed = 1) {
  const reservations = createReservations();
  const decision = route({
    policy: 'least_requests',
    candidates,
    tried: new Set(tried.map((name) => engineIdOf(name))),
    reservations,
    random: seededRandom(seed),
  });
  return { decision, reservations };
}

t.test('the engine with the fewest requests of all schedulers is picked and reserved', async (t) => {
  const candidates = [
    candidate('a', { reserved: 2 }),
    candidate('b', { reserved: 0, otherRequests: 1 }),
    candidate('c', { reserved: 1, otherRequests: 1 }),
  ];
  const { decision, reservations } = decide(candidates);
  t.equal(decision.picked?.candidate.name, 'b');
  t.equal(reservations.count(engineIdOf('b'), 1), 1, 'the place is taken with the pick');
  t.same(decision.verdicts, [
    { kind: 'passed', engine: engineIdOf('a'), cost: 2 },
    { kind: 'picked', engine: engineIdOf('b'), cost: 1 },
    { kind: 'passed', engine: engineIdOf('c'), cost: 2 },
  ]);
});

t.test('refused and tried engines are passed over with their reasons', async (t) => {
  const draining = candidate('a', { refusal: { by: 'draining', detail: 'it stops' } });
  const { decision } = decide([draining, candidate('b'), candidate('c', { reserved: 9 })], ['b']);
  t.equal(decision.picked?.candidate.name, 'c');
  t.same(decision.verdicts[0], { kind: 'refused', engine: engineIdOf('a'), by: 'draining', detail: 'it stops' });
  t.match(decision.verdicts[1], { kind: 'refused', by: 'tried' });
});

t.test('ties are broken by the seed: the same seed picks the same engine, and every engine has its turn', async (t) => {
  const candidates = ['a', 'b', 'c'].map((name) => candidate(name));
  const picks = Array.from({ length: 60 }, (_, seed) => decide(candidates, [], seed).decision.picked?.candidate.name);
  t.equal(new Set(picks).size, 3);
  t.same(
    picks,
    Array.from({ length: 60 }, (_, seed) => decide(candidates, [], seed).decision.picked?.candidate.name),
  );
});

t.test('a silent node is taken only when there is no other', async (t) => {
  const stale = candidate('a', { refusal: { by: 'stale_telemetry', detail: '' } });
  t.equal(decide([stale, candidate('b', { reserved: 50 })]).decision.picked?.candidate.name, 'b');
  t.equal(decide([stale]).decision.picked?.candidate.name, 'a');
  t.equal(decide([stale], ['a']).decision.picked, undefined);
});

t.test('nothing is reserved when nothing is picked, and the refusal says why', async (t) => {
  const refused = (by: string) => candidate('a', { refusal: { by, detail: '' } });
  const { decision, reservations } = decide([refused('starting')]);
  t.equal(decision.picked, undefined);
  t.equal(reservations.total, 0);
  t.match(refusalOf('m', [refused('starting')]), { code: 'no_engine', retryAfterMs: 2000 });
  t.match(refusalOf('m', []), { code: 'no_engine' });
  t.match(refusalOf('m', [refused('at_capacity')]), { code: 'overloaded', retryAfterMs: 1000 });
  t.match(refusalOf('m', [refused('no_endpoint')]), { code: 'not_supported' });
  t.match(refusalOf('m', [refused('no_endpoint'), refused('starting')]), { code: 'no_engine' });
});

t.test('the registry names its policies', async (t) => {
  t.same(POLICY_NAMES, Object.keys(POLICIES));
  t.equal(POLICIES.least_requests(candidate('x', { reserved: 2, otherRequests: 3, engine: 'n/x' as EngineId })), 5);
});
