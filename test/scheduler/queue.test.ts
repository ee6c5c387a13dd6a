/** Requests that wait for an engine, through the run loop: who is held, who is served, who is told what. */
import t from 'tap';
import type { RequestId, TenantId } from '../../lib/ids.ts';
import type { QueueOptions, QueuePlace, ShedReason } from '../../scheduler/core/queue/contract.ts';
import type { AdmittedRequest } from '../../scheduler/ports.ts';
import type { RunLoopDeps } from '../../scheduler/run_loop.ts';
import { engineEvent, idBytes, recordingDoor, request, telemetry, testLoop } from './fakes.ts';

const QUEUE: QueueOptions = {
  maxRequests: 100,
  maxBytes: 1_000_000,
  maxTotalRequests: 1000,
  maxTotalBytes: 10_000_000,
  tenantShare: 1,
  maxWaitMs: 30_000,
  silentMs: 1000,
  noticeMs: 400,
};
/** One request at a time on each engine. */
const ONE_AT_A_TIME = {
  generation: 1,
  term: 1,
  engines: [{ name: 'e0', servedModelName: 'm', limits: { maxConcurrentRequests: 1 } }],
};

function queueLoop(queue: Partial<QueueOptions> = {}, deps: Partial<RunLoopDeps> = {}) {
  const shed: ShedReason[] = [];
  const waits: string[] = [];
  const parts = testLoop({
    options: { queue: { ...QUEUE, ...queue } },
    deps: {
      desiredFor: () => ONE_AT_A_TIME as ReturnType<RunLoopDeps['desiredFor']>,
      queueFigures: {
        shed: (_model, reason) => void shed.push(reason),
        waited: (_model, outcome, waitMs) => void waits.push(`${outcome} ${waitMs}`),
      },
      ...deps,
    },
  });
  const { loop } = parts;
  const ask = (id: string, change: Partial<AdmittedRequest> = {}) => {
    const places: string[] = [];
    const door = Object.assign(recordingDoor(), {
      onQueued: (place: QueuePlace) => places.push(`${place.position}`) > 0,
    });
    const generation = loop.generator.start(request({ id: id as RequestId, ...change }), door, 1024);
    return { door, generation, places };
  };
  return { ...parts, ask, shed, waits };
}

const of = (tenant: string, weight = 1): Partial<AdmittedRequest> => ({
  tenant: tenant as TenantId,
  identity: { tenant: tenant as TenantId, subject: 's', roles: new Set(['user']), weight },
});

t.test('a request waits while the engine is full, and goes when the one before it has ended', async (t) => {
  const { loop, lane, ask, waits, clock, figures } = queueLoop();
  ask('r1');
  const second = ask('r2');
  const third = ask('r3');
  t.equal(lane.sent.length, 1);
  t.same(loop.inspector.queues(), [{ model: 'm', requests: 2, bytes: 4, tokens: 2 * 257 }]);
  t.equal(loop.inspector.runningRequests, 3, 'what waits is running as far as an id is concerned');
  t.match(loop.inspector.log.find('r3')?.queue, { place: { position: 2 }, waitedMs: 0 });
  clock.advance(50);
  lane.sent[0]?.sink.onDone(undefined);
  t.equal(lane.sent[1]?.order.meta.requestId, 'r2');
  t.equal(lane.sent.length, 2);
  lane.sent[1]?.sink.onTokens(Buffer.from('x'), idBytes(1), 0);
  lane.sent[1]?.sink.onDone(undefined);
  t.same(second.door.calls, ['head', 'tokens:x', 'done']);
  lane.sent[2]?.sink.onDone(undefined);
  t.same(third.door.calls, ['head', 'done']);
  t.same(waits, ['served 50', 'served 50']);
  t.match(loop.inspector.log.find('r3')?.queue, { place: undefined, waitedMs: 50 });
  t.equal(figures.active, 0);
  t.equal(loop.inspector.reservations.total, 0);
  t.equal(clock.timers, 0, 'nothing looks at an empty room');
});

t.test('tenants take turns, and a gateway’s urgent request goes before', async (t) => {
  const { lane, ask } = queueLoop();
  ask('first');
  for (const id of ['a1', 'a2', 'a3']) ask(id, of('a'));
  for (const id of ['b1', 'b2']) ask(id, of('b'));
  ask('urgent', { ...of('a'), priority: -1 });
  const order: string[] = [];
  for (let n = 0; n < 7; n += 1) {
    order.push(lane.sent[n]?.order.meta.requestId ?? '');
    lane.sent[n]?.sink.onDone(undefined);
  }
  t.equal(order[1], 'urgent');
  const rest = order.slice(2).map((id) => id[0]);
  t.equal(
    rest.slice(0, 4).filter((tenant) => tenant === 'b').length,
    2,
    `${rest.join('')}: b does not wait for all of a`,
  );
});

t.test('a waiting client is told nothing for a while, then its place again and again', async (t) => {
  const { ask, clock, lane } = queueLoop();
  ask('r1');
  const second = ask('r2');
  const third = ask('r3');
  clock.advance(950);
  t.same(third.places, []);
  clock.advance(150);
  t.same(third.places, ['2']);
  t.same(second.places, ['1']);
  clock.advance(1000);
  t.same(third.places, ['2', '2', '2']);
  lane.sent[0]?.sink.onDone(undefined);
  clock.advance(2000);
  t.same(third.places.slice(-1), ['1']);
  t.equal(second.places.length, 3, 'who is served is told no place');
});

t.test('cancelling a waiting request takes it out at once, by the door and by its id', async (t) => {
  const { loop, ask, lane, waits } = queueLoop();
  ask('r1');
  const second = ask('r2');
  const third = ask('r3');
  second.generation.cancel('client_gone');
  t.equal(loop.inspector.queues()[0]?.requests, 1);
  t.ok(loop.generator.cancel('r3' as RequestId, request().tenant));
  t.same(third.door.calls, ['error:cancelled']);
  t.same(loop.inspector.queues(), [{ model: 'm', requests: 0, bytes: 0, tokens: 0 }]);
  lane.sent[0]?.sink.onDone(undefined);
  t.equal(lane.sent.length, 1, 'no engine ever hears of them');
  t.same(waits, ['left 0', 'left 0']);
  t.match(loop.inspector.log.find('r2'), { outcome: 'cancelled' });
});

t.test('a cold model is waited for, and all goes when its engine is ready', async (t) => {
  const { loop, session, lane, ask, clock } = queueLoop();
  loop.fleetSink.onEngineEvent(session, engineEvent({ state: 'ENGINE_STATE_STARTING', models: [] }));
  const first = ask('r1');
  ask('r2');
  clock.advance(5000);
  t.equal(lane.sent.length, 0);
  t.ok(first.places.length > 5, 'its client knows that it waits');
  t.equal(loop.inspector.log.find('r1')?.decisions.length, 1, 'its looks in vain are one in its record');
  loop.fleetSink.onEngineEvent(session, engineEvent());
  t.equal(lane.sent.length, 1);
  t.equal(lane.sent[0]?.order.meta.deadlineMs, 55_000, 'the wait counts');
});

t.test('a configured model whose agent has not come yet is waited for', async (t) => {
  const { ask, clock } = queueLoop({}, { configuredModels: ['planned'] });
  const waiting = ask('r1', { model: 'planned' });
  clock.advance(2000);
  t.ok(waiting.places.length > 0);
});

t.test('nobody waits for what cannot come: the request is refused at once, and those who wait are too', async (t) => {
  const { loop, session, ask, shed } = queueLoop();
  ask('r1');
  const second = ask('r2');
  loop.fleetSink.onEngineEvent(session, engineEvent({ state: 'ENGINE_STATE_FAILED' }));
  t.same(second.door.calls, ['error:no_engine']);
  t.same(shed, ['no_engine']);
  t.throws(() => ask('r3'), { code: 'no_engine' });
  t.throws(() => ask('r4', { endpoint: 'embeddings' }), { code: 'no_engine' });
});

t.test('a full queue refuses with the time after which it makes sense to ask again', async (t) => {
  const { loop, ask, lane, clock, shed, figures } = queueLoop({ maxRequests: 8 });
  ask('r0');
  for (let n = 1; n <= 8; n += 1) ask(`r${n}`);
  t.throws(() => ask('r9'), { code: 'overloaded', retryAfterMs: 2000 }, 'nothing is known of the speed yet');
  for (let n = 0; n < 4; n += 1) {
    clock.advance(500);
    lane.sent[n]?.sink.onDone(undefined);
    ask(`more${n}`);
  }
  try {
    ask('r10');
    t.fail('there is room');
  } catch (error) {
    const { retryAfterMs = 0 } = error as { retryAfterMs?: number };
    t.ok(retryAfterMs > 2500 && retryAfterMs < 6000, `8 requests of 500 ms each: ${retryAfterMs}`);
  }
  t.same(shed, ['queue_full', 'queue_full']);
  t.equal(figures.refusals.at(-1), 'm grpc overloaded');
  t.equal(loop.inspector.queues()[0]?.requests, 8);
});

t.test('who holds less gets the place of whoever holds most; a begun answer is not taken back', async (t) => {
  const { ask, clock, shed } = queueLoop({ maxRequests: 3 });
  ask('r0', of('a'));
  const mine = ['a1', 'a2', 'a3'].map((id) => ask(id, of('a')));
  ask('b1', of('b'));
  t.same(mine[2]?.door.calls, ['error:overloaded']);
  t.equal(mine[2]?.door.error?.spec.http, 429);
  t.same(shed, ['pushed_out']);
  clock.advance(1200);
  t.throws(() => ask('c1', of('c')), { code: 'overloaded' });
});

t.test('a tenant has its share of the queue and no more', async (t) => {
  const { ask, shed } = queueLoop({ maxRequests: 4, tenantShare: 0.5 });
  ask('r0', of('a'));
  ask('a1', of('a'));
  ask('a2', of('a'));
  t.throws(() => ask('a3', of('a')), { code: 'overloaded', message: /share/ });
  ask('b1', of('b'));
  t.same(shed, ['tenant_share']);
});

t.test('bodies are bounded per model and in all', async (t) => {
  const big = { body: Buffer.alloc(600) };
  const { ask } = queueLoop({ maxBytes: 1000 });
  ask('r0');
  ask('r1', big);
  t.throws(() => ask('r2', big), { code: 'overloaded' });
  const total = queueLoop({ maxTotalBytes: 1000 });
  total.ask('r0');
  total.ask('r1', big);
  t.throws(() => total.ask('r2', big), { code: 'overloaded' });
  const count = queueLoop({ maxTotalRequests: 1 });
  count.ask('r0');
  count.ask('r1');
  t.throws(() => count.ask('r2'), { code: 'overloaded' });
});

t.test('a deadline that passes in the queue, or cannot be kept, ends the wait', async (t) => {
  const { ask, clock, lane, shed, loop, session } = queueLoop();
  ask('r0');
  const brief = ask('r1', { deadlineAtMs: clock.monotonicMs() + 300 });
  clock.advance(400);
  t.same(brief.door.calls, ['error:deadline_exceeded']);
  // Each answer takes a second from now on.
  for (let n = 0; n < 12; n += 1) ask(`w${n}`);
  for (let n = 0; n < 5; n += 1) {
    clock.advance(1000);
    lane.sent[n]?.sink.onDone(undefined);
  }
  // A silent node would be taken as a last resort, full or not.
  loop.fleetSink.onTelemetry(session, telemetry([]));
  const soon = clock.monotonicMs() + 500;
  t.throws(() => ask('hopeless', { deadlineAtMs: soon }), { code: 'overloaded', message: /deadline/ });
  const inTime = ask('possible', { deadlineAtMs: clock.monotonicMs() + 60_000 });
  t.same(inTime.door.calls, []);
  const drops = (): number => shed.filter((reason) => reason === 'deadline_unreachable').length;
  const before = drops();
  const late = ask('late', { deadlineAtMs: clock.monotonicMs() + 12_000, priority: 1 });
  // The engine stands still: what seemed possible is not any more.
  clock.advance(9000);
  t.same(late.door.calls, ['error:overloaded']);
  t.equal(late.door.error?.spec.http, 429);
  t.equal(drops(), before + 1);
  t.ok((loop.inspector.queues()[0]?.requests ?? 0) > 0, 'the others wait on');
});

t.test('a wait has an end', async (t) => {
  const { ask, clock, shed } = queueLoop({ maxWaitMs: 5000 });
  ask('r0');
  const waiting = ask('r1');
  clock.advance(5200);
  t.same(waiting.door.calls, ['error:overloaded']);
  t.same(shed, ['wait_timeout']);
});

t.test('a drain sends away those who were told nothing; who has an answer begun is served', async (t) => {
  const { loop, ask, clock, lane } = queueLoop();
  ask('r0');
  const begun = ask('r1');
  clock.advance(1200);
  const fresh = ask('r2');
  const plain = ask('r3', { stream: false });
  loop.drain();
  t.same(fresh.door.calls, ['error:draining']);
  t.ok((fresh.door.error?.retryAfterMs ?? Infinity) <= 1000);
  t.same(plain.door.calls, ['error:draining']);
  t.same(begun.door.calls, []);
  lane.sent[0]?.sink.onDone(undefined);
  lane.sent[1]?.sink.onDone(undefined);
  t.same(begun.door.calls, ['head', 'done']);
  await loop.idle();
});

t.test('without a queue everything is as it was', async (t) => {
  const { ask, shed } = queueLoop({ maxRequests: 0 });
  ask('r0');
  t.throws(() => ask('r1'), { code: 'overloaded', retryAfterMs: 1000, message: /at their limit/ });
  t.same(shed, []);
});
