/** What reconcile makes of what is declared and of what happens, over fleets in memory. */
import t from 'tap';
import { GIB } from './fake_node.ts';
import { deployment, Harness } from './harness.ts';

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
  t.match(
    fleet.status('chat').replicas.filter(({ state }) => state === 'pending'),
    [{ index: 3, engines: [], reason: /^n\d: takes no further one: needs 1 GPU for itself, 0 are$/ }],
  );
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('one of chat', () => fleet.ready('chat', 1));
  await fleet.undeclare('Deployment', 'chat');
  await fleet.undeclare('Deployment', 'code');
  await fleet.until('nothing', () => fleet.memory.projection.list('placement').length === 0);
  t.same(
    [...fleet.nodes.values()].flatMap(({ engines }) => [...engines.keys()]),
    [],
  );
  t.same(fleet.doubles, []);
});

t.test(
  'replicas leave a drained node one after the other, and the old one stops when the new one is ready',
  async (t) => {
    const fleet = new Harness();
    fleet.addNode('n1');
    fleet.start('a');
    await fleet.declare('Deployment', 'chat', deployment(2));
    await fleet.until('ready', () => fleet.ready('chat', 2));
    fleet.addNode('n2');
    await fleet.declare('Node', 'n1', { draining: true });
    let least = 2;
    let most = 0;
    await fleet.until('the node to be left', () => {
      const { ready, replicas } = fleet.status('chat');
      least = Math.min(least, ready);
      most = Math.max(most, replicas.filter(({ state }) => state === 'starting').length);
      return fleet.nodesOf('chat').join() === 'n2,n2' && fleet.ready('chat', 2);
    });
    t.equal(least, 2, 'nobody was missed');
    t.equal(most, 1, 'half of two at once');
    t.match(fleet.actions(), [], 'what an operator wishes is no action against a symptom');
    t.same(fleet.doubles, []);
    // A taint that ends what runs, and a node that is given up while it is still here.
    await fleet.declare('Node', 'n1', {});
    await fleet.declare('Node', 'n2', { taints: [{ key: 'maintenance', effect: 'NoExecute' }] });
    await fleet.until('the tainted node to be left', () => fleet.nodesOf('chat').join() === 'n1,n1');
    await fleet.declare('Node', 'n2', {});
    await fleet.declare('Node', 'n1', { retired: true });
    await fleet.until('the retired node to be left', () => fleet.nodesOf('chat').join() === 'n2,n2');
    t.equal(fleet.nodes.get('n1')?.engines.size, 0);
  },
);

t.test('a drain that is taken back, and one with no room elsewhere, change nothing in the end', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 1 });
  const scheduler = fleet.start('a');
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('ready', () => fleet.ready('chat', 1));
  await fleet.declare('Node', 'n1', { draining: true });
  await fleet.run(1000);
  t.match(fleet.status('chat'), { ready: 1, replicas: [{ state: 'ready' }] }, 'it serves on where it is');
  t.match((await scheduler.view.explainDeployment('chat')).join('\n'), /n1: refused by .*the node is being drained/);
  fleet.addNode('n2', { fails: /chat/ });
  await fleet.until('a successor', () => fleet.status('chat').replicas.length === 2);
  t.match(
    fleet.status('chat').replicas.find(({ gpus }) => gpus[0]?.node === 'n1'),
    { state: 'draining' },
  );
  // The successor is given up, so the old one is again the one that counts, and then the drain ends.
  await fleet.declare('Node', 'n1', {});
  await fleet.until('one again', () => fleet.ready('chat', 1) && fleet.nodesOf('chat').join() === 'n1');
  t.equal(fleet.nodes.get('n1')?.starts, 1);
});

t.test('while the fleet is frozen nothing is decided, and who froze it is said', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1');
  const scheduler = fleet.start('a');
  await fleet.append({ kind: 'freeze.set', resource: { kind: 'Fleet', name: 'fleet' }, after: { reason: 'a look' } });
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.run(3000);
  t.equal(fleet.memory.rows.length, 2);
  t.equal(fleet.status('chat').replicas[0]?.state, 'pending');
  t.match((await scheduler.view.explainDeployment('chat'))[0], 'frozen by key:test: a look; nothing changes');
  t.match((await scheduler.view.plan([], [])).lines, [
    'nothing happens while the fleet is frozen by key:test: a look',
    /^start/,
  ]);
  await fleet.append({ kind: 'freeze.lifted', resource: { kind: 'Fleet', name: 'fleet' }, after: null });
  await fleet.until('ready', () => fleet.ready('chat', 1));
});

t.test('the higher priority gets the GPU, once the lower has stopped', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 1 });
  const scheduler = fleet.start('a');
  await fleet.declare('Deployment', 'batch', deployment(1, { priority: 10 }));
  await fleet.until('batch', () => fleet.ready('batch', 1));
  const spec = deployment(1, { priority: 90 });
  const planned = await scheduler.view.plan(
    [
      {
        apiVersion: 'sophia/v1',
        kind: 'Deployment',
        metadata: { name: 'live', labels: {} },
        spec: spec as unknown as Record<string, never>,
      },
    ],
    [],
  );
  t.match(planned, { preemptions: 1, assignments: 1, pending: 1 });
  t.match(planned.lines, [
    'preempt batch/0 on n1, for live/0 of priority 90',
    'start live/0 on n1 GPU 0, once batch/0 has stopped',
    'pending batch/0: no node can take it now',
  ]);
  await fleet.declare('Deployment', 'live', spec);
  await fleet.until(
    'it waits',
    () => fleet.status('live').replicas[0]?.reason.startsWith('waits for batch/0/1') === true,
  );
  t.equal(fleet.status('batch').replicas[0]?.state, 'stopping');
  await fleet.until('live', () => fleet.ready('live', 1));
  t.equal(fleet.status('batch').replicas[0]?.state, 'pending');
  t.same(fleet.doubles, []);
  // Where there is room elsewhere the preempted one goes there, once it is gone from here.
  fleet.addNode('n2', { gpus: 1 });
  await fleet.until('batch too', () => fleet.ready('batch', 1));
  const third = deployment(1, {
    priority: 95,
    constraints: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['n2'] }],
  });
  fleet.addNode('n3', { gpus: 1 });
  await fleet.run(100);
  const metadata = { name: 'third', labels: {} };
  const resource = {
    apiVersion: 'sophia/v1' as const,
    kind: 'Deployment' as const,
    metadata,
    spec: third as unknown as Record<string, never>,
  };
  t.match((await scheduler.view.plan([resource], [])).lines, [
    'preempt batch/0 on n2, for third/0 of priority 95',
    'start third/0 on n2 GPU 0, once batch/0 has stopped',
    'start batch/0 on n3 GPU 0, as it is preempted on n2',
  ]);
  const drain = { ...resource, kind: 'Node' as const, metadata: { name: 'n2', labels: {} } };
  t.match(
    (await scheduler.view.plan([{ ...drain, spec: { draining: true } as unknown as Record<string, never> }], [])).lines,
    ['move batch/0 on n3 GPU 0, from n2: the node is being drained'],
  );
  await fleet.declare('Deployment', 'third', third);
  await fleet.until('all three', () => ['batch', 'live', 'third'].every((name) => fleet.ready(name, 1)));
  t.same(fleet.nodesOf('batch'), ['n3']);
  t.same(fleet.doubles, []);
});

t.test('one that waits is let go when it is not wanted any more', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 1 });
  fleet.start('a');
  await fleet.declare('Deployment', 'batch', deployment(1, { priority: 10 }));
  await fleet.until('batch', () => fleet.ready('batch', 1));
  await fleet.declare('Deployment', 'live', deployment(1, { priority: 90 }));
  await fleet.until('it waits', () => fleet.status('live').replicas[0]?.state === 'placed');
  await fleet.undeclare('Deployment', 'live');
  await fleet.until('batch again', () => fleet.ready('batch', 1));
  t.same(
    fleet.memory.projection.list('placement').map(({ name }) => name),
    ['batch/0/2'],
  );
  t.ok(
    fleet.memory.rows.some(({ body }) => body.includes('it had not started') || body.includes('placement.released')),
  );
});

t.test('a changed deployment rolls to its new revision, one more at a time, and never serves less', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 4 });
  const scheduler = fleet.start('a');
  await fleet.declare('Deployment', 'chat', deployment(3));
  await fleet.until('ready', () => fleet.ready('chat', 3));
  const [{ revision: old } = { revision: '' }] = fleet.status('chat').replicas;
  await fleet.declare('Deployment', 'chat', deployment(3, { extraFlags: ['--seed', '1'] }));
  let least = 3;
  let most = 0;
  let said = '';
  await fleet.until('the new revision alone', () => {
    const { ready, replicas, rollout } = fleet.status('chat');
    least = Math.min(least, ready);
    most = Math.max(most, replicas.filter(({ state }) => state !== 'stopping').length);
    said ||= rollout ?? '';
    return fleet.ready('chat', 3) && replicas.every(({ revision }) => revision !== old);
  });
  t.equal(least, 3);
  t.equal(most, 4);
  t.match(said, /^to [a-z2-9]{10}: 0 of 3 are ready, 3 old ones are left$/);
  t.equal(fleet.status('chat').rollout, undefined);
  t.same(fleet.doubles, []);
  // In the middle of a roll a plan tells the revisions apart, and a deletion ends both.
  await fleet.declare(
    'Deployment',
    'chat',
    deployment(3, { extraFlags: ['--seed', '2'], rollout: { kind: 'rolling', maxSurge: 2 } }),
  );
  await fleet.until('the roll to begin', () => fleet.status('chat').replicas.length > 3);
  const { lines } = await scheduler.view.plan([], []);
  t.ok(
    lines.some((line) => line.startsWith('chat rolls to revision ')),
    lines.join('\n'),
  );
  await fleet.undeclare('Deployment', 'chat');
  await fleet.until('nothing', () => fleet.memory.projection.list('placement').length === 0);
  t.equal(scheduler.view.deploymentStatus('chat'), undefined);
  await t.rejects(scheduler.view.explainDeployment('chat'), { code: 'not_found' });
});

t.test('engines of the configuration keep their GPUs, and are ordered beside the others', async (t) => {
  const fleet = new Harness();
  const nodes = { n1: [{ name: 'fixed', kind: 'sim', model: 'm', servedModelName: 'm', gpuIds: [0] }] };
  fleet.addNode('n1');
  fleet.start('a', { nodes });
  await fleet.declare('Deployment', 'chat', deployment(2));
  await fleet.until('one of them', () => fleet.status('chat').ready === 1);
  await fleet.run(1000);
  t.same(
    fleet.status('chat').replicas.flatMap(({ gpus }) => gpus),
    [{ node: 'n1', gpus: [1] }],
  );
  t.ok(fleet.nodes.get('n1')?.engines.has('fixed'));
  t.same(fleet.doubles, []);
});

t.test('pools, labels, regions and several revisions of a neighbour are asked for under the right names', async (t) => {
  const fleet = new Harness();
  for (const name of ['n1', 'n2', 'n3']) fleet.addNode(name, { gpus: 1 });
  const scheduler = fleet.start('a');
  await fleet.declare('Node', 'n3', { region: 'eu' }, { tier: 'gold' });
  await fleet.declare('Node', 'n1', { cordoned: true }, { tier: 'gold' });
  await fleet.declare('Pool', 'golden', { nodes: [{ key: 'tier', operator: 'In', values: ['gold'] }] });
  await fleet.declare('Deployment', 'chat', deployment(1, { pool: 'golden', regions: ['eu'] }));
  await fleet.declare('Deployment', 'lost', deployment(1, { pool: 'nowhere' }));
  await fleet.declare(
    'Deployment',
    'apart',
    deployment(1, {
      antiAffinity: [
        { topologyKey: 'kubernetes.io/hostname' },
        { deployment: 'chat', topologyKey: 'kubernetes.io/hostname' },
      ],
      affinity: [{ deployment: 'nobody', topologyKey: 'kubernetes.io/hostname' }],
    }),
  );
  await fleet.until('two of them', () => fleet.ready('chat', 1) && fleet.ready('apart', 1));
  t.same(fleet.nodesOf('chat'), ['n3']);
  t.same(fleet.nodesOf('apart'), ['n2']);
  t.match(fleet.status('lost').replicas[0]?.reason, /refused by/);
  const resource = (kind: 'Node' | 'Pool' | 'Alias', name: string, spec: object) => ({
    apiVersion: 'sophia/v1' as const,
    kind,
    metadata: { name, labels: {} },
    spec: spec as Record<string, never>,
  });
  const all = [{ key: 'kubernetes.io/hostname', operator: 'Exists' }];
  const more = [resource('Pool', 'nowhere', { nodes: all }), resource('Node', 'n1', {}), resource('Alias', 'x', {})];
  t.match(await scheduler.view.plan(more, []), { assignments: 1, lines: ['start lost/0 on n1 GPU 0'] });
  const away = (['Node', 'Pool', 'Alias'] as const).map((kind) => ({ kind, name: 'golden' }));
  t.match(await scheduler.view.plan([], [...away, { kind: 'Deployment', name: 'apart' }]), { stops: 1 });
  await fleet.declare('Deployment', 'chat', deployment(0));
  const fewer = { ...deployment(0) } as unknown as Record<string, never>;
  await fleet.until('none', () => fleet.ready('chat', 0));
  const chat = { ...resource('Node', 'apart', {}), kind: 'Deployment' as const, spec: fewer };
  t.match((await scheduler.view.plan([chat], [])).lines, ['stop apart/0 on n2: fewer are wanted', /^pending lost/]);
});

t.test('a deployment that makes no sense keeps nobody else from running, and what runs of it goes on', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 3 });
  const scheduler = fleet.start('a');
  await fleet.declare('Deployment', 'odd', deployment(1));
  await fleet.until('ready', () => fleet.ready('odd', 1));
  await fleet.declare('Deployment', 'odd', deployment(1, { priority: 4.5 }));
  await fleet.declare('Deployment', 'none', {});
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('chat', () => fleet.ready('chat', 1));
  t.equal(fleet.status('odd').ready, 1);
  t.match((await scheduler.view.explainDeployment('odd'))[0], /priority of odd is no whole number from 0 to 100/);
});

t.test(
  'replicas over several hosts get an engine on each, all or none; without a stated need a GPU is theirs alone',
  async (t) => {
    const fleet = new Harness();
    fleet.addNode('n1', { gpus: 2 });
    fleet.start('a');
    const { gpuMemoryBytes: _whole, ...whole } = deployment(1, { engine: 'sim', hosts: 2, gpuModels: ['H100'] });
    await fleet.declare('Deployment', 'wide', whole);
    await fleet.run(1000);
    t.match(fleet.status('wide').replicas, [{ state: 'pending', reason: /gang/ }]);
    fleet.addNode('n2', { gpus: 1 });
    await fleet.until('both hosts', () => fleet.ready('wide', 1));
    t.match(fleet.status('wide').replicas[0]?.engines.toSorted(), [/^n1\//, /^n2\//]);
    const [place] = fleet.memory.projection.list('placement');
    t.match(place?.value, { parts: [{ gpuMemoryBytes: Math.floor(0.9 * 80 * 2 ** 30) }, {}] });
    await fleet.declare('Deployment', 'real', { ...whole, engine: 'llama' });
    await fleet.run(500);
    t.match(fleet.status('real').replicas[0]?.reason, 'an engine of kind llama runs on one host');
    await fleet.declare('Deployment', 'alien', { ...whole, hosts: 1, gpuModels: ['B300'] });
    await fleet.run(500);
    t.match(fleet.status('alien').replicas[0]?.reason, /refused by/);
  },
);

t.test('several engines share a GPU by their shares of its memory, and agents are told so', async (t) => {
  const fleet = new Harness();
  const node = fleet.addNode('n1', { gpus: 1 });
  fleet.start('a');
  const shared = { sharing: 'shared', gpuMemoryBytes: 30 * 2 ** 30 } as const;
  await fleet.declare('Deployment', 'chat', deployment(3, shared));
  await fleet.until('two of three', () => fleet.status('chat').ready === 2);
  await fleet.run(1000);
  t.equal(node.engines.size, 2, 'a third would be more than the GPU has');
  t.match(
    [...node.engines.values()].map(({ spec }) => spec),
    [
      { gpuIds: [0], gpuMemoryShare: 0.375, extraFlags: ['--gpu-memory-utilization', '0.375'] },
      { gpuIds: [0], gpuMemoryShare: 0.375 },
    ],
  );
  t.same(fleet.doubles, []);
});

t.test('a half of what is promised is a half of what programs can have, without what the driver keeps', async (t) => {
  const kept = { gpus: 1, idleBytes: 0, driverBytes: GIB / 2 };
  const halves = (gib: number) => deployment(2, { sharing: 'shared', gpuMemoryBytes: gib * GIB });
  const fleet = new Harness();
  const node = fleet.addNode('n1', kept);
  const { view } = fleet.start('a');
  await fleet.declare('Deployment', 'chat', halves(40));
  await fleet.until('one', () => fleet.status('chat').ready === 1);
  await fleet.run(2000);
  t.equal(fleet.status('chat').ready, 1, 'two of 40 GiB are half a GiB more than there is');
  t.match((await view.explainDeployment('chat')).at(-1), /takes no further one: needs 40\.0 GiB .* has 39\.5 GiB/);
  await fleet.undeclare('Deployment', 'chat');
  await fleet.until('nothing', () => node.engines.size === 0);
  await fleet.declare('Deployment', 'chat', halves(39.75));
  await fleet.until('both', () => fleet.ready('chat', 2) && node.engines.size === 2);
  t.same(
    [...node.engines.values()].map(({ spec }) => spec.gpuMemoryShare),
    [0.5, 0.5],
  );
});

t.test('an agent that tells the total alone is taken by it, and what it runs stays when it tells more', async (t) => {
  const fleet = new Harness();
  const node = fleet.addNode('n1', { gpus: 1, idleBytes: 0 });
  fleet.start('a');
  await fleet.declare('Deployment', 'chat', deployment(2, { sharing: 'shared', gpuMemoryBytes: 40 * GIB }));
  await fleet.until('both', () => fleet.ready('chat', 2));
  const starts = node.starts;
  fleet.cut('n1');
  node.options = { ...node.options, driverBytes: GIB / 2 };
  fleet.reconnect('n1');
  await fleet.run(5000);
  t.ok(fleet.ready('chat', 2));
  t.equal(node.starts, starts, 'nothing is moved for half a GiB');
});
