/** The policies beside the default one. */
import t from 'tap';
import type { PolicyName } from '../../../../../scheduler/core/routing/policies.ts';
import { SMG_DEFAULTS } from '../../../../../scheduler/core/routing/policies/prefix_affinity.ts';
import { blocksOf, fleet, heldBlocks, picksOf } from '../support.ts';

const NAMES = ['a', 'b', 'c', 'd'];
const fleetOf = (policy: PolicyName, names: readonly string[] = NAMES) => {
  const world = fleet({ policy });
  for (const name of names) world.put(name);
  return world;
};

t.test('random: every engine has about the same share, whatever its load', async (t) => {
  const world = fleetOf('random');
  world.put('a', { otherRequests: 50 });
  const counts = picksOf(world, 4000);
  for (const name of NAMES) t.ok(Math.abs((counts[`n/${name}`] ?? 0) - 1000) < 120, `${name}: ${counts[`n/${name}`]}`);
});

t.test('round_robin: each in its turn, a newcomer first', async (t) => {
  const world = fleetOf('round_robin');
  t.same(picksOf(world, 8), { 'n/a': 2, 'n/b': 2, 'n/c': 2, 'n/d': 2 });
  world.put('e');
  t.equal(world.pick().picked?.lease.engine, 'n/e');
  t.match(world.pick().trace.verdicts[0], { parts: [{ name: 'picked last as number' }] });
});

t.test('power_of_two: of two that are drawn the emptier one, and the rest is not looked at', async (t) => {
  const world = fleetOf('power_of_two');
  world.put('a', { otherRequests: 9 });
  const counts = picksOf(world, 3000);
  t.equal(counts['n/a'], undefined, 'the fullest never wins a draw of two');
  for (const name of ['b', 'c', 'd']) t.ok((counts[`n/${name}`] ?? 0) > 800);
  const { trace } = world.pick();
  t.equal(trace.verdicts.filter((verdict) => verdict.kind !== 'refused' && verdict.cost < Infinity).length, 2);
  const alone = fleetOf('power_of_two', ['x']);
  t.same(picksOf(alone, 3), { 'n/x': 3 });
});

t.test('session_sticky: a session stays, and moves only if its engine goes', async (t) => {
  const world = fleetOf('session_sticky', ['a', 'b', 'c', 'd', 'e']);
  const engineOf = (session: number): string => {
    const { picked } = world.pick({ shape: { sessionKey: `s${session}` } });
    picked?.lease.release();
    return picked?.lease.engine ?? '';
  };
  const before = Array.from({ length: 500 }, (_, session) => engineOf(session));
  t.same(
    before,
    Array.from({ length: 500 }, (_, session) => engineOf(session)),
  );
  t.equal(new Set(before).size, 5);
  for (const name of ['a', 'b', 'c', 'd', 'e'])
    t.ok(before.filter((engine) => engine === `n/${name}`).length > 60, `${name} has its share`);
  world.router.engines.remove('n/c' as never);
  const after = before.map((_, session) => engineOf(session));
  t.ok(
    before.every((engine, session) => engine === 'n/c' || engine === after[session]),
    'only its sessions moved',
  );
});

t.test(
  'session_sticky: without a session the beginning of the prompt holds; without both, the fewest requests',
  async (t) => {
    const world = fleetOf('session_sticky');
    const counts = picksOf(world, 20, { shape: { blocks: blocksOf(3, 4) } });
    t.equal(Object.keys(counts).length, 1);
    world.put('a', { otherRequests: 1 });
    t.equal(picksOf(world, 300)['n/a'], undefined);
    t.match(world.pick().trace.verdicts[0], { parts: [{ name: 'requests' }, { name: 'rendezvous hash', value: 0 }] });
  },
);

t.test('prefix_affinity: the longest match above the threshold, else the fewest requests', async (t) => {
  const { residency } = heldBlocks({ 'n/a': 6, 'n/b': 8 });
  const world = fleet({ policy: 'prefix_affinity', residency });
  for (const name of NAMES) world.put(name, { otherRequests: name === 'b' ? 20 : 1 });
  const shape = { promptTokens: 160, blocks: blocksOf(1, 10) };
  t.same(picksOf(world, 5, { shape }), { 'n/b': 5 });
  const matched = Math.floor((8 * 16) / SMG_DEFAULTS.matchRatio);
  t.equal(
    picksOf(world, 300, { shape: { ...shape, promptTokens: matched + 1 } })['n/b'],
    undefined,
    'too little of it',
  );
});

t.test('prefix_affinity: above the imbalance of both thresholds the match counts no more', async (t) => {
  const { residency } = heldBlocks({ 'n/a': 10 });
  const world = fleet({ policy: 'prefix_affinity', residency });
  for (const name of NAMES) world.put(name, { otherRequests: 10 });
  const shape = { promptTokens: 160, blocks: blocksOf(1, 10) };
  world.put('a', { otherRequests: 10 + SMG_DEFAULTS.imbalanceRequests });
  t.same(picksOf(world, 5, { shape }), { 'n/a': 5 });
  world.put('a', { otherRequests: 11 + SMG_DEFAULTS.imbalanceRequests });
  t.equal(picksOf(world, 100, { shape })['n/a'], undefined);
});
