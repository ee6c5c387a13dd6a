/** What operators ask of a large fleet is answered in a thread, one after the other, and no more of it waits than is bounded. */
import t from 'tap';
import { createForesight, isLarge } from '../../../scheduler/adapters/reconcile/plan_thread.ts';
import type { FleetSnapshot } from '../../../scheduler/core/placement/contract.ts';
import { type ExplainTask, foresee, type PlanTask } from '../../../scheduler/core/reconcile/foresight.ts';
import { deployment, Harness } from './harness.ts';
import { oneNodeFleet } from '../model_fixture.ts';

const snapshot = (replicas: number): FleetSnapshot => oneNodeFleet('a@r', replicas);

const asked = (replicas: number) => ({
  snapshot: snapshot(replicas),
  searchSteps: 10,
  deploymentOf: new Map([['a@r', 'a']]),
  unsound: new Map<string, string>(),
  frozen: undefined,
});
const plan = (replicas: number): PlanTask => ({ kind: 'plan', ...asked(replicas), rolling: [] });
const explain = (replicas: number): ExplainTask => ({
  kind: 'explain',
  ...asked(replicas),
  name: 'a',
  notes: ['a note'],
  memory: new Map([['a@r', 'so much']]),
});

t.test('a thread says the same as is said here', async (t) => {
  const ask = createForesight({ signal: new AbortController().signal, mostWaiting: 4, timeoutMs: 60_000 });
  for (const task of [plan(501), explain(501), { kind: 'defragment', ...asked(501), maxMoves: 2 } as const]) {
    t.ok(isLarge(task.snapshot));
    t.same(await ask(task), foresee(task));
  }
  t.same(await ask(plan(1)), foresee(plan(1)), 'a small one is answered at once');
  t.match(foresee(explain(501)), [
    'a: 501 wanted, 0 running, 1 to be started, 500 pending',
    'memory of a new replica: so much',
  ]);
});

t.test('beyond the bound it is busy, with a time to ask again, and then it answers again', async (t) => {
  const ask = createForesight({ signal: new AbortController().signal, mostWaiting: 1, timeoutMs: 60_000 });
  const first = ask(plan(501));
  const second = ask(explain(501));
  await t.rejects(ask(plan(501)), { code: 'planner_busy', retryAfterMs: 2000 });
  t.match(await ask(plan(1)), { assignments: 1 }, 'a small fleet needs no thread');
  t.match(await first, { pending: 500 });
  t.ok((await second).length > 0);
  t.match(await ask(plan(502)), { pending: 501 });
});

t.test('one that takes too long is given up, those that wait go on, and the end of all ends it', async (t) => {
  const end = new AbortController();
  const short = createForesight({ signal: end.signal, mostWaiting: 2, timeoutMs: 1 });
  await t.rejects(short(plan(501)), { code: 'planner_busy' });
  const ask = createForesight({ signal: end.signal, mostWaiting: 2, timeoutMs: 60_000 });
  const wrong = plan(501);
  const twice = {
    ...wrong,
    snapshot: { ...wrong.snapshot, deployments: [...wrong.snapshot.deployments, ...wrong.snapshot.deployments] },
  };
  const bad = ask(twice);
  const good = ask(plan(501));
  await t.rejects(bad, { message: /two deployments/i });
  t.match(await good, { pending: 500 });
  const ended = ask(plan(501));
  const waits = ask(plan(501));
  end.abort();
  await t.rejects(ended, { code: 'internal' });
  await t.rejects(waits, { code: 'internal' });
});

t.test('a look at a large fleet asks no planner, and its explanation comes from the thread', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1');
  const scheduler = fleet.start('a');
  await fleet.declare('Deployment', 'chat', deployment(501));
  await fleet.run(100);
  t.match(fleet.status('chat').replicas.at(-1), { state: 'pending', reason: /sophia explain deployment/ });
  t.match(await scheduler.view.explainDeployment('chat'), [/^chat: 501 wanted, /]);
  await scheduler.control.stop();
  await t.rejects(scheduler.view.explainDeployment('chat'), { code: 'internal' });
});
