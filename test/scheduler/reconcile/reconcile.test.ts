/** What reconcile makes of what is declared and of what happens, over fleets in memory. */
import t from 'tap';
import { deployment, GPU_BYTES, Harness } from './harness.ts';

const GIB = 2 ** 30;

t.test('deployments come, grow, shrink and go, and every GPU is free in the end', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1');
  fleet.addNode('n2');
  const scheduler = fleet.start('a');
  await fleet.declare('Deployment', 'chat', deployment(2));
  await fleet.declare('Deployment', 'code', deployment(1));
  await fleet.until('both ready', () => fleet.ready('chat', 2) && fleet.ready('code', 1));
  t.match(scheduler.view.leader(), { isLeader: true, holder: /^a\/life/, epoch: 1 });
  await fleet.declare('Deployment', 'chat', deployment(4));
  await fleet.until('three of chat', () => fleet.status('chat').ready === 3);
  await fleet.run(12_000);
  t.match(fleet.status('chat').replicas.filter(({ state }) => state === 'pending'), [
    { index: 3, engines: [], reason: /^n\d: refused by gpu_sharing/ },
  ]);
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('one of chat', () => fleet.ready('chat', 1));
  await fleet.undeclare('Deployment', 'chat');
  await fleet.undeclare('Deployment', 'code');
  await fleet.until('nothing', () => fleet.memory.projection.list('placement').length === 0);
  t.same([...fleet.nodes.values()].flatMap(({ engines }) => [...engines.keys()]), []);
  t.same(fleet.doubles, []);
});
