/** Engines through the door: those pinned by hand, those of deployments, of the configuration, and of nobody. */
import t from 'tap';
import type { EngineReport } from '../../../scheduler/core/resources/contract.ts';
import { engineEvent } from '../fakes.ts';
import { type Json, namesOf, startByHand } from './by_hand_fixture.ts';
import { deployment } from './harness.ts';

const GIB = 2 ** 30;
const SPEC = { engine: 'vllm', model: 'm', gpuMemoryBytes: 40 * GIB };

t.test('a pinned engine runs on its node and nowhere else, changes one after the other, moves and goes', async (t) => {
  const { fleet, view, ask, apply, remove, list } = await startByHand(t);
  fleet.addNode('n1', { gpus: 1 });
  fleet.addNode('n2', { gpus: 1 });
  const probe = (): EngineReport | undefined => view.engines().find(({ deployment: of }) => of === 'engine/probe');
  const runsOn = (node: string) => (): boolean => probe()?.node === node && probe()?.state === 'ready';
  t.match(await apply('Engine', 'probe', { ...SPEC, node: 'n2' }), {
    outcomes: [{ resource: 'engine/probe', outcome: 'created', version: 1 }],
  });
  await fleet.until('the engine', runsOn('n2'));
  t.match(await ask('resources/engine/probe'), {
    metadata: { name: 'probe', version: 1 },
    spec: { node: 'n2', servedModelName: 'probe', gpusPerHost: 1 },
    status: {
      source: 'declared',
      node: 'n2',
      engine: /^probe-pin-\w{10}$/,
      gpus: [0],
      phase: 'placed',
      state: 'ready',
    },
  });
  const before = probe()?.engine;
  t.match(await list('engines'), [{ metadata: { name: 'probe' } }], 'it is listed once');
  const changed = { ...SPEC, node: 'n2', extraFlags: ['--seed', 2] };
  const resources = [{ apiVersion: 'sophia/v1', kind: 'Engine', metadata: { name: 'probe' }, spec: changed }];
  t.match(
    ((await ask('plan', { resources }))['lines'] as string[]).join('\n'),
    /^stop (\S+) on n2: .*\nstart \S+ on n2 GPU 0, in its own place, once \1 on n2 has stopped\nengine\/probe rolls to revision \w+ in steps; these 1 starts/,
  );
  t.match(await apply('Engine', 'probe', changed), {
    outcomes: [{ outcome: 'changed' }],
  });
  await fleet.until(
    'another engine',
    () => runsOn('n2')() && probe()?.engine !== before && view.engines().length === 1,
  );
  await apply('Engine', 'probe', { ...SPEC, node: 'n1', extraFlags: ['--seed', 2] });
  await fleet.until('the other node', () => runsOn('n1')() && view.engines().length === 1);
  t.equal(fleet.nodes.get('n2')?.engines.size, 0);
  t.match(await ask('describe/engine/probe'), {
    statusNote: '',
    events: [{ resource: { kind: 'Engine', name: 'probe' } }],
  });
  t.match(await remove('engine', 'probe'), { outcomes: [{ resource: 'engine/probe', outcome: 'deleted' }] });
  await fleet.until('nothing', () => view.engines().length === 0);
  t.same(fleet.memory.projection.list('placement'), []);
  t.same(fleet.doubles, []);
});

t.test('a pinned engine waits for a node that is full or unknown, and says what would have to change', async (t) => {
  const { fleet, ask, apply, list } = await startByHand(t);
  fleet.addNode('n1', { gpus: 1 });
  fleet.addNode('n2', { gpus: 1 });
  await apply('Deployment', 'chat', { ...SPEC, replicas: 2 });
  await fleet.until('both', () => fleet.ready('chat', 2));
  await apply('Engine', 'late', { ...SPEC, node: 'n1', preemptionPolicy: 'Never' });
  await apply('Engine', 'lost', { ...SPEC, node: 'n9' });
  await fleet.run(1000);
  t.match(await ask('resources/engine/late'), {
    status: { source: 'declared', node: 'n1', engine: '', state: 'pending', reason: /^n1: refused by gpu_sharing/ },
  });
  t.match(await ask('resources/engine/lost'), { status: { reason: /^n9: refused by node_unknown: no agent/ } });
  t.match(
    (await list('engine')).find(({ metadata }) => (metadata as Json)['name'] === 'lost'),
    { status: { reason: /explain deployment engine\/lost/ } },
    'a list makes no plans',
  );
  const lines = (await ask('explain/deployment/engine/late'))['lines'] as string[];
  t.match(lines.join('\n'), /n1: refused by gpu_sharing/);
  t.notMatch(lines.join('\n'), /n2: refused/, 'other nodes are no matter of it');
  t.match(await ask('explain/deployment/engine/nobody'), { http: 404 });
  fleet.addNode('n9', { gpus: 1 });
  await fleet.until('the node that came', () => fleet.status('engine/lost').ready === 1);
});

t.test('an engine of a deployment is stopped and placed anew, under the version that was seen', async (t) => {
  const { fleet, ask, remove, list } = await startByHand(t);
  fleet.addNode('n1');
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('chat', () => fleet.ready('chat', 1));
  const [engine] = await list('engine');
  const { metadata } = engine as { readonly metadata: { readonly name: string; readonly version: number } };
  const { name, version } = metadata;
  t.match(engine, {
    metadata: { name: /^n1\/chat-0-/, updatedBy: 'scheduler:a' },
    spec: { node: 'n1', engine: 'vllm', model: 'm' },
    status: {
      source: 'deployment',
      deployment: 'chat',
      replica: 0,
      place: 'chat/0/1',
      phase: 'placed',
      state: 'ready',
    },
  });
  t.match(await ask(`describe/engine/${name}`), {
    notes: [/belongs to deployment\/chat/],
    events: [{ kind: 'placement.assigned' }],
  });
  t.match(await remove('engine', name, { version: version - 1 }), { http: 409, error: { code: 'version_conflict' } });
  t.match(await remove('engine', name, { dryRun: true }), { outcomes: [{ outcome: 'stopped', version }], seq: 0 });
  await ask('freeze', { reason: 'night' });
  t.match(await remove('engine', name), { http: 409, error: { code: 'fleet_frozen', message: /test/ } });
  await ask('unfreeze', {});
  const starts = fleet.nodes.get('n1')?.starts as number;
  const twice = [
    { kind: 'engine', name, version },
    { kind: 'engine', name: name.slice(name.indexOf('/') + 1) },
  ];
  t.match(await ask('delete', { resources: twice, reason: 'it hangs' }), {
    outcomes: [{ resource: `engine/${name}`, outcome: 'stopped', notes: [/new place/] }, { outcome: 'stopped' }],
  });
  t.match(await remove('engine', name), { outcomes: [{ outcome: 'unchanged', notes: [/already/] }] });
  t.match(await ask(`resources/engine/${name}`), {
    status: { phase: 'stopping', phaseReason: 'stopped by hand: it hangs' },
  });
  await fleet.until('a new one', () => fleet.nodes.get('n1')?.starts === starts + 1 && fleet.ready('chat', 1));
  const moved = fleet.memory.rows.filter(({ kind }) => kind === 'placement.moved').map(({ body }) => JSON.parse(body));
  t.match(moved[0], { actor: 'subject:operator', reason: 'it hangs', after: { phase: 'stopping' } });
  t.match(await remove('engine', 'n1/nobody'), { outcomes: [{ outcome: 'not_found' }] });
  t.match(await ask('resources/engine/n1/nobody'), { http: 404 });
  t.same(fleet.doubles, []);
});

t.test('engines of the configuration and of nobody are shown, and a delete says what ends them', async (t) => {
  const fixed = { name: 'fixed', kind: 'sim', model: 'sim-m', servedModelName: 'fixed', gpuIds: [0] };
  const settings = { nodes: { n1: [fixed], n2: [fixed], n3: [fixed] } };
  const { fleet, ask, apply, remove, list } = await startByHand(t, settings);
  const node = fleet.addNode('n1');
  fleet.addNode('n2', { rejects: /fixed/ });
  await fleet.until('it to run', () => node.engines.get('fixed')?.state === 'ENGINE_STATE_READY');
  fleet.tell(node.name, (sink, session) =>
    sink.onEngineEvent(session, engineEvent({ engine: 'stray', incarnation: 1 })),
  );
  t.match(await list('engine'), [
    {
      metadata: { name: 'n1/fixed', version: 0, updatedBy: 'configuration' },
      spec: { node: 'n1', engine: 'sim', model: 'sim-m' },
      status: { source: 'configuration', gpus: [0], state: 'ready' },
    },
    { metadata: { name: 'n1/stray', updatedBy: 'agent:n1' }, status: { source: 'unknown' } },
    { metadata: { name: 'n2/fixed' }, status: { state: 'rejected', reason: 'no' } },
    { metadata: { name: 'n3/fixed' }, status: { state: 'unknown', reason: /not connected/ } },
  ]);
  t.match(
    await ask('resources/engine/stray'),
    { metadata: { name: 'n1/stray' } },
    'by its own name, where that is enough',
  );
  t.match(await ask('resources/engine/fixed'), {
    http: 400,
    error: { code: 'invalid_value', message: /n1\/fixed, n2/ },
  });
  t.match(await remove('engine', 'n1/fixed'), {
    http: 409,
    error: { code: 'managed_elsewhere', message: /setting nodes: take it out of the configuration/ },
  });
  t.match(await remove('engine', 'stray', { dryRun: true }), {
    error: { code: 'managed_elsewhere', message: /by nobody/ },
  });
  t.match(await ask('describe/engine/n1/fixed'), { notes: [/setting `nodes`/] });
  t.match(await ask('describe/engine/stray'), { notes: [/nobody here/] });
  t.same(namesOf((await ask('resources'))['resources'] as Json[]), [], 'of all kinds only what is declared');
  await apply('Engine', 'probe', { ...SPEC, node: 'n2' });
  await fleet.until('the pinned one', () => fleet.status('engine/probe').ready === 1);
  const { status } = (await ask('resources/engine/probe')) as { readonly status: { readonly engine: string } };
  t.match(await remove('engine', `n2/${status.engine}`), {
    error: { code: 'managed_elsewhere', message: /runs for engine\/probe: delete that/ },
  });
  t.same(namesOf((await ask('resources'))['resources'] as Json[]), ['probe']);
});

t.test('a plan says what would be done about both kinds before it happens', async (t) => {
  const { fleet, ask } = await startByHand(t);
  fleet.addNode('n1', { gpus: 1 });
  fleet.addNode('n2', { gpus: 1 });
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('chat', () => fleet.ready('chat', 1));
  const [at] = fleet.nodesOf('chat');
  const other = at === 'n1' ? 'n2' : 'n1';
  const resource = (kind: string, name: string, spec: Json): Json => ({
    apiVersion: 'sophia/v1',
    kind,
    metadata: { name },
    spec,
  });
  const engine = resource('Engine', 'probe', { ...SPEC, node: other });
  t.match(await ask('plan', { resources: [engine] }), {
    assignments: 1,
    lines: [`start engine/probe on ${other} GPU 0`],
    outcomes: [{ resource: 'engine/probe', outcome: 'created' }],
  });
  const hold = resource('Quarantine', 'fan', { node: at, reason: 'it is loud', until: '2d' });
  t.match(await ask('plan', { resources: [hold] }), {
    assignments: 1,
    lines: [
      new RegExp(
        `move chat/0 on ${other} GPU 0, from ${at}: the node is in quarantine \\(quarantine/fan: it is loud\\)`,
      ),
    ],
  });
  t.match(await ask('plan', { resources: [hold, engine] }), { pending: 1 });
  t.match(
    await ask('plan', {
      deleted: [
        { kind: 'Quarantine', name: 'x' },
        { kind: 'Engine', name: 'y' },
      ],
    }),
    { lines: [] },
  );
  t.match(await ask('apply', { resources: [{ ...engine, spec: { ...SPEC, node: other, replicas: 2 } }] }), {
    error: { code: 'invalid_resource', message: /spec\.replicas: is not a member that is known here/ },
  });
  t.equal(fleet.memory.rows.filter(({ kind }) => kind.startsWith('quarantine')).length, 0);
});
