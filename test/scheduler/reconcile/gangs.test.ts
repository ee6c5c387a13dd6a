/** Replicas over several hosts: all members or none, at the start, while they run and when they stop. */
import t from 'tap';
import type { EngineSpec } from '../../../proto/gen/fleet/v1/EngineSpec.ts';
import type { FakeNode } from './fake_node.ts';
import { deployment, Harness } from './harness.ts';

const wide = (more: Parameters<typeof deployment>[1] = {}) => deployment(1, { hosts: 2, ...more });

async function running(nodes = 2, settings = {}): Promise<Harness> {
  const fleet = new Harness();
  for (let at = 1; at <= nodes; at++)
    fleet.addNode(`n${at}`, { gpus: 1, change: { host: { gangAddress: `10.0.0.${at}`, architecture: 'x64' } } });
  fleet.start('a', settings);
  await fleet.declare('Deployment', 'wide', wide());
  await fleet.until('ready', () => fleet.ready('wide', 1));
  return fleet;
}

const specsOn = ({ engines }: FakeNode): EngineSpec[] => [...engines.values()].map(({ spec }) => spec);
const node = (fleet: Harness, name: string): FakeNode => fleet.nodes.get(name) as FakeNode;
const specOn = (fleet: Harness, name: string): EngineSpec => specsOn(node(fleet, name))[0] as EngineSpec;
const flag = ({ extraFlags = [] }: EngineSpec, name: string): string | undefined =>
  extraFlags[extraFlags.indexOf(name) + 1];
const startsOf = (fleet: Harness): number[] => [...fleet.nodes.values()].map(({ starts }) => starts);
const symptoms = (fleet: Harness): unknown[] => fleet.actions().map(({ symptom }) => symptom);

t.test('each member is told its rank, and all of them one address, one port and one revision', async (t) => {
  const fleet = await running();
  const [leader, member] = ['n1', 'n2'].map((name) => specOn(fleet, name)) as [EngineSpec, EngineSpec];
  const shared = [
    '--tensor-parallel-size',
    '1',
    '--pipeline-parallel-size',
    '2',
    '--distributed-executor-backend',
    'mp',
  ];
  const port = flag(leader, '--master-port') as string;
  const tail = ['--master-addr', '10.0.0.1', '--master-port', port];
  t.same(leader.extraFlags?.slice(2), [...shared, '--nnodes', '2', '--node-rank', '0', ...tail]);
  t.same(member.extraFlags?.slice(2), [...shared, '--nnodes', '2', '--node-rank', '1', ...tail, '--headless']);
  t.equal(leader.name, member.name);
  t.same([leader.limits, member.limits], [{ maxRestarts: 0 }, { maxRestarts: 0 }]);
  t.match(leader.extraFlags?.slice(0, 2), ['--gpu-memory-utilization', '0.5']);
  const { directory } = fleet.schedulers.get('a')?.loop.inspector ?? {};
  const refused = (name: string): unknown => {
    const state = directory?.state.nodes.get(node(fleet, name).name);
    const engine = state?.engines.get(leader.name as string);
    return state !== undefined && engine !== undefined && directory?.whyNotRoutable(state, engine, fleet.nowMs)?.by;
  };
  t.equal(refused('n1'), 'no_lane', 'the leader lacks nothing but a lane');
  t.equal(refused('n2'), 'gang_member', 'the other one is never asked');
  t.same(
    directory?.models(fleet.nowMs).map(({ id, engines }) => [id, engines]),
    [['m', 1]],
  );
});

t.test('hosts of one rack or none: what is missing is told by plan and explain, and a label is enough', async (t) => {
  const fleet = new Harness();
  for (const name of ['n1', 'n2', 'n3']) fleet.addNode(name, { gpus: 1 });
  const { view } = fleet.start('a');
  await fleet.declare('Node', 'n1', {}, { rack: 'r1' });
  await fleet.declare('Node', 'n2', {}, { rack: 'r2' });
  const spec = wide({ gangTopologyKey: 'rack' });
  const metadata = { name: 'wide', labels: {} };
  const resource = { apiVersion: 'sophia/v1', kind: 'Deployment', metadata, spec: spec as never } as const;
  const planned = await view.plan([resource], []);
  t.match(planned, { pending: 1, assignments: 0 });
  t.match(planned.lines, [
    /^pending wide\/0: no node can take it now: 2 refused by gang \(.* 2 such hosts together of one rack, and r[12] has 1\), 1 refused by gang_topology/,
  ]);
  await fleet.declare('Deployment', 'wide', spec);
  await fleet.run(1000);
  t.match(fleet.status('wide').replicas, [{ state: 'pending', reason: /refused by gang: .* of one rack/ }]);
  const told = await view.explainDeployment('wide');
  t.match(
    told.filter((line) => /^n\d: /.test(line)),
    [
      /^n1: refused by gang: .* of one rack, and r1 has 1; it would fit if 1 more such host of rack r1 had room/,
      /^n2: refused by gang: .* and r2 has 1/,
      /^n3: refused by gang_topology: it has no label rack.*if the node had the label rack/,
    ],
  );
  await fleet.declare('Node', 'n3', {}, { rack: 'r2' });
  await fleet.until('ready', () => fleet.ready('wide', 1));
  t.same(fleet.nodesOf('wide'), ['n2', 'n3']);
  // Another label counts for new places: what runs stays where it is.
  await fleet.declare('Deployment', 'wide', wide({ gangTopologyKey: 'zone' }));
  await fleet.run(2000);
  t.same(
    [fleet.nodesOf('wide'), startsOf(fleet)],
    [
      ['n2', 'n3'],
      [0, 1, 1],
    ],
  );
});

t.test('a member that fails takes all of it down, and all of it comes again, each told once', async (t) => {
  const fleet = await running();
  const before = flag(specOn(fleet, 'n1'), '--master-port');
  node(fleet, 'n2').say(/wide/, 'ENGINE_STATE_FAILED', 'crashed', 'The engine was ended by SIGKILL.');
  await fleet.until('its orders to change', () => node(fleet, 'n1').remembered?.engines?.length === 0);
  t.same(node(fleet, 'n2').remembered?.engines, [], 'nobody waits for the drain of a leader that cannot compute');
  await fleet.until('the leader to be stopped', () => node(fleet, 'n1').engines.size === 0);
  t.same(startsOf(fleet), [1, 1], 'nobody starts before all have stopped');
  await fleet.until('ready again', () => fleet.ready('wide', 1) && startsOf(fleet).join() === '2,2');
  t.match(fleet.actions(), [
    {
      symptom: 'gang_member_failed',
      action: 'restart_gang',
      node: 'n2',
      detail: /n2: The engine was ended by SIGKILL/,
    },
  ]);
  const moved = fleet.memory.rows.filter(({ kind, body }) => kind === 'placement.moved' && /SIGKILL/.test(body));
  t.equal(moved.filter(({ body }) => JSON.parse(body).before?.phase !== 'stopping').length, 1);
  t.not(flag(specOn(fleet, 'n1'), '--master-port'), before, 'what may still listen there harms nobody');
  t.equal(fleet.memory.projection.list('lifecycle').length, 0, 'a host is not avoided for a crash');
  t.same(fleet.doubles, []);
});

t.test('of several members that fail the first one is named', async (t) => {
  const fleet = await running();
  const a = fleet.schedulers.get('a');
  if (a !== undefined) a.paused = true;
  node(fleet, 'n2').say(/wide/, 'ENGINE_STATE_FAILED', 'crashed', 'first');
  fleet.clock.advance(50);
  node(fleet, 'n1').say(/wide/, 'ENGINE_STATE_FAILED', 'wedged', 'second');
  fleet.resume('a');
  await fleet.until('an action', () => fleet.actions().length === 1);
  t.match(fleet.actions()[0], { node: 'n2', detail: /first/ });
});

t.test('a member that does not start: the others are stopped, and its host is avoided', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 1 });
  fleet.addNode('n2', { gpus: 1, fails: /wide/, failsWith: 'start_crashed' });
  fleet.start('a');
  await fleet.declare('Deployment', 'wide', wide());
  await fleet.until('an action', () => fleet.actions().length > 0);
  await fleet.until('nothing left', () => node(fleet, 'n1').engines.size === 0 && node(fleet, 'n2').engines.size === 0);
  t.match(fleet.actions(), [{ symptom: 'gang_start_failed', action: 'stop_and_avoid', node: 'n2' }]);
  await fleet.run(2000);
  t.same(startsOf(fleet), [1, 1]);
  t.match(fleet.status('wide').replicas, [{ state: 'pending' }]);
  fleet.addNode('n3', { gpus: 1 });
  await fleet.until('ready on others', () => fleet.ready('wide', 1));
  t.same(fleet.nodesOf('wide'), ['n1', 'n3']);
});

t.test('a member whose agent refuses it is as one that does not start', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 1 });
  fleet.addNode('n2', { gpus: 1, rejects: /wide/ });
  fleet.start('a');
  await fleet.declare('Deployment', 'wide', wide({ engine: 'sim' }));
  await fleet.until('an action', () => fleet.actions().length > 0);
  await fleet.until('nothing left', () => node(fleet, 'n1').engines.size === 0);
  t.match(fleet.actions(), [{ symptom: 'gang_start_failed', node: 'n2', detail: /n2: no$/ }]);
});

t.test('a member that waits for its host, or was ended by hand, is waited for a while', async (t) => {
  const fleet = await running();
  node(fleet, 'n2').say(/wide/, 'ENGINE_STATE_BACKOFF', 'preflight_failed', 'no memory');
  await fleet.run(8000);
  t.same(symptoms(fleet), []);
  node(fleet, 'n2').say(/wide/, 'ENGINE_STATE_READY', 'serving', 'ok');
  await fleet.run(4000);
  t.same(symptoms(fleet), [], 'it came in time');
  node(fleet, 'n2').say(/wide/, 'ENGINE_STATE_STOPPED', 'drained', '');
  await fleet.until('an action', () => fleet.actions().length > 0);
  t.match(fleet.actions(), [{ symptom: 'gang_member_failed', detail: /n2: drained/ }]);
});

t.test('a lost host: what is left is stopped and freed host by host, and the replica runs elsewhere', async (t) => {
  const fleet = await running(3);
  fleet.cut('n2', true);
  await fleet.until(
    'elsewhere',
    () => fleet.status('wide').ready === 1 && fleet.nodesOf('wide').includes('n3'),
    60_000,
  );
  t.match(symptoms(fleet), ['gang_host_lost']);
  t.ok(specsOn(node(fleet, 'n1')).length === 1, 'the host that is left is used again');
  t.same(fleet.doubles, []);
  const held = fleet.memory.projection
    .list('placement')
    .filter(({ value }) => (value as { phase: string }).phase === 'lost');
  t.match(held, [{ value: { parts: [{ node: 'n2' }] } }], 'only what cannot be asked is still held');
  fleet.reconnect('n2');
  await fleet.until('nothing held', () => fleet.memory.projection.list('placement').length === 1);
  t.same(fleet.doubles, []);
});

t.test('while too many hosts seem lost, or only observing, no gang is stopped', async (t) => {
  const fleet = await running(2, { healMaxLostPercent: 40 });
  fleet.cut('n2');
  await fleet.run(20_000);
  t.same([symptoms(fleet), startsOf(fleet)], [[], [1, 1]], 'half of the fleet is away');
  const watched = await running(2, { observeOnly: true });
  node(watched, 'n2').say(/wide/, 'ENGINE_STATE_FAILED', 'crashed', 'gone');
  await watched.run(5000);
  t.same([symptoms(watched), startsOf(watched)], [[], [1, 1]]);
  t.match(watched.schedulers.get('a')?.lines.join(), /not done \(only observing\)/);
});

t.test('when it is to stop, the others compute until the leader has ended', async (t) => {
  const fleet = await running();
  const states: string[] = [];
  await fleet.undeclare('Deployment', 'wide');
  for (let step = 0; step < 100 && fleet.memory.projection.list('placement').length > 0; step++) {
    await fleet.run(50);
    states.push(
      ['n1', 'n2'].map((name) => [...node(fleet, name).engines.values()][0]?.state.slice(13) ?? '-').join(' '),
    );
  }
  const seen = states.filter((state, at) => state !== states[at - 1]);
  t.same(seen.slice(-4), ['DRAINING READY', '- READY', '- DRAINING', '- -']);
  t.same(fleet.memory.projection.list('placement'), []);
});

t.test('a broken gang that was about to be replaced stops as well', async (t) => {
  const fleet = await running(4);
  node(fleet, 'n3').options = { ...node(fleet, 'n3').options, fails: /wide/, failsWith: 'crashed' };
  await fleet.declare('Node', 'n1', { draining: true });
  await fleet.until('a move', () => fleet.memory.projection.list('placement').length === 2);
  node(fleet, 'n2').say(/wide-0-\w+$/, 'ENGINE_STATE_FAILED', 'crashed', 'in the middle of it');
  await fleet.until('told', () => fleet.actions().some(({ detail }) => /in the middle/.test(String(detail))));
  t.same(fleet.doubles, []);
});
