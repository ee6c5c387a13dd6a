/** The run loop over fakes and a virtual clock: orders of people and GPUs, and agents that follow one another. */
import t from 'tap';
import { EMPTY_STATE } from '../../agent/core/agent_state.ts';
import type { AdoptableEngine, LaunchPlan } from '../../agent/ports.ts';
import { createFixture, FakeEngine, type Fixture, serving, SIM_SPEC } from './support/loop_fixture.ts';

t.test('a drain by a person lets requests end, tells how long, and lasts over another order', async (t) => {
  const fixture = await serving();
  fixture.progress('e1', { open: 4, lastProgressAtMs: fixture.clock.nowMs });
  fixture.loop.hold({ actor: 'ann', reason: 'disk', sinceMs: 5 }, 'e1');
  await fixture.clock.pass(600);
  t.match(fixture.targets, [{ engine: 'e1', draining: true }]);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_DRAINING', drain: { actor: 'ann', reason: 'disk' } });
  fixture.progress('e1', { open: 2, lastProgressAtMs: fixture.clock.nowMs });
  await fixture.clock.pass(1100);
  t.match(fixture.latest('e1')?.drain, { runningRequests: 2, etaMs: Number });
  fixture.progress('e1', { open: 0 });
  await fixture.clock.pass(600);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_STOPPED', reason: 'drained' });
  fixture.desire(2, [SIM_SPEC]);
  await fixture.clock.pass(60_000);
  t.equal(fixture.engines.length, 1);
  fixture.loop.unhold('bob', 'e1');
  await fixture.clock.pass(500);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
});

t.test('a drained node stays drained for engines that come later, and is told', async (t) => {
  const fixture = await serving();
  fixture.loop.hold({ actor: 'ann', reason: '', sinceMs: 5 });
  t.match(fixture.nodeEvents.at(-1), { draining: true, drain: { actor: 'ann', runningRequests: 0 } });
  t.match(fixture.loop.nodeEvent(), { draining: true });
  fixture.desire(2, [SIM_SPEC, { ...SIM_SPEC, name: 'e2' }]);
  await fixture.clock.pass(2000);
  t.match(fixture.latest('e2'), { state: 'ENGINE_STATE_STOPPED' });
  t.equal(fixture.engines.length, 1);
  fixture.loop.hold({ actor: 'bob', reason: '', sinceMs: 6 }, 'e2');
  fixture.loop.unhold('ann');
  await fixture.clock.pass(2000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
  t.equal(fixture.latest('e2')?.state, 'ENGINE_STATE_STOPPED', 'it was drained by name too');
  t.match(fixture.nodeEvents.at(-1), { draining: false });
  t.equal(fixture.loop.nodeEvent(), undefined);
});

const planOf = (hash: string): LaunchPlan => ({
  engine: 'e1',
  incarnation: 7,
  command: 'node',
  args: ['/app/engines/sim/main.js', '--model', 'm'],
  environment: {},
  workingDirectory: '/data/engines/e1',
  outputFile: '/data/engines/e1/output.log',
  address: { kind: 'unix', path: '/data/engines/e1/api.sock' },
  specHash: hash,
});

/** The state and the running engine that an agent leaves which was stopped. */
async function leftBehind(): Promise<{ before: Fixture; adoptable: AdoptableEngine; engine: FakeEngine }> {
  const before = await serving();
  await before.loop.detach();
  const { plan } = before.engine();
  const engine = new FakeEngine(plan, 100);
  return {
    before,
    engine,
    adoptable: { engine: 'e1', incarnation: 1, specHash: plan.specHash, plan, launched: engine },
  };
}

t.test('a new agent serves again at once with the engines of the old one, with no scheduler at all', async (t) => {
  const { before, adoptable, engine } = await leftBehind();
  t.equal(before.clock.alarms, 0, 'an agent that let go has no timer left');
  const state = before.saved.at(-1) ?? EMPTY_STATE;
  const fixture = createFixture({ state, adoptable: [adoptable] });
  fixture.engines.push(engine);
  await fixture.loop.restore();
  await fixture.clock.pass(50);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', adopted: true, incarnation: 1, generation: 1 });
  t.match(fixture.targets, [{ engine: 'e1', incarnation: 1 }]);
  t.same(engine.signals, []);
  t.equal(fixture.loop.orders.generation, 1);
  engine.end({ exitCode: 0 });
  await fixture.clock.pass(2000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', adopted: false }, 'and its death is seen as any other');
});

t.test('an adopted engine that is another one than is wanted is drained and replaced', async (t) => {
  const { before, adoptable, engine } = await leftBehind();
  const state = before.saved.at(-1) ?? EMPTY_STATE;
  const fixture = createFixture({ state, adoptable: [{ ...adoptable, specHash: 'other' }] });
  fixture.engines.push(engine);
  await fixture.loop.restore();
  await fixture.clock.pass(2000);
  t.same(engine.signals, ['SIGTERM']);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', adopted: false });
});

t.test('without any memory adopted engines go on until a scheduler says otherwise', async (t) => {
  const engine = new FakeEngine(planOf('x'), 100);
  const adoptable = { engine: 'e1', incarnation: 7, specHash: 'x', plan: planOf('x'), launched: engine };
  const fixture = createFixture({ adoptable: [adoptable] });
  fixture.engines.push(engine);
  await fixture.loop.restore();
  await fixture.clock.pass(600_000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', adopted: true, incarnation: 7 });
  fixture.desire(1, []);
  await fixture.clock.pass(2000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_STOPPED' });
  t.same(engine.signals, ['SIGTERM']);
});

t.test('an adopted engine that takes connections and answers none is ended like a wedged one', async (t) => {
  const { before, adoptable, engine } = await leftBehind();
  engine.health = 'timeout';
  const fixture = createFixture({ state: before.saved.at(-1) ?? EMPTY_STATE, adoptable: [adoptable] });
  fixture.engines.push(engine);
  await fixture.loop.restore();
  await fixture.clock.pass(5000);
  t.same(engine.signals, ['SIGKILL']);
  t.ok(fixture.journal.some(({ reason }) => reason === 'wedged'));
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', adopted: false });
});

t.test('an adopted engine that has served and takes no connections is not taken for one that loads', async (t) => {
  const { before, adoptable, engine } = await leftBehind();
  engine.health = 'refused';
  const fixture = createFixture({ state: before.saved.at(-1) ?? EMPTY_STATE, adoptable: [adoptable] });
  fixture.engines.push(engine);
  await fixture.loop.restore();
  await fixture.clock.pass(5000);
  t.ok(fixture.journal.some(({ reason, message }) => reason === 'unhealthy' && /has served/.test(message ?? '')));
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', adopted: false });
});

t.test('an adopted engine that was still loading goes on loading', async (t) => {
  const { before, adoptable, engine } = await leftBehind();
  engine.health = 'refused';
  const { served, ...state } = before.saved.at(-1) ?? EMPTY_STATE;
  t.same(served, { e1: 1 });
  const fixture = createFixture({ state, adoptable: [adoptable] });
  fixture.engines.push(engine);
  await fixture.loop.restore();
  await fixture.clock.pass(20_000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_STARTING', adopted: true });
  engine.health = 'ok';
  await fixture.clock.pass(500);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', message: /first token/ });
});

t.test('drains survive the agent', async (t) => {
  const { before, adoptable, engine } = await leftBehind();
  const state = { ...(before.saved.at(-1) ?? EMPTY_STATE), holds: { e1: { actor: 'ann', reason: '', sinceMs: 1 } } };
  const fixture = createFixture({ state, adoptable: [adoptable] });
  fixture.engines.push(engine);
  await fixture.loop.restore();
  await fixture.clock.pass(2000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_STOPPED', drain: { actor: 'ann' } });
});

t.test('a mistake in an order leaves the engine of that name running', async (t) => {
  const fixture = await serving();
  fixture.desire(2, [{ ...SIM_SPEC, extraFlags: ['--no-such-flag'] }]);
  await fixture.clock.pass(5000);
  t.match(fixture.acks.at(-1), { generation: 2, rejections: [{ engine: 'e1', code: 'invalid_spec' }] });
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
  fixture.desire(1, [], 0);
  fixture.desire(1, []);
  await fixture.clock.pass(5000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY', 'old orders are not obeyed');
  fixture.loop.refresh();
  await fixture.clock.pass(1000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
});

t.test('a GPU asks for a restart, and its quarantine moves its engines aside', async (t) => {
  const options = { gpus: [0, 1] };
  const fixture = await serving(options, { ...SIM_SPEC, gpuIds: [0, 1] });
  const order = { gpu: 0, reason: 'xid_48', message: 'GPU 0 met Xid 48.' };
  fixture.loop.onGpuOrder({ ...order, kind: 'restart_engines' });
  await fixture.clock.pass(2000);
  t.match(
    fixture.journal.find((entry) => entry.reason === 'xid_48'),
    { state: 'ENGINE_STATE_STOPPING' },
  );
  t.equal(fixture.latest('e1')?.incarnation, 2);
  fixture.quarantined = [0, 1];
  fixture.loop.onGpuOrder({ ...order, kind: 'quarantine' });
  await fixture.clock.pass(2000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_QUARANTINED', message: 'GPU 0 met Xid 48.' });
  fixture.loop.onGpuOrder({ ...order, gpu: 0, kind: 'release' });
  await fixture.clock.pass(1000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_QUARANTINED', 'its other GPU is still quarantined');
  fixture.quarantined = [];
  fixture.loop.onGpuOrder({ ...order, gpu: 5, kind: 'release' });
  fixture.loop.onGpuOrder({ ...order, gpu: 1, kind: 'release' });
  await fixture.clock.pass(1000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
});

t.test('a full disk at a launch is told as such and tried again', async (t) => {
  const fixture = createFixture();
  fixture.launchError = Object.assign(new Error('no space'), { code: 'ENOSPC' });
  await fixture.loop.restore();
  fixture.desire(1, [SIM_SPEC]);
  await fixture.clock.pass(50);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_BACKOFF', reason: 'launch_failed', cause: 'disk_full' });
  fixture.launchError = Object.assign(new Error('x'), { code: 'EROFS' });
  await fixture.clock.pass(150);
  t.match(fixture.latest('e1'), { message: /EROFS/ });
  fixture.launchError = undefined;
  await fixture.clock.pass(5000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
});

t.test('a wall clock that jumps changes nothing', async (t) => {
  const fixture = await serving();
  fixture.progress('e1', { open: 1, lastProgressAtMs: fixture.clock.nowMs });
  fixture.clock.wallOffsetMs -= 10 * 365 * 86_400_000;
  await fixture.clock.pass(1000);
  fixture.clock.wallOffsetMs += 20 * 365 * 86_400_000;
  fixture.progress('e1', { lastProgressAtMs: fixture.clock.nowMs });
  await fixture.clock.pass(1000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
});

t.test('a stop of all ends every process and forgets every timer', async (t) => {
  const fixture = await serving();
  fixture.engine().onTerm = () => undefined;
  const stopped = fixture.loop.stopAll();
  fixture.desire(9, [SIM_SPEC]);
  await fixture.clock.pass(5000);
  await stopped;
  t.same(fixture.engine().signals, ['SIGTERM', 'SIGKILL']);
  await fixture.loop.stopAll();
  await fixture.loop.detach();
  t.equal(fixture.clock.alarms, 0);
  fixture.loop.killAll();
});
