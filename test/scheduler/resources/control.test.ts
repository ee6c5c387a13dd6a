/** The control plane over a store in memory: when it opens, what it keeps, what it does while the store is away or behind. */
import t from 'tap';
import { createMetrics } from '../../../lib/io/metrics.ts';
import { showControl } from '../../../scheduler/adapters/control/control_metrics.ts';
import type { AppendItem, Checkpoint } from '../../../scheduler/core/events/store_port.ts';
import { createMemoryStore } from '../../support/memory_store.ts';
import { until } from '../../support/waits.ts';
import { CALLER, deployment, openControl } from './control_fixture.ts';

const apply = (...resources: object[]) => ({ resources, dryRun: false, reason: '' });

const item = (name: string, more: Partial<AppendItem> = {}): AppendItem => ({
  kind: 'desired.created',
  resource: { kind: 'Deployment', name },
  actor: 'key:other',
  reason: '',
  correlationId: '',
  after: { spec: { engine: 'sim' }, labels: {} },
  ...more,
});

t.test('nobody opens the store before it is needed; then its state is in memory and is followed', async (t) => {
  const { store, control, operations, calls } = openControl(t);
  await new Promise((resolve) => setTimeout(resolve, 40));
  t.equal(calls.opened, 0);
  t.match(control.health(), { state: 'closed' });
  t.equal(control.store.health().state, 'down');
  let reads = 0;
  control.onRead(() => reads++);
  t.equal(reads, 0);
  t.same(await operations.list(''), []);
  control.onRead(() => reads++);
  t.equal(reads, 2);
  t.equal(calls.opened, 1);
  t.match(control.health(), { state: 'up' });
  const seen: number[] = [];
  const forget = control.onEvents((events) => seen.push(...events.map(({ seq }) => seq)));
  store.write({ idempotencyId: 'other', items: [item('theirs')] });
  await until(() => control.projection().get('desired', 'Deployment', 'theirs') !== undefined, 'the other event');
  await control.store.append({ idempotencyId: 'ours', items: [item('ours')] });
  t.ok(control.projection().get('desired', 'Deployment', 'ours'), 'an append is in memory when it resolves');
  t.same(seen, [1, 2]);
  forget();
  t.equal(control.recentEvents().length, 2);
  t.equal(calls.opened, 1, 'once for all');
  await control.stop();
  t.ok(store.closed);
  t.equal(calls.anchored, 1, 'what is new is anchored at the end');
  await t.rejects(operations.apply(apply(deployment('x')), CALLER), { code: 'draining' });
});

t.test('without a store everything is refused by its code', async (t) => {
  const { control, operations } = openControl(t, { change: { open: undefined, openAtStart: true } });
  t.match(control.health(), { state: 'off' });
  await t.rejects(operations.apply(apply(deployment('x')), CALLER), { code: 'store_off' });
  await t.rejects(operations.list(''), { code: 'store_off' });
  await t.rejects(control.store.head(), { code: 'store_off' });
  t.same(operations.freeze(), { frozen: false, by: '', sinceMs: 0, reason: '' });
});

t.test('a start goes on from the newest checkpoint, and remembers the events before it', async (t) => {
  const store = createMemoryStore();
  store.write({ idempotencyId: '1', items: [item('a'), item('b')] });
  await store.checkpoint();
  store.write({ idempotencyId: '2', items: [item('c')] });
  const { control, operations } = openControl(t, { store, change: { openAtStart: true } });
  await until(() => control.isRead(), 'the first read');
  t.equal(control.projection().seq(), 3);
  t.equal(control.projection().size(), 3);
  t.same(
    control.recentEvents().map(({ seq }) => seq),
    [1, 2, 3],
  );
  t.match(await operations.describe({ kind: 'deployment', name: 'a' }), { events: [{ seq: 1 }] });
  store.checkpoints = [{ ...(store.checkpoints[0] as Checkpoint), state: 'broken' }];
  const broken = openControl(t, { store });
  await t.rejects(broken.control.catchUp(), { code: 'store_corrupt' });
});

t.test('with the store away reads go on from memory, changes are refused, and later all works again', async (t) => {
  const { store, control, operations } = openControl(t);
  await operations.apply(apply(deployment('a')), CALLER);
  store.failWith = 'store_unavailable';
  await t.rejects(operations.apply(apply(deployment('b')), CALLER), { code: 'store_unavailable' });
  await t.rejects(
    operations.delete({ resources: [{ kind: 'deployment', name: 'a' }], dryRun: false, reason: '' }, CALLER),
    {
      code: 'store_unavailable',
    },
  );
  t.match(await operations.list('deploy'), [{ resource: { metadata: { name: 'a' } } }]);
  t.match(await operations.apply({ ...apply(deployment('b')), dryRun: true }, CALLER), {
    outcomes: [{ outcome: 'created' }],
  });
  await until(() => control.health().state === 'down', 'the state');
  store.failWith = undefined;
  t.match(await operations.apply(apply(deployment('b')), CALLER), { outcomes: [{ outcome: 'created', version: 2 }] });
  store.write({ idempotencyId: 'x', items: [item('c')] });
  await until(() => control.projection().seq() === 3, 'following goes on');
  t.match(control.health(), { state: 'up', reason: '' });
});

t.test('a store that cannot be opened is tried again, by whoever asks and by itself', async (t) => {
  const store = createMemoryStore();
  store.failWith = 'store_refused';
  const { control, operations } = openControl(t, { store, change: { openAtStart: true } });
  await t.rejects(operations.list(''), { code: 'store_refused' });
  t.match(control.health(), { state: 'down', reason: 'The store is away.' });
  store.failWith = undefined;
  await until(() => control.isRead(), 'the store');
});

t.test('a log that lost events freezes reconcile and names the gap, until a person takes it as it is', async (t) => {
  const store = createMemoryStore();
  store.write({ idempotencyId: '1', items: [item('a'), item('b'), item('c')] });
  const { seq, hash } = await store.head();
  const anchor = { n: 1, logId: 'log', seq, hash, count: seq, atMs: 0, prev: '', signature: '' };
  store.rows.length = 2;
  const { control, operations, calls } = openControl(t, {
    store,
    anchor,
    change: { openAtStart: true, anchorPeriodMs: 1 },
  });
  await until(() => control.isRead(), 'the first read');
  const gap = /ends at event 2, but event 3 was acknowledged: 1 events are missing/;
  t.match(control.health(), { state: 'behind', gap });
  t.match(operations.freeze(), { frozen: true, by: 'store', gap });
  await t.rejects(operations.apply(apply(deployment('d')), CALLER), { code: 'store_behind', message: gap });
  await t.rejects(operations.setFreeze('x', CALLER), { code: 'store_behind' });
  t.equal((await operations.list('')).length, 2, 'what is there can be read');
  await new Promise((resolve) => setTimeout(resolve, 40));
  t.equal(calls.anchored, 0, 'a log with a gap is not anchored');
  t.match(await operations.liftFreeze('not looked', false, CALLER), { frozen: true });
  t.equal(calls.accepted, 0);
  const told: number[] = [];
  control.onEvents((events) => told.push(events.length));
  t.match(await operations.liftFreeze('looked', true, CALLER), { frozen: false });
  t.equal(told.at(-1), 0, 'whoever looks at the state is told that it is another one');
  t.equal(calls.accepted, 1);
  t.match(await operations.apply(apply(deployment('d')), CALLER), { outcomes: [{ outcome: 'created' }] });
  t.match(control.health(), { state: 'up', gap: undefined });
});

t.test('a log that is rolled back while we look is noticed before it is anchored', async (t) => {
  const { store, control, operations, calls } = openControl(t, { change: { anchorPeriodMs: 1 } });
  await operations.apply(apply(deployment('a'), deployment('b')), CALLER);
  await until(() => calls.anchored > 0, 'an anchor');
  store.rows.length = 1;
  await until(() => control.freeze().frozen, 'the freeze');
  t.match(control.freeze(), { gap: /event 2 was acknowledged/ });
  t.equal((await operations.list('')).length, 2, 'memory still has what was acknowledged');
  await operations.liftFreeze('looked', true, CALLER);
  t.same(
    (await operations.list('')).map(({ resource }) => resource.metadata.name),
    ['a'],
  );
  t.same(
    control.recentEvents().map(({ seq }) => seq),
    [1],
  );
  t.match(await operations.apply(apply(deployment('c')), CALLER), { outcomes: [{ outcome: 'created', version: 2 }] });
});

t.test('what was written is written, also when it cannot be read back at once', async (t) => {
  const { store, control } = openControl(t);
  await control.catchUp();
  const { append } = store;
  store.append = async (request) => {
    const outcome = await append(request);
    store.failWith = 'store_unavailable';
    return outcome;
  };
  t.match(await control.store.append({ idempotencyId: '1', items: [item('a')] }), { kind: 'appended' });
  t.equal(control.projection().seq(), 0);
  store.failWith = undefined;
  await until(() => control.projection().seq() === 1, 'the event');
});

t.test('checkpoints are made when there are enough new events, and at the end', async (t) => {
  const many = Array.from({ length: 2001 }, (_, index) => deployment(`d-${index}`));
  const { store, operations } = openControl(t, { change: { checkpointPeriodMs: 1, checkpointEvents: 2001 } });
  await operations.apply(apply(...many), CALLER);
  await until(() => store.checkpoints.length > 0, 'a checkpoint');
  t.equal(store.checkpoints[0]?.seq, 2001);
  t.same(store.appends, [...Array.from({ length: 10 }, () => 200), 1]);
  store.checkpoints.length = 0;
  const again = openControl(t, { store });
  await again.control.catchUp();
  await again.control.stop();
  t.equal(store.checkpoints.length, 1, 'one at the end, for the next start');
  const third = openControl(t, { store });
  await third.control.catchUp();
  store.rows.length = 5;
  await third.control.stop();
  t.equal(store.checkpoints.length, 1, 'none of a log that has a gap');
  t.equal(third.calls.anchored, 0);
});

t.test('the store behind its face has all its parts', async (t) => {
  const { store, control } = openControl(t);
  store.write({ idempotencyId: '1', items: [item('a')] });
  const face = control.store;
  t.equal((await face.read(0, 10)).length, 1);
  for await (const rows of face.follow(0, 10, new AbortController().signal)) t.equal(rows.length, 1);
  t.match(await face.get('desired', 'Deployment', 'a'), { name: 'a' });
  t.equal((await face.list('desired', { kind: '', name: '' }, 10)).length, 1);
  t.match(await face.checkpoint(), { seq: 1 });
  t.match(await face.checkpointBefore(9, 9), { seq: 1 });
  t.equal(await face.remember({ seq: 1, hash: (await face.head()).hash }, 'log'), undefined);
  await face.acceptLog();
  t.equal(await face.leases.look('x'), undefined);
  const missing: (() => Promise<unknown>)[] = [
    () => face.leases.acquire('x', 'a', 1),
    () => face.leases.renew('x', 'a', 1, 1),
    () => face.leases.release('x', 'a', 1),
    () => face.archive({ seq: 1, hash: '' }, 0, async () => undefined),
  ];
  for (const call of missing) await t.rejects(call(), /no such part/);
  await face.close();
  t.equal(store.closed, false, 'whoever opened it closes it');
  t.match(await control.stateAt({ seq: 1 }), { size: Function });
});

t.test('metrics say how the store fares and what it holds', async (t) => {
  const { control, operations } = openControl(t);
  const metrics = createMetrics({ processMetrics: false });
  showControl(metrics, control);
  t.match(await metrics.render(), /sophia_store_state\{state="closed"\} 1/);
  await operations.apply(apply(deployment('a'), deployment('b')), CALLER);
  await operations.setFreeze('night', CALLER);
  const text = await metrics.render();
  for (const line of [
    'sophia_store_state{state="up"} 1',
    'sophia_store_state{state="closed"} 0',
    'sophia_store_events 3',
    'sophia_resources{kind="Deployment"} 2',
    'sophia_resources{kind="Pool"} 0',
    'sophia_reconcile_frozen 1',
  ])
    t.ok(text.includes(line), line);
});
