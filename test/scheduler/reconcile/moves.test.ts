/** An ordered defragmentation in fleets in memory: carried out move by move, checked again, ended when it does not hold. */
import t from 'tap';
import type { Projection } from '../../../scheduler/core/events/projection.ts';
import { orderDefragment } from '../../../scheduler/adapters/resources/defragment_operations.ts';
import type { ControlPlane } from '../../../scheduler/core/resources/control_port.ts';
import type { DefragmentOrder } from '../../../scheduler/core/resources/operations.ts';
import { type FakeScheduler, deployment, Harness } from './harness.ts';
import { GIB } from './fake_node.ts';

const CALLER = { actor: 'key:ann', correlationId: 'corr-1' };
const small = (replicas: number, more = {}) =>
  deployment(replicas, { gpuMemoryBytes: 15 * GIB, sharing: 'shared', placement: 'spread', ...more });

/** Four replicas, each on a GPU that three more would fit on. */
async function scattered(settings = {}, replicas = 4) {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: replicas / 2 });
  fleet.addNode('n2', { gpus: replicas / 2 });
  const scheduler = fleet.start('a', settings);
  await fleet.declare('Deployment', 'small', small(replicas));
  await fleet.until('all', () => fleet.ready('small', replicas));
  return { fleet, scheduler };
}

/** The operation of the doors, over the log of the fleet in memory. */
function orderer(fleet: Harness, scheduler: FakeScheduler) {
  const { memory } = fleet;
  let ids = 0;
  const control = {
    projection: () => memory.projection,
    isRead: () => true,
    catchUp: async () => memory.projection as Projection,
    store: memory.store,
    freeze: () => {
      const frozen = memory.projection.list('freeze').length > 0;
      return { frozen, by: 'key:bob', sinceMs: 0, reason: 'a look' };
    },
  } as unknown as ControlPlane;
  const newId = (): string => `order-${(ids += 1)}`;
  const deps = { control, reconcile: () => scheduler.view, newId };
  return async (order: Partial<DefragmentOrder>) => {
    const answer = await orderDefragment(deps, { verb: 'apply', plan: '', reason: 'whole GPUs', ...order }, CALLER);
    await fleet.append({ kind: 'action.taken', resource: { kind: 'Deployment', name: 'nudge' }, after: {} });
    return answer;
  };
}

const events = (fleet: Harness) =>
  fleet.memory.rows.map(({ kind, body }) => ({
    kind,
    ...(JSON.parse(body) as {
      resource: { kind: string; name: string };
      reason: string;
      actor: string;
      correlationId: string;
    }),
  }));
const orders = (fleet: Harness) => events(fleet).filter(({ resource }) => resource.kind === 'Defragmentation');
const isOver = (fleet: Harness) => (): boolean => orders(fleet).at(-1)?.kind === 'lifecycle.ended';
const gpusInUse = (fleet: Harness): number =>
  new Set(
    fleet
      .status('small')
      .replicas.flatMap(({ gpus }) => gpus.flatMap(({ node, gpus: all }) => all.map((g) => `${node}/${g}`))),
  ).size;

t.test('every replica that moves has its new engine ready before the old one stops, one at a time', async (t) => {
  const { fleet, scheduler } = await scattered();
  const order = orderer(fleet, scheduler);
  const { plan, moves, before, after } = await scheduler.view.defragment(16);
  t.equal(gpusInUse(fleet), 4);
  t.match({ before, after }, { before: { emptyGpus: 0 }, after: { emptyGpus: 3 } });
  t.same(await order({ plan }), { moves: moves.length, correlationId: 'corr-1' });
  let least = 4;
  let most = 0;
  await fleet.until('all moves', () => {
    const { ready, replicas } = fleet.status('small');
    least = Math.min(least, ready);
    most = Math.max(most, replicas.filter(({ state }) => state === 'draining').length);
    return isOver(fleet)();
  });
  t.equal(least, 4, 'nobody was missed');
  t.equal(most, 2, 'half of four at once');
  t.equal(gpusInUse(fleet), 1);
  t.match(orders(fleet)[0], { actor: 'key:ann', reason: 'whole GPUs', correlationId: 'corr-1' });
  t.match(orders(fleet).at(-1), { reason: `all ${moves.length} moves are done`, correlationId: 'corr-1' });
  const assigned = events(fleet).filter(
    ({ kind, correlationId }) => kind === 'placement.assigned' && correlationId === 'corr-1',
  );
  t.equal(assigned.length, moves.length);
  t.match(assigned[0], {
    actor: 'scheduler:a',
    reason: 'it is moved to make whole GPUs, as ordered by key:ann: whole GPUs',
  });
  t.match(await scheduler.view.defragment(16), { plan: '', moves: [] });
  t.same(fleet.doubles, []);
});

t.test(
  'a plan that is not what would be planned now is refused, as is one while another runs or the fleet is frozen',
  async (t) => {
    const { fleet, scheduler } = await scattered();
    const order = orderer(fleet, scheduler);
    const { plan } = await scheduler.view.defragment(16);
    await t.rejects(order({ plan: 'other' }), { code: 'plan_stale', message: new RegExp(plan), param: 'plan' });
    await t.rejects(order({ plan, maxMoves: 1 }), { code: 'plan_stale' });
    await t.rejects(order({ plan, maxMoves: 0 }), { code: 'invalid_value', param: 'maxMoves' });
    await t.rejects(order({ verb: 'cancel' }), { code: 'not_found' });
    await t.rejects(order({ plan, reason: 'x'.repeat(5000) }), { code: 'invalid_value', param: 'reason' });
    await fleet.append({ kind: 'freeze.set', resource: { kind: 'Fleet', name: 'fleet' }, after: { reason: 'a look' } });
    await t.rejects(order({ plan }), { code: 'fleet_frozen', message: /key:bob/ });
    await fleet.append({ kind: 'freeze.lifted', resource: { kind: 'Fleet', name: 'fleet' }, after: null });
    // A replica that was started anew is another one, though it stands where it stood.
    const [place] = fleet.memory.projection.list('placement');
    await fleet.append({
      kind: 'placement.moved',
      resource: { kind: 'Replica', name: place?.name as string },
      after: { ...(place?.value as object), reason: 'touched' },
    });
    await t.rejects(order({ plan }), { code: 'plan_stale' });
    const now = await scheduler.view.defragment(16);
    await order({ plan: now.plan });
    await t.rejects(order({ plan: now.plan }), {
      code: 'plan_running',
      message: /^A defragmentation is under way: 0 of \d moves/,
    });
    await fleet.until('a move', () => orders(fleet).length > 1);
    t.match(
      (await scheduler.view.defragment(16)).lines[0],
      /^under way: \d of \d moves done, \d begun, ordered by key:ann: whole GPUs$/,
    );
    // What has begun ends, and nothing more begins.
    const { moves } = await order({ verb: 'cancel', reason: 'enough' });
    t.equal(moves, now.moves.length - 2);
    await fleet.run(5000);
    t.match(orders(fleet).at(-1), { kind: 'lifecycle.ended', reason: 'enough', actor: 'key:ann' });
    t.ok(fleet.ready('small', 4));
    t.equal(gpusInUse(fleet), 4 - 2);
    await t.rejects(order({ verb: 'cancel' }), { code: 'not_found' });
  },
);

t.test('a move that does not hold any more ends the order with the reason, and what runs goes on', async (t) => {
  for (const [what, change, told] of [
    [
      'a cordoned node',
      (fleet: Harness, to: string) => fleet.declare('Node', to, { cordoned: true }),
      /does not hold any more: n\d .*cordoned/,
    ],
    [
      'a deployment that is gone',
      (fleet: Harness) => fleet.undeclare('Deployment', 'small'),
      /not wanted|does not run/,
    ],
    [
      'a GPU that is not sound',
      async (fleet: Harness, to: string) => {
        for (const gpu of [0, 1]) fleet.nodes.get(to)?.health.set(gpu, 'unhealthy');
      },
      /GPU \d there is failed|could not stay: a GPU/,
    ],
    [
      'a replica that is elsewhere by now',
      async (fleet: Harness) => {
        for (const { name, value } of fleet.memory.projection.list('placement')) {
          const { parts, ...rest } = value as unknown as { readonly parts: readonly object[] };
          const after = { ...rest, parts: parts.map((part) => ({ ...part, gpus: [7] })) };
          await fleet.append({ kind: 'placement.moved', resource: { kind: 'Replica', name }, after });
        }
      },
      /runs elsewhere by now/,
    ],
    ['fewer of them', (fleet: Harness) => fleet.declare('Deployment', 'small', small(1)), /not wanted|does not run/],
    ['a freeze', undefined, /all \d moves are done/],
  ] as const) {
    const { fleet, scheduler } = await scattered();
    const order = orderer(fleet, scheduler);
    const { plan, moves } = await scheduler.view.defragment(16);
    // Before the leader has seen the order.
    scheduler.paused = true;
    await order({ plan });
    if (change === undefined)
      await fleet.append({
        kind: 'freeze.set',
        resource: { kind: 'Fleet', name: 'fleet' },
        after: { reason: 'a look' },
      });
    else await change(fleet, moves[0]?.to[0]?.node as string);
    fleet.resume('a');
    if (change === undefined) {
      await fleet.run(3000);
      t.equal(orders(fleet).length, 1, 'nothing begins while it is frozen');
      await fleet.append({ kind: 'freeze.lifted', resource: { kind: 'Fleet', name: 'fleet' }, after: null });
    }
    await fleet.until(what, isOver(fleet));
    t.match(orders(fleet).at(-1)?.reason, told, what);
    t.same(fleet.doubles, []);
  }
});

t.test('a new engine that does not come up ends the order, and the old one serves on', async (t) => {
  const { fleet, scheduler } = await scattered();
  const order = orderer(fleet, scheduler);
  const { plan } = await scheduler.view.defragment(16);
  for (const node of fleet.nodes.values()) node.options = { ...node.options, fails: /small-\d-.*-2$/ };
  await order({ plan });
  await fleet.until('the end', isOver(fleet));
  t.match(orders(fleet).at(-1)?.reason, /^the new engine of small\/\d\/1 (is gone|could not stay)/);
  await fleet.run(5000);
  t.ok(fleet.ready('small', 4));
  t.equal(gpusInUse(fleet), 4);
});

t.test('moves at a time are bounded for the fleet, and for each deployment by the share that may move', async (t) => {
  for (const [settings, most] of [
    [{ healMaxMovedPercent: 100 }, 2],
    [{ healMaxMovedPercent: 20 }, 1],
  ] as const) {
    const { fleet, scheduler } = await scattered(settings, 6);
    const { plan, moves } = await scheduler.view.defragment(16);
    t.ok(moves.length > 2);
    await orderer(fleet, scheduler)({ plan });
    let seen = 0;
    await fleet.until('all moves', () => {
      const { replicas } = fleet.status('small');
      seen = Math.max(seen, replicas.filter(({ state }) => state === 'draining').length);
      return isOver(fleet)();
    });
    t.equal(seen, most);
  }
});

t.test('the next leader goes on where the last one was, and an order that it cannot read is taken away', async (t) => {
  const { fleet, scheduler } = await scattered();
  const order = orderer(fleet, scheduler);
  const { plan } = await scheduler.view.defragment(16);
  await order({ plan });
  await fleet.until('the first moves', () => orders(fleet).length > 1);
  fleet.kill('a');
  fleet.start('b');
  await fleet.until('all moves', isOver(fleet), 120_000);
  t.match(orders(fleet).at(-1), { actor: 'scheduler:b', reason: /^all 3 moves are done/ });
  t.equal(gpusInUse(fleet), 1);
  await fleet.append({
    kind: 'lifecycle.changed',
    resource: { kind: 'Defragmentation', name: 'fleet' },
    after: { moves: 'all of them' },
  });
  await fleet.until('it to go', isOver(fleet));
  t.match(orders(fleet).at(-1)?.reason, /newer version/);
  t.same(fleet.doubles, []);
});
