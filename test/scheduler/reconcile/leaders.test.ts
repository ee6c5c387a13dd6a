/** Several schedulers on one log: one leads, the others know; and what happens when the store does not answer. */
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { NodeId } from '../../../lib/ids.ts';
import { deployment, Harness } from './harness.ts';

const gone = (): CodedError => new CodedError('store_unavailable', 'The store is away.');

t.test('a leader that is paused is followed within seconds, and gives no orders when it goes on', async (t) => {
  const fleet = new Harness();
  const node = fleet.addNode('n1', { gpus: 4 });
  const first = fleet.start('a');
  await fleet.until('a to lead', () => first.view.leader().isLeader);
  const second = fleet.start('b');
  await fleet.declare('Deployment', 'chat', deployment(2));
  await fleet.until('ready', () => fleet.ready('chat', 2));
  t.match(second.view.leader(), { isLeader: false, holder: /^a\//, epoch: 1 });
  t.same(second.view.deploymentStatus('chat'), first.view.deploymentStatus('chat'), 'both know the same');
  t.equal(second.control.term(), 1, 'whoever does not lead speaks under the newest term');
  t.notOk(second.control.mayOrder());
  t.same(second.control.desiredFor('n1' as NodeId)?.engines, first.control.desiredFor('n1' as NodeId)?.engines);
  first.paused = true;
  const sinceMs = fleet.nowMs;
  await fleet.until('b to lead', () => second.view.leader().isLeader);
  t.ok(fleet.nowMs - sinceMs <= 2500, `${fleet.nowMs - sinceMs} ms`);
  await fleet.declare('Deployment', 'code', deployment(1));
  await fleet.until('code ready', () => fleet.ready('code', 1));
  const { starts } = node;
  fleet.resume('a');
  t.notOk(first.view.leader().isLeader, 'it knows by its own clock');
  t.notOk(first.control.mayOrder());
  await fleet.run(3000);
  t.match(first.view.leader(), { isLeader: false, holder: /^b\//, epoch: 2 });
  t.equal(node.starts, starts);
  t.match(first.lines.join('\n'), /leads no more/);
  // The old one's orders are refused by the agent, should any be on their way.
  node.obey(1, { generation: 99, engines: [] });
  t.same(node.stale, ['stale_term']);
  t.equal(node.engines.size, 3);
  t.same(fleet.doubles, []);
});

t.test(
  'a leader that is killed or that stops is followed; nothing is started twice, and a lag is waited for',
  async (t) => {
    const fleet = new Harness();
    const node = fleet.addNode('n1', { gpus: 4 });
    const first = fleet.start('a');
    await fleet.until('a to lead', () => first.view.leader().isLeader);
    fleet.start('b');
    await fleet.declare('Deployment', 'chat', deployment(2));
    await fleet.until('ready', () => fleet.ready('chat', 2));
    const idle = fleet.addNode('n2');
    await fleet.declare('Node', 'n2', { cordoned: true });
    // The next leader does not know yet what the last one has written.
    fleet.memory.lags = true;
    await fleet.declare('Deployment', 'chat', deployment(3));
    fleet.kill('a');
    await fleet.until('b to lead', () => fleet.leaders().join() === 'b');
    await fleet.run(3000);
    t.notOk(fleet.schedulers.get('b')?.control.mayOrder(), 'it has not seen all');
    t.equal(node.starts, 2);
    fleet.memory.lags = false;
    fleet.memory.catchUp();
    await fleet.until('three', () => fleet.ready('chat', 3));
    t.equal(node.starts, 3);
    t.equal(idle.orders.term, 2, 'one with nothing to do hears of the new leader too');
    // One that stops by itself lets go of the lease.
    const third = fleet.start('c');
    await fleet.schedulers.get('b')?.control.stop();
    await fleet.until('c to lead', () => third.view.leader().isLeader, 1500);
    fleet.kill('b');
    await fleet.run(2000);
    t.equal(node.starts, 3);
    await third.control.stop();
    await fleet.run(2000);
    t.equal(third.view.leader().holder, undefined);
  },
);

t.test(
  'an append of which nothing is known is repeated under its id; a store that is away stops nothing that runs',
  async (t) => {
    const fleet = new Harness();
    const node = fleet.addNode('n1', { gpus: 4 });
    const scheduler = fleet.start('a');
    await fleet.until('a to lead', () => scheduler.control.mayOrder());
    const { append } = fleet.memory.store;
    let cut = 1;
    (fleet.memory.store as { append: typeof append }).append = async (request) => {
      const outcome = await append(request);
      if (request.fence !== undefined && cut-- > 0) throw gone();
      return outcome;
    };
    await fleet.declare('Deployment', 'chat', deployment(2));
    await fleet.until('ready', () => fleet.ready('chat', 2));
    t.equal(node.starts, 2);
    t.match(scheduler.lines.join('\n'), /reconcile: The store is away/);
    // The lease cannot be renewed: it ceases to lead by its own clock, and what runs goes on.
    const away = setInterval(() => fleet.memory.failures.push(gone()), 1);
    fleet.memory.failures.push(...Array.from({ length: 400 }, gone));
    await fleet.until('it to cease', () => !scheduler.view.leader().isLeader);
    clearInterval(away);
    t.equal(fleet.status('chat').ready, 2);
    t.equal(scheduler.lines.filter((line) => line.includes('cannot be asked for')).length, 1, 'said once');
    fleet.memory.failures.length = 0;
    await fleet.until('it to lead again', () => scheduler.control.mayOrder());
    await fleet.declare('Deployment', 'chat', deployment(1));
    await fleet.until('one', () => fleet.ready('chat', 1));
    t.equal(node.starts, 2);
  },
);

t.test('what the store answers to an append is taken to heart', async (t) => {
  const fleet = new Harness();
  fleet.addNode('n1', { gpus: 4 });
  const scheduler = fleet.start('a');
  await fleet.until('a to lead', () => scheduler.control.mayOrder());
  const { append } = fleet.memory.store;
  const answers: Awaited<ReturnType<typeof append>>[] = [
    { kind: 'conflict', index: 0, expected: 'absent', actual: 4 },
    { kind: 'invalid', index: 0, problem: 'it is wrong' },
    { kind: 'fenced', epoch: 9 },
    { kind: 'fenced', epoch: 1 },
  ];
  (fleet.memory.store as { append: typeof append }).append = async (request) => {
    const answer = request.fence === undefined ? undefined : answers.shift();
    return answer ?? append(request);
  };
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('ready', () => fleet.ready('chat', 1));
  t.same(answers, []);
  const text = scheduler.lines.join('\n');
  t.match(text, /reconcile decides again: the log has changed/);
  t.match(text, /the store does not take what reconcile decided/);
  t.match(text, /an append was refused: another scheduler leads/);
  // Something that no pass can do anything about is told, and tried again.
  (fleet.memory.store as { append: typeof append }).append = async () => {
    throw new TypeError('a bug');
  };
  const before = fleet.memory.projection.seq();
  await append({
    idempotencyId: 'x',
    items: [
      {
        kind: 'desired.deleted',
        resource: { kind: 'Deployment', name: 'chat' },
        actor: 'key:test',
        reason: '',
        correlationId: '',
        after: null,
      },
    ],
  });
  await fleet.run(2500);
  t.equal(fleet.memory.projection.seq(), before + 1);
  t.match(scheduler.lines.join('\n'), /a pass of reconcile failed/);
});

t.test(
  'a store that came back from an older backup: epochs above what agents obey, and a gap that is named',
  async (t) => {
    const fleet = new Harness();
    const node = fleet.addNode('n1');
    node.orders = { term: 41, generation: 7, orderedInTerm: 41 };
    const scheduler = fleet.start('a');
    await fleet.until('a to lead', () => scheduler.view.leader().isLeader);
    t.equal(scheduler.view.leader().epoch, 42);
    await fleet.declare('Deployment', 'chat', deployment(1));
    await fleet.run(25_000);
    t.equal(node.orders.generation, 7, 'nor is anything ordered by it');
    t.equal(node.starts, 0, 'nothing is decided on a log that lacks what was acknowledged');
    t.match(scheduler.lines.join('\n'), /stands still: events 2 to 7 are missing: n1 has acknowledged them/);
    for (let i = 0; i < 6; i++) await fleet.declare('Deployment', `more-${i}`, deployment(0));
    await fleet.until('it to go on', () => fleet.ready('chat', 1));
    // A person may take the log as it is.
    const restored = fleet.addNode('n0');
    fleet.cut('n0');
    restored.orders = { term: 42, generation: 900, orderedInTerm: 42 };
    restored.remembered = { generation: 900, engines: [] };
    fleet.reconnect('n0');
    await fleet.declare('Deployment', 'chat', deployment(2));
    await fleet.run(2000);
    t.equal(fleet.status('chat').ready, 1);
    scheduler.control.acceptLog();
    await fleet.until('it to go on again', () => fleet.ready('chat', 2));
    // An agent that comes later may have seen a newer term: the lease is taken anew above it.
    const late = fleet.addNode('n2');
    fleet.cut('n2');
    late.orders = { term: 1_700_000_000_000, generation: 1_700_000_000_000, orderedInTerm: 1_700_000_000_000 };
    fleet.reconnect('n2');
    await fleet.until('a newer epoch', () => scheduler.view.leader().epoch === 1_700_000_000_001);
    await fleet.declare('Deployment', 'chat', deployment(5));
    await fleet.until('both to obey', () => fleet.ready('chat', 5));
    t.ok(late.starts > 0);
  },
);

t.test('clocks that differ by minutes change nothing', async (t) => {
  const fleet = new Harness();
  fleet.skewMs = -300_000;
  fleet.addNode('n1');
  const first = fleet.start('a');
  await fleet.until('a to lead', () => first.view.leader().isLeader);
  fleet.start('b');
  await fleet.declare('Deployment', 'chat', deployment(1));
  await fleet.until('ready', () => fleet.ready('chat', 1));
  for (let i = 0; i < 40; i++) {
    await fleet.run(250);
    t.ok(fleet.leaders().length <= 1);
  }
  t.same(fleet.leaders(), ['a']);
});

t.test('without a store the configuration is ordered under the time of the start', async (t) => {
  const fleet = new Harness();
  const nodes = { '*': [{ name: 'fixed', kind: 'sim', model: 'm', servedModelName: 'm', gpuIds: [0] }] };
  const scheduler = fleet.start('a', { nodes }, { log: undefined } as never);
  const node = fleet.addNode('n1');
  await fleet.run(500);
  t.ok(node.engines.has('fixed'));
  t.equal(node.orders.term, 7);
  t.equal(scheduler.control.view, undefined);
  t.ok(scheduler.control.mayOrder());
  scheduler.control.acceptLog();
  await scheduler.control.stop();
});

t.test(
  'until somebody uses the store the configuration is ordered; then the log, above all that was ordered before',
  async (t) => {
    const fleet = new Harness();
    fleet.unused = true;
    const nodes = { n1: [{ name: 'fixed', kind: 'sim', model: 'm', servedModelName: 'm', gpuIds: [0] }] };
    const node = fleet.addNode('n1');
    const scheduler = fleet.start('a', { nodes });
    fleet.cut('n1');
    fleet.reconnect('n1');
    await fleet.run(3000);
    t.ok(node.engines.has('fixed'));
    t.match(node.orders, { term: 7, generation: 7 });
    t.equal(scheduler.view.leader().epoch, 0, 'no store was asked for anything');
    fleet.use();
    await fleet.declare('Deployment', 'chat', deployment(1));
    await fleet.until('ready', () => fleet.ready('chat', 1));
    t.equal(scheduler.view.leader().epoch, 8);
    t.equal(node.starts, 2, 'the engine of the configuration goes on');
    // The store says that its log is not the one that was known.
    fleet.gap = 'events 3 to 9 are missing';
    t.notOk(scheduler.control.mayOrder());
    await fleet.declare('Deployment', 'more', deployment(1));
    await fleet.run(2000);
    t.equal(node.starts, 2);
    fleet.gap = undefined;
    await fleet.run(1500);
    t.ok(scheduler.control.mayOrder());
    await scheduler.control.stop();
  },
);
