/** What is done against what goes wrong by itself, and the limits of it. */
import t from 'tap';
import { deployment, Harness } from './harness.ts';

t.test('a lost node: its replicas run elsewhere, and what it still runs is stopped when it comes back', async (t) => {
  const fleet = new Harness();
  for (const name of ['n1', 'n2', 'n3']) fleet.addNode(name);
  const scheduler = fleet.start('a');
  await fleet.declare('Deployment', 'chat', deployment(2));
  await fleet.until('ready', () => fleet.ready('chat', 2));
  const [dead] = fleet.nodesOf('chat') as [string];
  t.same(fleet.nodesOf('chat'), [dead, dead], 'packed');
  fleet.cut(dead);
  await fleet.run(3000);
  t.match(fleet.status('chat'), { ready: 0, replicas: [{ state: 'placed', reason: `${dead} is not connected` }, {}] });
  t.same(fleet.actions(), [], 'it may come back in a moment');
  await fleet.until('two elsewhere', () => fleet.status('chat').ready === 2);
  t.match(fleet.actions(), [
    { symptom: 'node_lost', action: 'place_elsewhere', deployment: 'chat', index: 0, node: dead },
    { symptom: 'node_lost', action: 'place_elsewhere', deployment: 'chat', index: 1, node: dead },
  ]);
  t.equal(fleet.nodes.get(dead)?.engines.size, 2, 'nobody could tell it to stop');
  fleet.reconnect(dead);
  await fleet.until('the old ones to be gone', () => fleet.ready('chat', 2));
  t.equal(fleet.nodes.get(dead)?.engines.size, 0);
  t.same(fleet.doubles, []);
  t.match(scheduler.lines.join('\n'), /release chat\/0 .*its agent confirms that it has stopped/);
});

t.test('a node that is lost in the middle of things, or given up for good', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1');
  fleet.start('a', { healMaxLostPercent: 100 });
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('ready', () => fleet.ready('chat', 1));
  // Lost while it stops: its replica may start elsewhere only once the node is lost too.
  fleet.cut('n1');
  await fleet.declare('Deployment', 'chat', deployment(0));
  await fleet.run(500);
  await fleet.declare('Deployment', 'chat', deployment(1));
  fleet.addNode('n2');
  await fleet.run(2000);
  t.match(
    fleet.status('chat').replicas.map(({ state }) => state),
    ['stopping', 'pending'],
  );
  await fleet.until('it runs on n2', () => fleet.status('chat').ready === 1);
  t.match(fleet.memory.projection.get('placement', 'Replica', 'chat/0/1'), { value: { phase: 'lost' } });
  await fleet.declare('Node', 'n1', { retired: true });
  await fleet.until('the old one to be written off', () => fleet.ready('chat', 1));
  // Lost while its replica moves away from it.
  fleet.addNode('n3', { gpus: 1 });
  await fleet.declare('Node', 'n2', { draining: true });
  await fleet.until('the move to begin', () => fleet.status('chat').replicas.length === 2);
  fleet.cut('n2');
  await fleet.until('n3 to serve', () => fleet.nodesOf('chat').includes('n3') && fleet.status('chat').ready === 1);
  t.same(fleet.doubles, []);
});

t.test('when many nodes seem lost at once, this scheduler doubts itself', async (t) => {
  const fleet = new Harness();
  for (const name of ['n1', 'n2', 'n3']) fleet.addNode(name);
  const scheduler = fleet.start('a');
  await fleet.declare('Deployment', 'chat', deployment(3, { placement: 'spread' }));
  await fleet.until('ready', () => fleet.ready('chat', 3));
  fleet.cut('n1');
  fleet.cut('n2');
  await fleet.run(8000);
  t.same(fleet.actions(), []);
  t.match(scheduler.lines.join('\n'), /not done \(too many nodes seem lost at once\)/);
  fleet.reconnect('n2');
  await fleet.until('one node to be enough', () => fleet.status('chat').ready === 3);
  t.match(fleet.actions(), [{ symptom: 'node_lost', node: 'n1' }]);
});

t.test('while only observing, and beyond the limit, actions are told and not taken', async (t) => {
  for (const [settings, why] of [
    [{ observeOnly: true }, /not done \(only observing\)/],
    [{ healMaxActions: 1, healWindowMs: 3_600_000 }, /not done \(1 actions were taken within 3600 s\)/],
  ] as const) {
    const fleet = new Harness();
    for (const name of ['n1', 'n2', 'n3']) fleet.addNode(name);
    const scheduler = fleet.start('a', settings);
    await fleet.declare('Deployment', 'chat', deployment(2));
    await fleet.until('ready', () => fleet.ready('chat', 2));
    fleet.cut(fleet.nodesOf('chat')[0] as string);
    await fleet.run(20_000);
    t.match(scheduler.lines.join('\n'), why);
    t.equal(fleet.actions().length, 'observeOnly' in settings ? 0 : 1);
    const said = scheduler.lines.filter((line) => why.test(line)).length;
    t.equal(said, 'observeOnly' in settings ? 2 : 1, 'said once');
    for (const node of fleet.nodes.values()) node.options = { fails: /bad/ };
    await fleet.declare('Deployment', 'bad', deployment(1));
    await fleet.run(3000);
    t.equal(fleet.status('bad').replicas[0]?.state, 'failed', 'it is left where it is');
    // What operators declare is carried out all the same.
    await fleet.declare('Deployment', 'more', deployment(1));
    await fleet.until('more', () => fleet.ready('more', 1));
  }
});

t.test('a GPU that failed, is in quarantine, or is quarantined by an operator is left', async (t) => {
  const fleet = new Harness();
  const node = fleet.addNode('n1', { gpus: 4 });
  fleet.start('a');
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('ready', () => fleet.ready('chat', 1));
  const gpu = (): number => {
    const [first] = fleet.status('chat').replicas.flatMap(({ gpus }) => gpus.flatMap((each) => each.gpus));
    return first as number;
  };
  const first = gpu();
  node.gpuEvent(first, true);
  await fleet.until('another GPU', () => fleet.ready('chat', 1) && gpu() !== first);
  t.match(fleet.actions(), [{ symptom: 'gpu_bad', action: 'move', node: 'n1' }]);
  const second = gpu();
  node.health.set(second, 'unhealthy');
  await fleet.until('a third GPU', () => fleet.ready('chat', 1) && ![first, second].includes(gpu()));
  const third = gpu();
  const resource = { kind: 'Quarantine', name: 'smell' };
  const spec = { node: 'n1', gpu: third, reason: 'it smells' };
  await fleet.append({ kind: 'quarantine.set', resource, after: { spec, labels: {} } });
  await fleet.until('the last GPU', () => fleet.ready('chat', 1) && ![first, second, third].includes(gpu()));
  t.equal(fleet.actions().length, 3);
  t.same(fleet.doubles, []);
  node.health.set(gpu(), 'degraded');
  await fleet.run(1500);
  t.equal(fleet.actions().length, 3, 'a degraded one is only worse');
  // A whole node in quarantine takes nothing new.
  fleet.addNode('n2');
  const whole = { spec: { node: 'n2', reason: 'new' }, labels: {} };
  await fleet.append({ kind: 'quarantine.set', resource: { kind: 'Quarantine', name: 'new' }, after: whole });
  await fleet.declare('Deployment', 'other', deployment(1));
  await fleet.run(1000);
  t.equal(fleet.status('other').ready, 0);
  node.health.set(second, 'quarantined');
});

t.test(
  'an engine that its agent has given up is tried elsewhere, and that node is left alone for longer each time',
  async (t) => {
    const fleet = new Harness();
    fleet.addNode('n1', { fails: /chat/ });
    const scheduler = fleet.start('a', { avoidNodeMs: 4000 });
    await fleet.declare('Deployment', 'chat', deployment(1));
    await fleet.until('it to fail', () => fleet.status('chat').replicas[0]?.state === 'failed');
    await fleet.until('it to be taken off', () => fleet.actions().length === 1);
    t.match(fleet.actions(), [{ symptom: 'engine_failed', action: 'stop_and_avoid', node: 'n1', index: 0 }]);
    await fleet.until('it to wait', () => fleet.status('chat').replicas[0]?.state === 'pending');
    t.match(fleet.status('chat').replicas[0]?.reason, /constraint/);
    const first = fleet.memory.projection.get('lifecycle', 'Avoid', 'chat/n1');
    t.match(first, { value: { times: 1 } });
    await fleet.until('a second try there', () => fleet.actions().length === 2);
    const second = fleet.memory.projection.get('lifecycle', 'Avoid', 'chat/n1');
    t.match(second, { value: { times: 2 } });
    fleet.addNode('n2', { rejects: /chat/ });
    fleet.addNode('n3');
    await fleet.declare('Node', 'n3', { cordoned: true });
    await fleet.until('the agent of n2 to refuse it', () => fleet.actions().length === 3);
    t.match(fleet.actions()[2], { symptom: 'spec_rejected', node: 'n2', detail: /refuses the specification: no$/ });
    await fleet.declare('Node', 'n3', {});
    await fleet.until('n3 to run it', () => fleet.ready('chat', 1));
    t.same(fleet.nodesOf('chat'), ['n3']);
    // After a long good time the count begins anew.
    await fleet.run(60_000);
    (fleet.nodes.get('n1') as { options: object }).options = { gpus: 2, fails: /chat/ };
    await fleet.declare('Node', 'n3', { draining: true });
    await fleet.until('n1 to be tried again', () => fleet.actions().some((each, i) => i >= 3 && each['node'] === 'n1'));
    t.match(fleet.memory.projection.get('lifecycle', 'Avoid', 'chat/n1'), { value: { times: 1 } });
    t.match(scheduler.lines.join('\n'), /stop chat\/0 .*the agent has given the engine up/);
  },
);

t.test('two replicas of one deployment that are given up together on one node are both taken off it', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { fails: /chat/ });
  fleet.start('a');
  await fleet.declare('Deployment', 'chat', deployment(2));
  await fleet.until('both to be taken off', () => fleet.actions().length === 2 && fleet.nodesOf('chat').length === 0);
  t.match(fleet.actions(), [
    { symptom: 'engine_failed', index: 0, node: 'n1' },
    { symptom: 'engine_failed', index: 1, node: 'n1' },
  ]);
  t.equal(fleet.memory.projection.list('lifecycle', 'Avoid').length, 1);
});

t.test(
  'a node that was written off and comes back with its old engines takes nothing until they are gone',
  async (t) => {
    const fleet = new Harness();
    fleet.addNode('n1', { gpus: 1 });
    const scheduler = fleet.start('a', { healMaxLostPercent: 100 });
    await fleet.declare('Deployment', 'chat', deployment(1));
    await fleet.until('ready', () => fleet.ready('chat', 1));
    fleet.cut('n1', true);
    await fleet.declare('Node', 'n1', { retired: true });
    fleet.addNode('n2', { gpus: 1 });
    await fleet.until('n2 to serve', () => fleet.ready('chat', 1));
    await fleet.declare('Deployment', 'code', deployment(1));
    await fleet.declare('Node', 'n1', {});
    fleet.reconnect('n1');
    t.match(
      (await scheduler.view.explainDeployment('code')).join('\n'),
      /n1: takes nothing until chat-0-[a-z0-9]+ is gone, which nobody wants/,
    );
    await fleet.until('code there', () => fleet.ready('code', 1));
    t.same(fleet.nodesOf('code'), ['n1']);
    t.same(fleet.doubles, []);
  },
);
