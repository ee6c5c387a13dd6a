/** The waiting room by itself: requests that ran already, work that ends while it begins, and bounds of its memory. */
import t from 'tap';
import { CodedError } from '../../../../lib/errors.ts';
import type { TenantId } from '../../../../lib/ids.ts';
import type { QueueOptions, WaitingOrder } from '../../../../scheduler/core/queue/contract.ts';
import { isWorthWaiting } from '../../../../scheduler/core/queue/hope.ts';
import { WaitingRoom } from '../../../../scheduler/core/queue/waiting_room.ts';
import { fakeClock } from '../../fakes.ts';

const OPTIONS: QueueOptions = {
  maxRequests: 4,
  maxBytes: 1000,
  maxTotalRequests: 5,
  maxTotalBytes: 2000,
  tenantShare: 1,
  maxWaitMs: 60_000,
  silentMs: 0,
  noticeMs: 1000,
};

function open(options: Partial<QueueOptions> = {}) {
  const clock = fakeClock();
  const room = new WaitingRoom({ clock, options: { ...OPTIONS, ...options } });
  const events: string[] = [];
  let slots = 0;
  const order = (name: string, change: Partial<WaitingOrder> = {}): WaitingOrder => ({
    model: 'm',
    tenant: 'a' as TenantId,
    weight: 1,
    priority: 0,
    deadlineAtMs: 100_000,
    promptTokens: 10,
    outputTokens: 10,
    bytes: 10,
    mayWait: () => true,
    place() {
      if (slots === 0) return false;
      slots -= 1;
      events.push(`placed ${name}`);
      return true;
    },
    refuse: (error) => void events.push(`refused ${name}: ${error.code}`),
    told: (place) => events.push(`told ${name}: ${place.position}`) > 0,
    ...change,
  });
  const free = (count = 1, model = 'm'): void => {
    slots += count;
    room.changed(model);
  };
  return { clock, room, events, order, free };
}

t.test('a request that ran already goes before all others, whatever is full', async (t) => {
  const { room, events, order, free } = open();
  for (const name of ['r1', 'r2', 'r3', 'r4']) room.enter(order(name));
  t.throws(() => room.enter(order('r5')), { code: 'overloaded' });
  const ticket = room.wait(order('moved', { bytes: 5000 }));
  t.equal(ticket.place?.position, 1);
  t.equal(room.requests, 5);
  t.equal(room.bytes, 5040);
  free(2);
  t.same(events, ['placed moved', 'placed r1']);
});

t.test('a request that ran already takes a free engine at once, and holds up nobody when it finds none', async (t) => {
  const { room, events, order, free } = open();
  room.enter(order('r1'));
  room.wait(order('stuck', { place: () => false }));
  free();
  t.same(events, ['placed r1'], 'the engine that it may not use is for the next');
  const left = room.wait(order('left'));
  left.leave();
  left.leave();
  t.equal(room.requests, 1);
  room.drain();
  t.throws(() => room.wait(order('late')), { code: 'draining' });
  t.equal(room.wait(order('late', { begun: true, place: () => false })).place?.position, 1, 'its answer has begun');
});

t.test('what ends while it is placed frees the engine for the next, in the same go', async (t) => {
  const { room, events, order, free } = open();
  const again = room.enter(order('blocker'));
  const brief = room.enter(
    order('brief', {
      place() {
        events.push('placed brief');
        brief?.leave();
        free();
        return true;
      },
    }),
  );
  room.enter(order('r2'));
  again?.leave();
  room.changed('m');
  t.same(events, ['placed brief', 'placed r2']);
  t.equal(room.requests, 0);
});

t.test('a failure that does not pass ends the wait with itself', async (t) => {
  const { room, events, order, clock } = open({ silentMs: 5000 });
  let failure: unknown;
  const broken = order('broken', {
    mayWait: ({ code }) => code === 'overloaded',
    place() {
      if (failure !== undefined) throw failure;
      return false;
    },
  });
  room.enter(broken);
  failure = new CodedError('overloaded', 'The lane is full.');
  room.fleetChanged();
  t.same(events, []);
  failure = new Error('a bug');
  room.fleetChanged();
  t.same(events, ['refused broken: internal']);
  room.fleetChanged();
  t.equal(clock.timers, 0);
  t.throws(() => room.enter(broken), { message: 'a bug' });
});

t.test('a failure that ends its own request while it is placed is told once', async (t) => {
  const { room, events, order } = open();
  let isBroken = false;
  const ticket = room.enter(
    order('r1', {
      mayWait: () => false,
      place() {
        if (!isBroken) return false;
        ticket?.leave();
        throw new CodedError('stream_lost', 'The lane is cut.');
      },
    }),
  );
  isBroken = true;
  room.changed('m');
  t.same(events, []);
  t.equal(room.requests, 0);
});

t.test('one whose client need not be spared is told its place from the beginning', async (t) => {
  const { room, events, order, clock } = open();
  room.enter(order('r1'));
  clock.advance(300);
  t.same(events, ['told r1: 1']);
  const migrating = open({ silentMs: 9000 });
  migrating.room.wait(migrating.order('moved', { begun: true }));
  migrating.clock.advance(300);
  t.same(migrating.events, ['told moved: 1'], 'its answer has begun');
});

t.test('what is known of models is bounded; nobody who waits is forgotten', async (t) => {
  const { room, order } = open({ maxTotalRequests: 10_000 });
  room.enter(order('kept', { model: 'kept' }));
  for (let n = 0; n < 3000; n += 1) room.enter(order('passing', { model: `m${n}` }))?.leave();
  t.ok(room.views().length <= 1024);
  t.equal(room.waitingFor('kept'), 1);
  room.ended(order('unknown', { model: 'never' }), { tookMs: 5, outputTokens: 1 });
});

t.test('a state that passes is worth waiting for, one that does not is not', async (t) => {
  const refused = (...words: string[]): Map<string, number> => new Map(words.map((word) => [word, 1]));
  t.ok(isWorthWaiting(undefined));
  t.ok(isWorthWaiting(refused()));
  for (const word of ['starting', 'warming', 'backoff', 'at_capacity', 'node_lost', 'no_lane', 'breaker']) {
    t.ok(isWorthWaiting(refused('failed', word)), word);
  }
  t.notOk(isWorthWaiting(refused('failed', 'draining', 'tried', 'no_endpoint')));
});
