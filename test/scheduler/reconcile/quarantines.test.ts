/** Quarantines through the door: what they keep off, how they end, and those that agents set by themselves. */
import t from 'tap';
import { type Json, namesOf, startByHand } from './by_hand_fixture.ts';
import { deployment } from './harness.ts';

t.test('a GPU in quarantine is left, refuses with its reason, and may be used again once it is lifted', async (t) => {
  const { fleet, ask, apply, remove } = await startByHand(t);
  fleet.addNode('n1', { gpus: 2 });
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('chat', () => fleet.ready('chat', 1));
  const gpu = (): number => fleet.status('chat').replicas[0]?.gpus[0]?.gpus[0] as number;
  const first = gpu();
  t.match(await apply('Quarantine', 'fan', { node: 'n1', gpu: 'GPU of n1', reason: 'it is loud' }), {
    http: 400,
    error: { code: 'invalid_resource', message: /spec\.gpu: must be the index of a GPU or its UUID/ },
  });
  t.match(await apply('Quarantine', 'fan', { node: 'n1', gpu: `GPU-ABCDEF00-0000-${first}`, reason: 'it is loud' }), {
    outcomes: [{ resource: 'quarantine/fan', outcome: 'created' }],
  });
  t.match(await ask('resources/quarantine/fan'), {
    spec: { node: 'n1', gpu: `GPU-ABCDEF00-0000-${first}`, reason: 'it is loud' },
    status: { source: 'declared', gpu: first, uuid: `GPU-abcdef00-0000-${first}`, replicas: ['chat/0'], note: '' },
  });
  await fleet.until('the other GPU', () => fleet.ready('chat', 1) && gpu() !== first);
  t.match(fleet.actions(), [{ symptom: 'gpu_bad', action: 'move', detail: /a GPU failed or is in quarantine/ }]);
  await apply('Deployment', 'more', { engine: 'vllm', model: 'm', gpuMemoryBytes: '40GiB', preemptionPolicy: 'Never' });
  t.match(
    ((await ask('explain/deployment/more'))['lines'] as string[]).join('\n'),
    /n1: refused by gpu_sharing/,
    'the sound one is taken',
  );
  await fleet.undeclare('Deployment', 'chat');
  await apply('Deployment', 'more', {
    engine: 'vllm',
    model: 'm',
    gpusPerHost: 2,
    gpuMemoryBytes: '40GiB',
    preemptionPolicy: 'Never',
  });
  t.match(
    ((await ask('explain/deployment/more'))['lines'] as string[]).join('\n'),
    new RegExp(
      `refused by gpu_health: .*GPU ${first}: quarantine/fan: it is loud.* fit if quarantine/fan were deleted`,
    ),
  );
  t.match(await apply('Quarantine', 'fan', { node: 'n1', gpu: String(first), reason: 'louder' }, { version: 1 }), {
    http: 409,
    error: { code: 'version_conflict' },
  });
  t.match(await remove('quarantine', 'fan', { dryRun: true }), { outcomes: [{ outcome: 'deleted' }], seq: 0 });
  t.match(await remove('quarantine', 'fan', { reason: 'quiet' }), { outcomes: [{ outcome: 'deleted' }] });
  await fleet.until('both GPUs to be used', () => fleet.ready('more', 1));
  const kinds = fleet.memory.rows.map(({ kind }) => kind).filter((kind) => kind.startsWith('quarantine'));
  t.same(kinds, ['quarantine.set', 'quarantine.lifted']);
  t.same(fleet.doubles, []);
});

t.test('a node in quarantine is left within the limits of healing', async (t) => {
  const { fleet, ask, apply } = await startByHand(t, { healMaxActions: 1, healWindowMs: 3_600_000 });
  fleet.addNode('n1');
  await fleet.declare('Deployment', 'chat', deployment(2));
  await fleet.until('chat', () => fleet.ready('chat', 2));
  await apply('Quarantine', 'water', { node: 'n1', reason: 'the rack is wet' });
  fleet.addNode('n2');
  await fleet.until('one to move', () => fleet.ready('chat', 2) && fleet.nodesOf('chat').join() === 'n1,n2');
  await fleet.run(3000);
  t.equal(fleet.nodesOf('chat').join(), 'n1,n2', 'the other has to wait');
  t.match(fleet.actions(), [{ symptom: 'node_quarantined', action: 'move', node: 'n1' }]);
  t.match(await ask('resources/quarantine/water'), { status: { replicas: [/^chat\/\d$/], note: '' } });
  t.match(((await ask('explain/deployment/chat'))['lines'] as string[]).join('\n'), /n2: chosen for replica/);
  t.same(fleet.doubles, []);
});

t.test('a quarantine ends by itself when its time by the store is over, and only the leader says so', async (t) => {
  const { fleet, ask, apply, list } = await startByHand(t);
  // The clock of the store is an hour before that of the scheduler.
  fleet.skewMs = 3_600_000;
  fleet.addNode('n1');
  await fleet.run(3000);
  t.match(await apply('Quarantine', 'short', { node: 'n1', reason: 'a look', until: '10s' }), { http: 200 });
  const entry = () => fleet.memory.projection.get('quarantine', 'Quarantine', 'short');
  const { atMs } = entry() as { readonly atMs: number };
  t.match(await ask('resources/quarantine/short'), { spec: { until: 10_000 }, status: { untilMs: atMs + 10_000 } });
  t.match(await apply('Quarantine', 'short', { node: 'n1', reason: 'a look', until: '10s' }), {
    outcomes: [{ outcome: 'unchanged' }],
  });
  await fleet.run(5000);
  t.match(await apply('Quarantine', 'short', { node: 'n1', reason: 'a longer look', until: '10s' }), {
    outcomes: [{ outcome: 'changed', changes: [{ path: 'spec.reason' }] }],
  });
  t.match(
    await ask('resources/quarantine/short'),
    { status: { untilMs: atMs + 10_000 } },
    'another word is no more time',
  );
  await fleet.run(4000);
  t.ok(entry(), 'not yet');
  await fleet.until('its end', () => entry() === undefined, 3000);
  const [lifted] = fleet.memory.rows
    .filter(({ kind }) => kind === 'quarantine.lifted')
    .map(({ body }) => JSON.parse(body));
  t.match(lifted, { actor: 'scheduler:a', reason: 'its time is over', resource: { name: 'short' } });
  t.same(await list('quarantine'), []);
  await ask('freeze', { reason: 'night' });
  await apply('Quarantine', 'past', { node: 'n7', gpu: 9, reason: 'x', until: '1970-01-01T01:00:00+01:00' });
  await fleet.run(2000);
  t.match(await ask('describe/quarantine/past'), {
    resource: { spec: { until: '1970-01-01T00:00:00.000Z' }, status: { note: /its time is over/ } },
    notes: [/its time is over/],
  });
  await ask('unfreeze', {});
  await fleet.until('the end of what is past', () => fleet.memory.projection.list('quarantine').length === 0);
});

t.test('what agents have quarantined by themselves is seen beside, and a delete names what lifts it', async (t) => {
  const { fleet, ask, apply, remove, list } = await startByHand(t);
  const node = fleet.addNode('n1');
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('chat', () => fleet.ready('chat', 1));
  node.gpuEvent(0, true);
  node.health.set(1, 'quarantined');
  await fleet.run(1500);
  await apply('Quarantine', 'z-mine', { node: 'n1', gpu: 'GPU-00000000-dead-beef', reason: 'unsure' });
  await apply('Quarantine', 'a-new', { node: 'n8', reason: 'not yet' });
  t.match(await list('quarantines'), [
    { metadata: { name: 'a-new' }, status: { source: 'declared', note: /no agent of this node/ } },
    { metadata: { name: 'z-mine' }, status: { uuid: /dead/, note: 'its node has no such GPU', replicas: [] } },
    {
      metadata: { name: 'n1/0', version: 0, updatedBy: 'agent:n1' },
      spec: { node: 'n1', gpu: 0, reason: 'xid: XID 79' },
      status: { source: 'agent', gpu: 0, note: '`sophia gpu release n1 0` lifts it' },
    },
    { metadata: { name: 'n1/1' }, spec: { reason: /its agent calls it/ }, status: { source: 'agent' } },
  ]);
  t.match(await remove('quarantine', 'n1/0'), {
    http: 409,
    error: { code: 'managed_elsewhere', message: /set by the agent of n1: `sophia gpu release n1 0` lifts it/ },
  });
  t.match(await remove('quarantine', 'n1/7'), { outcomes: [{ outcome: 'not_found' }] });
  t.same(namesOf((await ask('resources'))['resources'] as Json[]), ['chat', 'a-new', 'z-mine']);
  node.gpuEvent(0, false);
  node.health.delete(1);
  await fleet.run(1500);
  t.same(namesOf(await list('quarantine')), ['a-new', 'z-mine']);
});

t.test('what is wrong with a quarantine or an engine is said with its path', async (t) => {
  const { apply } = await startByHand(t);
  const q = { node: 'n1', reason: 'x' };
  const wrong: readonly (readonly [string, Json, RegExp])[] = [
    ['Quarantine', { node: 'n1' }, /spec\.reason: is required/],
    ['Quarantine', { ...q, node: 'N 1' }, /spec\.node: .*RFC 1123/],
    ['Quarantine', { ...q, gpus: 1 }, /spec\.gpus: .*did you mean gpu\?/],
    ['Quarantine', { ...q, gpu: -1 }, /spec\.gpu/],
    ['Quarantine', { ...q, until: 'tomorrow' }, /spec\.until: must be a time with its zone/],
    ['Quarantine', { ...q, until: '2027-01-31T18:00:00' }, /spec\.until: must be a time/],
    ['Quarantine', { ...q, until: '2027-13-31T18:00:00Z' }, /spec\.until: must be a time/],
    ['Quarantine', { ...q, until: 0 }, /spec\.until: must be a time/],
    ['Quarantine', { ...q, until: '400d' }, /spec\.until: must be a time/],
    ['Engine', { engine: 'sim', model: 'm' }, /spec\.node: is required/],
    ['Engine', { engine: 'sim', model: 'm', node: 'a b' }, /spec\.node: .*RFC 1123/],
    ['Engine', { engine: 'sim', model: 'm', node: 'n1', regions: ['x'] }, /spec\.regions: is not a member/],
    ['Engine', { engine: 'sim', model: 'm', node: 'n1', extraFlags: ['--port', 1] }, /--port may not be set/],
  ];
  for (const [kind, spec, message] of wrong)
    t.match(
      await apply(kind, 'x', spec),
      { http: 400, error: { code: 'invalid_resource', message } },
      JSON.stringify(spec),
    );
  t.match(await apply('Engine', 'a/b', { engine: 'sim', model: 'm', node: 'n1' }), {
    error: { message: /RFC 1123 label/ },
  });
});
