/** Large fleets: the plan is made in a thread of its own, and is carried out as far as it still holds. */
import t from 'tap';
import { isLarge, planElsewhere } from '../../../scheduler/adapters/reconcile/plan_thread.ts';
import type { FleetSnapshot } from '../../../scheduler/core/placement/contract.ts';
import { planPlacement } from '../../../scheduler/core/placement/planner.ts';
import { deployment, Harness } from './harness.ts';
import { oneNodeFleet } from '../model_fixture.ts';

const never = new AbortController().signal;

const snapshot = (replicas: number): FleetSnapshot => oneNodeFleet('a', replicas);

t.test('a large plan is made in a thread, and is the same', async (t) => {
  const small = snapshot(1);
  t.notOk(isLarge(small));
  t.equal(planElsewhere(small, 10, never), undefined);
  const large = snapshot(501);
  t.ok(isLarge(large));
  const many = { ...small, nodes: Array.from({ length: 20_001 }, () => small.nodes[0]) } as FleetSnapshot;
  t.ok(isLarge(many));
  t.same(await planElsewhere(large, 10, never), planPlacement(large, { searchSteps: 10 }));
  const wrong = { ...large, deployments: [...large.deployments, ...large.deployments] };
  await t.rejects(planElsewhere(wrong, 10, never) as Promise<unknown>, { message: /two deployments/i });
  const end = new AbortController();
  const ended = planElsewhere(large, 10, end.signal) as Promise<unknown>;
  end.abort();
  await t.rejects(ended, { code: 'internal' });
});

t.test('what has changed while it was planned is not overrun', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1');
  fleet.addNode('n2');
  const scheduler = fleet.start('a');
  await fleet.until('a to lead', () => scheduler.control.mayOrder());
  // 501 replicas of which two nodes take four; the thread takes its time, and a node is cordoned meanwhile.
  await fleet.declare('Deployment', 'chat', deployment(501));
  for (let i = 0; i < 3; i++) await fleet.run(50);
  await fleet.declare('Node', 'n1', { cordoned: true });
  await t.resolves(
    (async () => {
      for (let i = 0; i < 500 && fleet.status('chat').ready < 2; i++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        await fleet.run(50);
      }
    })(),
  );
  t.equal(fleet.status('chat').ready, 2);
  t.equal(fleet.nodes.get('n1')?.starts, 0);
  t.same(fleet.doubles, []);
});
