/** Parts of reconcile by themselves: names, entries, engine specifications, targets, the view of the fleet. */
import t from 'tap';
import { ENGINE_NAME } from '../../../../agent/core/engine_spec.ts';
import type { Entry } from '../../../../scheduler/core/events/projection.ts';
import { createProjection } from '../../../../scheduler/core/events/projection.ts';
import type { NodeId } from '../../../../lib/ids.ts';
import type { Place } from '../../../../scheduler/core/reconcile/contract.ts';
import { deploymentOf, readDeclared } from '../../../../scheduler/core/reconcile/declared.ts';
import { isGoneFrom, observe } from '../../../../scheduler/core/reconcile/observe.ts';
import { engineSpec, enginesByNode, OrderBook } from '../../../../scheduler/core/reconcile/orders.ts';
import { engineName, newPlace, placeOf, placeValue, sharingOf } from '../../../../scheduler/core/reconcile/places.ts';
import { rollingTargets } from '../../../../scheduler/core/reconcile/wanted.ts';
import type { FleetState, NodeState } from '../../../../scheduler/core/fleet/state.ts';
import { deployment } from '../../reconcile/harness.ts';

const part = (node: string, gpus: readonly number[], share = 0.5) => ({
  node,
  gpus,
  gpuMemoryBytes: 40,
  graceSpillBytes: 0,
  gpuMemoryShare: share,
  hostMemoryBytes: 0,
});

const place = (change: Partial<Place> = {}): Place => ({
  ...newPlace(
    {
      deployment: 'chat',
      index: 0,
      revision: 'abc',
      spec: deployment(1),
      priority: 50,
      parts: [part('n1', [0])],
      waitsFor: [],
      reason: 'it is wanted',
    },
    1,
  ),
  ...change,
});

t.test('engines have names that agents take, and that differ where places do', async (t) => {
  t.equal(engineName('chat', 0, '0a1b2c3d', 1), 'chat-0-0a1b2c3d');
  t.equal(engineName('chat', 0, '0a1b2c3d', 3), 'chat-0-0a1b2c3d-3');
  const long = 'x'.repeat(80);
  const names = [
    engineName(`${long}a`, 99_999, '0a1b2c3d', 999),
    engineName(`${long}b`, 99_999, '0a1b2c3d', 999),
    engineName('Chat.v1', 0, '0a1b2c3d', 1),
    engineName('chat-v1', 0, '0a1b2c3d', 1),
    engineName('-_-', 0, '0a1b2c3d', 1),
  ];
  for (const name of names) t.match(name, ENGINE_NAME);
  t.equal(new Set(names).size, names.length);
});

t.test('a place is read as it was written, and what is none is left alone', async (t) => {
  const entry = (value: unknown, change: Partial<Entry> = {}): Entry =>
    ({
      area: 'placement',
      kind: 'Replica',
      name: 'chat/0/1',
      version: 9,
      value,
      atMs: 0,
      actor: 'x',
      ...change,
    }) as Entry;
  const one = place();
  t.same(placeOf(entry(placeValue(one))), { ...one, version: 9 });
  for (const bad of [null, 'text', {}, { ...one, phase: 'dreaming' }, { ...one, parts: 3 }])
    t.equal(placeOf(entry(bad)), undefined);
  t.equal(placeOf(entry(placeValue(one), { area: 'desired' })), undefined);
  t.equal(placeOf(entry(placeValue(one), { kind: 'Other' })), undefined);
  const entries = [
    entry(placeValue(one)),
    entry({}, { name: 'other' }),
    entry({ reason: '' }, { area: 'quarantine', kind: 'Later', name: 'n1/0' }),
    entry({ spec: { node: 'n1', reason: 'why', until: 5 } }, { area: 'quarantine', kind: 'Quarantine', name: 'q' }),
    entry({ untilMs: 5, times: 1 }, { area: 'lifecycle', kind: 'Avoid', name: 'chat/n1' }),
    entry({ x: 1 }, { area: 'lifecycle', kind: 'Other', name: 'y' }),
    entry({ reason: 'why' }, { area: 'freeze', kind: 'Fleet', name: 'other' }),
    entry({ spec: {}, labels: {} }, { area: 'desired', kind: 'Alias', name: 'x' }),
  ];
  const declared = readDeclared(createProjection(entries, 12));
  t.match(declared, { seq: 12, frozen: undefined, places: [{ name: 'chat/0/1' }] });
  t.same(
    [...declared.quarantines.values()],
    [{ name: 'q', version: 9, spec: { node: 'n1', reason: 'why', until: 5 }, endsAtMs: 5 }],
  );
  t.same(declared.avoidances, [{ deployment: 'chat', node: 'n1', untilMs: 5, times: 1, version: 9 }]);
  t.same(deploymentOf('x', 1, { replicas: 1 }).spec.extraFlags, []);
});

t.test('flags of vLLM follow from the place, unless the deployment has its own', async (t) => {
  const two = part('n1', [0, 1], 0.50099);
  const flags = (spec: Parameters<typeof deployment>[1], at = two) =>
    engineSpec(place({ spec: deployment(1, spec) }), at).extraFlags;
  t.same(flags({}), ['--tensor-parallel-size', '2', '--gpu-memory-utilization', '0.5']);
  t.same(flags({ extraFlags: ['-tp', '4', '--gpu_memory_utilization=0.3'] }), [
    '-tp',
    '4',
    '--gpu_memory_utilization=0.3',
  ]);
  const staged = { extraFlags: ['-pp', '2'] };
  t.same(flags(staged, part('n1', [0, 1, 2, 3]))?.slice(2, 4), ['--tensor-parallel-size', '2'], '4 GPUs are 2 by 2');
  t.notOk(flags(staged, part('n1', [0, 1, 2]))?.includes('--tensor-parallel-size'), '3 are not');
  t.same(flags({}, part('n1', [3], 0.0001)), ['--gpu-memory-utilization', '0.001']);
  t.same(flags({}, part('n1', [])), []);
  t.same(flags({ engine: 'sim' }), []);
  const { gpuMemoryBytes: _whole, ...whole } = deployment(1);
  t.same(engineSpec(place({ spec: whole }), part('n1', [0])).extraFlags, []);
  t.equal(sharingOf({ ...whole, sharing: 'shared' }), 'exclusive', 'there is nothing to divide');
  t.match(engineSpec(place({ spec: deployment(1, { maxConcurrentRequests: 7 }) }), two), {
    name: 'chat-0-abc',
    kind: 'ENGINE_KIND_VLLM',
    gpuIds: [0, 1],
    limits: { maxConcurrentRequests: 7 },
  });
});

t.test('the agent is told where the files of a model come from', async (t) => {
  const source = { url: 'hf://org/name', revision: 'abc' };
  const spec = engineSpec(place({ spec: deployment(1, { source }) }), part('n1', [0]));
  t.same(spec.modelSource, { url: 'hf://org/name', revision: 'abc', sha256: {} });
  t.equal(engineSpec(place({}), part('n1', [0])).modelSource, undefined);
});

t.test('what a node is told has the number of the log at which it last changed', async (t) => {
  const book = new OrderBook((node) => (node === 'n2' ? [{ name: 'fixed' }] : undefined));
  t.same(book.of('n1'), { generation: 0, engines: [] });
  t.same(book.of('n2'), { generation: 0, engines: [{ name: 'fixed' }] });
  t.same(book.update([place(), place({ name: 'x', engine: 'b', phase: 'stopping' })], 5), ['n1']);
  t.match(book.of('n1'), { generation: 5, engines: [{ name: 'chat-0-abc' }] });
  t.equal(book.of('n2').generation, 0);
  t.same(book.update([place()], 6), [], 'nothing of it has changed');
  t.equal(book.of('n1').generation, 5);
  t.same(book.update([place({ phase: 'leaving' })], 7), [], 'one that leaves serves on');
  t.same(book.update([], 8), ['n1']);
  t.same(book.of('n1'), { generation: 8, engines: [] });
  const engines = enginesByNode([place({ engine: 'z' }), place({ engine: 'a' })]);
  t.same(
    engines.get('n1')?.map(({ name }) => name),
    ['a', 'z'],
  );
});

t.test('a replica is as its worst part, and gone when every agent says so', async (t) => {
  const node = (name: string, state: string | undefined, more: object = {}): [NodeId, NodeState] => [
    name as NodeId,
    {
      name,
      connected: true,
      rejections: [],
      observedGeneration: 3,
      engines: new Map(state === undefined ? [] : [['chat-0-abc', { event: { state, reason: 'r', message: '' } }]]),
      ...more,
    } as unknown as NodeState,
  ];
  const fleet = (...nodes: [NodeId, NodeState][]) => ({ nodes: new Map(nodes) });
  const two = place({ parts: [part('n1', [0]), part('n2', [0])] });
  t.match(observe(fleet(node('n1', 'ENGINE_STATE_READY'), node('n2', 'ENGINE_STATE_WARMING')), two), {
    state: 'starting',
    detail: 'r',
    node: 'n2',
  });
  t.equal(
    observe(fleet(node('n1', 'ENGINE_STATE_READY'), node('n2', 'ENGINE_STATE_OF_TOMORROW')), two).state,
    'starting',
  );
  t.equal(observe(fleet(node('n1', 'ENGINE_STATE_READY')), two).state, 'unknown');
  t.equal(observe(fleet(node('n1', 'ENGINE_STATE_READY'), node('n2', undefined)), two).state, 'absent');
  const rejections = [{ engine: 'chat-0-abc', code: 'x', message: 'no', param: '' }];
  t.match(observe(fleet(node('n1', undefined, { connected: false }), node('n2', undefined, { rejections })), two), {
    state: 'rejected',
    detail: 'no',
  });
  t.equal(observe(fleet(), place({ parts: [] })).state, 'absent');
  const isGone = (from: FleetState, name: string, generation: number | undefined): boolean =>
    isGoneFrom(from.nodes.get(name as NodeId), two.engine, generation);
  const stopped = fleet(node('n1', 'ENGINE_STATE_STOPPED'), node('n2', undefined));
  t.ok(isGone(stopped, 'n1', 3));
  t.ok(isGone(stopped, 'n2', 3));
  t.notOk(isGone(stopped, 'n1', 4), 'it has not taken up the newest orders');
  t.notOk(isGone(stopped, 'n1', undefined), 'it was told nothing by this leader');
  t.notOk(isGone(stopped, 'n3', 3), 'nobody has heard of it');
  t.notOk(isGone(fleet(node('n1', 'ENGINE_STATE_STOPPING')), 'n1', 3));
});

t.test('old revisions give up their places as new ones become ready', async (t) => {
  const now = { name: 'chat', version: 3, spec: deployment(3), revision: 'new' };
  const old = [0, 1, 2].map((index) => place({ name: `o${index}`, index, revision: 'old' }));
  const older = place({ name: 'p', index: 0, revision: 'older' });
  const ready = new Set<Place>();
  const counts = (places: readonly Place[]) =>
    rollingTargets(now, places, (each) => ready.has(each)).map(({ revision, replicas }) => [revision, replicas]);
  t.same(counts([]), [['new', 3]]);
  t.same(counts([...old, older]), [
    ['new', 1],
    ['old', 3],
    ['older', 0],
  ]);
  const first = place({ name: 'n', revision: 'new' });
  ready.add(first);
  t.same(counts([first, ...old, older]), [
    ['new', 2],
    ['old', 2],
    ['older', 0],
  ]);
});
