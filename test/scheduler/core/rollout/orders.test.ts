/** Orders of operators, changes of mind, and what is remembered. */
import t from 'tap';
import type { OrderVerb, RolloutOrder } from '../../../../scheduler/core/rollout/contract.ts';
import { orderProblem } from '../../../../scheduler/core/rollout/orders.ts';
import { World } from './world.ts';

const [OLD, NEW, NEXT] = ['aaaaaaaaaa', 'bbbbbbbbbb', 'cccccccccc'];
const order = (verb: OrderVerb): RolloutOrder => ({ verb, actor: 'eve', reason: 'a look' });
const canary = (): World =>
  new World({ kind: 'canary', stepMs: 4000, steps: [10, 50], deadlineMs: 150_000 }, 4).begin();
const isOver = ({ state }: World): boolean => state?.running === null;

t.test('a paused rollout stands still, and its clock with it; it goes on where it was', async (t) => {
  const world = canary();
  world.revision = NEW;
  t.ok(world.until(({ out }) => out.traffic.shares[0]?.weight === 10));
  const { wanted } = world.tick([order('pause')]);
  for (let i = 0; i < 200; i++) world.tick();
  t.same([world.out.wanted, world.out.traffic.shares[0]?.weight], [wanted, 10], 'past its deadline');
  t.equal(world.state?.running?.phase, 'stepping');
  world.tick([order('resume')]);
  t.equal(world.state?.running?.pause, null);
  t.ok(world.until(isOver));
  t.equal(world.state?.history[0]?.outcome, 'done');
  t.same(
    world.events.filter(({ kind }) => ['paused', 'resumed'].includes(kind)),
    [
      { kind: 'paused', detail: 'by eve' },
      { kind: 'resumed', detail: 'by eve' },
    ],
  );
});

t.test('a rollout that is paused in its very first step has the replicas that it would have', async (t) => {
  const world = canary();
  world.revision = NEW;
  t.same(world.tick([order('pause')]).wanted, { [OLD]: 4, [NEW]: 1 });
});

t.test('a pause does not hold back a rollback', async (t) => {
  const world = canary();
  world.faults.set(NEW, 'errors');
  world.revision = NEW;
  world.load = 0;
  t.ok(world.until(({ out }) => out.traffic.shares[0]?.weight === 10));
  world.tick([order('pause')]);
  world.load = 200;
  t.ok(world.until(isOver));
  t.match(world.state?.history[0], { outcome: 'rolled_back', reason: { kind: 'gate', gate: 'error_rate' } });
});

t.test('undo in the middle starts the old replicas again before the new ones go', async (t) => {
  const world = new World({ kind: 'rolling', stepMs: 2000 }, 4).begin();
  world.revision = NEW;
  t.ok(world.until((now) => now.count(NEW, 'ready') === 3 && now.count(OLD, 'ready') === 1));
  world.tick([order('undo')]);
  t.match(world.state?.running, { phase: 'rolling_back', reason: { kind: 'operator', actor: 'eve' } });
  let least = Infinity;
  world.watch = (now) => {
    const serving = now.count(OLD, 'ready') + now.count(NEW, 'ready');
    least = Math.min(least, serving);
  };
  t.ok(world.until(isOver));
  t.ok(least >= 4, `${least} served at least`);
  t.equal(world.state?.current?.id, OLD);
  t.same([world.count(OLD, 'ready'), world.count(NEW)], [4, 0]);
});

t.test('undo after a rollout leads to the revision before, by the same strategy', async (t) => {
  const world = canary();
  t.equal(world.rollOut(NEW), 'done');
  world.tick([order('undo')]);
  t.match(world.state?.running, { from: { id: NEW }, to: { id: OLD }, phase: 'stepping' });
  t.ok(world.until(isOver));
  t.equal(world.state?.current?.id, OLD);
  t.equal(world.decide().changed, false, 'what the deployment asked for before is not rolled out again');
  t.equal(world.rollOut(NEXT), 'done', 'what it asks for next is');
});

t.test('undo of a canary that is being removed brings the old set back', async (t) => {
  const world = new World({ kind: 'blue_green', stepMs: 1000 }, 2).begin();
  world.revision = NEW;
  t.ok(world.until(({ state }) => state?.running?.phase === 'removing'));
  world.tick([order('undo')]);
  t.ok(world.until(isOver));
  t.same([world.state?.current?.id, world.state?.history[0]?.outcome], [OLD, 'rolled_back']);
});

t.test('orders that make no sense are refused with a sentence', async (t) => {
  const world = new World({ kind: 'rolling' }, 1);
  t.match(orderProblem(undefined, 'pause'), /No rollout/);
  t.match(orderProblem(undefined, 'undo'), /no earlier/);
  world.tick();
  t.match(orderProblem(world.state, 'undo'), /no earlier/);
  world.begin();
  t.match(orderProblem(world.state, 'pause'), /No rollout/);
  t.match(orderProblem(world.state, 'undo'), /no earlier/);
  t.match(orderProblem(world.state, 'resume'), /No rollout is paused/);
  world.revision = NEW;
  world.tick();
  t.match(orderProblem(world.state, 'resume'), /No rollout is paused/);
  world.tick([order('pause'), order('pause')]);
  t.match(world.events.at(-1), { kind: 'refused', detail: /^pause: It has been paused already, by eve/ });
  t.equal(orderProblem(world.state, 'resume'), undefined);
  world.tick([order('undo')]);
  t.match(orderProblem(world.state, 'pause'), /being rolled back/);
  t.match(orderProblem(world.state, 'undo'), /already/);
});

t.test('a new spec takes the place of a rollout; what serves goes on serving until it is replaced', async (t) => {
  const world = new World({ kind: 'rolling', stepMs: 2000 }, 4).begin();
  world.revision = NEW;
  t.ok(
    world.until((now) => now.count(NEW, 'ready') === 2 && now.count(OLD, 'ready') === 2 && now.replicas.length === 4),
  );
  world.revision = NEXT;
  const { traffic, wanted } = world.tick();
  t.match(world.state, { current: { id: OLD }, running: { from: { id: OLD }, to: { id: NEXT } } });
  t.same(wanted, { [OLD]: 2, [NEW]: 2, [NEXT]: 1 });
  t.same(
    traffic.shares.map(({ revision, weight }) => [revision, weight]),
    [
      [NEXT, 0],
      [OLD, 50],
      [NEW, 50],
    ],
  );
  t.ok(world.until(isOver));
  t.match(world.state?.history, [
    { outcome: 'done', revision: { id: NEXT } },
    { outcome: 'superseded' },
    { outcome: 'done' },
  ]);
  t.same([world.count(NEXT, 'ready'), world.replicas.length], [4, 4]);
});

t.test('the old spec again is an undo, and the new one after it a new attempt', async (t) => {
  const world = canary();
  world.revision = NEW;
  t.ok(world.until(({ out }) => out.traffic.shares[0]?.weight === 10));
  world.revision = OLD;
  world.tick();
  t.match(world.state?.running, { phase: 'rolling_back', reason: { kind: 'reverted' } });
  world.revision = NEXT;
  world.tick();
  t.match(world.state, { running: { to: { id: NEXT }, phase: 'stepping' }, history: [{ outcome: 'superseded' }, {}] });
  t.ok(world.until(({ out }) => out.traffic.shares[0]?.weight === 10));
  world.tick([order('undo')]);
  world.revision = OLD;
  world.tick();
  t.match(world.state?.running, { phase: 'rolling_back', reason: { kind: 'operator' } }, 'it was going back already');
  world.revision = NEW;
  world.tick();
  world.revision = NEXT;
  t.ok(world.until(isOver));
  t.equal(world.state?.current?.id, NEXT);
  const again = canary();
  again.revision = NEW;
  t.ok(again.until(({ out }) => out.traffic.shares[0]?.weight === 10));
  again.revision = OLD;
  again.tick();
  again.revision = NEW;
  again.tick();
  t.match(again.state?.running, { to: { id: NEW }, phase: 'stepping' });
  const seen = new World({ kind: 'rolling' }, 1).begin();
  seen.rollOut(NEW, 'wrong_answer');
  t.equal(seen.state?.seen, NEW);
  seen.revision = OLD;
  t.equal(seen.tick().state.running, null, 'the proven revision needs no rollout');
});

t.test('the strategy may change on the way, apart from its kind', async (t) => {
  const world = canary();
  world.revision = NEW;
  world.tick();
  world.strategy = { kind: 'rolling', stepMs: 1000, deadlineMs: 500_000 };
  world.tick();
  t.match(world.state?.running?.rules, { kind: 'canary', steps: [10, 50], stepMs: 1000 });
  t.equal((world.state?.running?.deadlineAtMs ?? 0) - (world.state?.running?.startedAtMs ?? 0), 500_000);
  world.tick();
  t.ok(world.until(isOver));
});

t.test('ten rollouts are remembered', async (t) => {
  const world = new World({ kind: 'rolling', stepMs: 0 }, 1).begin();
  world.load = 0;
  for (let at = 0; at < 12; at++) t.equal(world.rollOut(`${'abcdefghijkm'[at]}zzzzzzzzz`), 'done');
  t.equal(world.state?.history.length, 10);
  t.match(world.state?.history[0], { revision: { id: 'mzzzzzzzzz' }, outcome: 'done' });
});

t.test('a leader that takes over counts from nothing, and nothing is judged by less than nothing', async (t) => {
  const world = canary();
  world.revision = NEW;
  t.ok(world.until(({ out }) => out.traffic.shares[0]?.weight === 10));
  for (let i = 0; i < 3; i++) world.tick();
  world.tallies.clear();
  t.ok(world.until(isOver));
  t.equal(world.state?.history[0]?.outcome, 'done');
});
