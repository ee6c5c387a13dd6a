/** Failover in the run loop: answers that go on at another engine or at the same one over another lane. */
import t from 'tap';
import { CodedError, type ErrorCode } from '../../lib/errors.ts';
import type { RequestId } from '../../lib/ids.ts';
import { NO_QUEUE } from '../../scheduler/core/queue/held_requests.ts';
import {
  engineEvent,
  fakeLane,
  fakeSession,
  hello,
  idBytes,
  LOOP_OPTIONS,
  recordingDoor,
  request,
  type SentOrder,
  TENANT,
  testLoop,
} from './fakes.ts';

const TWO = { engines: [engineEvent(), engineEvent({ engine: 'e1' })] };
const fail = (code: ErrorCode): CodedError => new CodedError(code, code);
const chunk = (content: string): Buffer =>
  Buffer.from(
    `data: {"id":"chatcmpl-req-1","created":9,"model":"m","choices":[{"delta":{"content":"${content}"}}]}\n\n`,
  );
const asked = request({ body: Buffer.from('{"messages":[]}') });
const NO_IDS = Buffer.alloc(0);

function begun(change: Parameters<typeof testLoop>[0] = {}, what = asked, creditBytes = 1000) {
  const parts = testLoop({ hello: TWO, ...change });
  const door = recordingDoor();
  const generation = parts.loop.generator.start(what, door, creditBytes);
  const [first] = parts.lane.sent as [SentOrder];
  first.sink.onHead();
  first.sink.onTokens(chunk(''), NO_IDS, 0);
  first.sink.onTokens(chunk('a'), idBytes(1, 2), 0);
  return { ...parts, door, generation, first };
}

t.test('a cut answer goes on at another engine after its last token, and the door sees no seam', async (t) => {
  const { lane, door, first, loop } = begun();
  first.sink.onError(fail('engine_failed'));
  const second = lane.sent[1] as SentOrder;
  t.not(second.order.meta.engine, first.order.meta.engine);
  t.match(second.order, {
    attempt: 1,
    meta: { resume: { id: 'chatcmpl-req-1', created: 9, model: 'm', shownIds: 2 } },
    creditBytes: 1000 - chunk('').length - chunk('a').length,
  });
  t.same([...second.order.resumeIds], [1, 2]);
  second.sink.onHead(2);
  second.sink.onTokens(chunk('b'), idBytes(3), 2, true);
  second.sink.onDone({ completionTokens: 3 });
  t.same(
    door.calls.map((call) => /"content":"(.*)"/.exec(call)?.[1] ?? call),
    ['head', '', 'a', 'b', 'done'],
  );
  t.equal(loop.inspector.reservations.total, 0);
  t.equal(loop.inspector.log.find('req-1')?.outputTokens, 3);
});

t.test('tokens that were parts of a character come again, but their ids are not shown again', async (t) => {
  const parts = testLoop({ hello: TWO });
  const shown: number[][] = [];
  const door = {
    ...recordingDoor(),
    onTokens: (_sse: Buffer, ids: Buffer) => void shown.push([...ids.filter((_, at) => at % 4 === 0)]),
  };
  parts.loop.generator.start(asked, door, 1000);
  const sink = parts.lane.sent[0]?.sink;
  sink?.onHead();
  sink?.onTokens(chunk(''), idBytes(1, 2, 3), 0);
  sink?.onError(fail('engine_died'));
  const second = parts.lane.sent[1]?.sink;
  second?.onHead(1);
  second?.onTokens(chunk(''), idBytes(2), 1);
  second?.onError(fail('engine_died'));
  parts.clock.advance(200);
  const third = parts.lane.sent[2] as SentOrder;
  t.same([...third.order.resumeIds], [1, 2]);
  t.match(third.order.meta.resume, { shownIds: 3 });
  third.sink.onHead(2);
  third.sink.onTokens(chunk('é'), idBytes(3, 4), 2);
  t.same(shown, [[1, 2, 3], [], [4]]);
});

t.test('what cannot go on ends with the error of its engine', async (t) => {
  for (const [body, options] of [
    ['{"n":2}', {}],
    ['{}', { migrate: false }],
  ] as const) {
    const failover = { ...LOOP_OPTIONS.failover, ...options };
    const { door, first, lane } = begun({ options: { failover } }, request({ body: Buffer.from(body) }));
    first.sink.onError(fail('engine_died'));
    t.equal(door.calls.at(-1), 'error:engine_died');
    t.equal(lane.sent.length, 1);
  }
});

t.test('a request that its engines fail of does not walk through the fleet', async (t) => {
  const { loop, lane, clock } = testLoop({ hello: TWO });
  const door = recordingDoor();
  loop.generator.start(asked, door, 1000);
  for (let at = 0; at < 10; at++) {
    lane.sent[at]?.sink.onError(fail('engine_failed'));
    clock.advance(100);
  }
  t.equal(lane.sent.length, 3);
  t.same(door.calls, ['error:engine_failed']);
});

t.test('an answer that gets on outlives any number of engines, and one that kills them at once does not', async (t) => {
  const { lane, door, clock } = begun({}, asked, 1_000_000);
  const die = (attempt: number, index: number, tokens: number): void => {
    const { sink } = lane.sent[attempt] as SentOrder;
    sink.onHead(index);
    sink.onTokens(chunk('x'), idBytes(...Array.from({ length: tokens }, (_, at) => at + 1)), index);
    sink.onError(fail('engine_died'));
    clock.advance(200);
  };
  lane.sent[0]?.sink.onError(fail('engine_died'));
  for (let at = 1; at <= 20; at++) die(at, 2 + (at - 1) * 16, 16);
  t.equal(lane.sent.length, 22, 'far more than 9 attempts');
  for (let at = 21; lane.sent.length > at; at++) die(at, 322 + (at - 21), 1);
  t.equal(lane.sent.length, 20 + 9, 'the last that got on, and 8 that did not');
  t.equal(door.calls.at(-1), 'error:engine_died');
});

t.test('while there is no slot for it a recovery waits; with none in time it fails', async (t) => {
  const failover = { ...LOOP_OPTIONS.failover, burst: 1, perSecond: 1, maxWaitMs: 1500 };
  const { loop, lane, clock } = testLoop({ hello: TWO, options: { failover } });
  const doors = ['a', 'b', 'c'].map((id) => {
    const door = recordingDoor();
    loop.generator.start(request({ id: id as RequestId }), door, 1000);
    return door;
  });
  for (const sent of lane.sent.slice(0, 3)) sent.sink.onError(fail('engine_died'));
  t.equal(lane.sent.length, 4);
  t.same(doors[2]?.calls, ['error:engine_died'], 'the third would wait too long');
  clock.advance(999);
  t.equal(lane.sent.length, 4);
  clock.advance(1);
  t.equal(lane.sent.length, 5);
});

t.test('a request that waits for a slot can be cancelled', async (t) => {
  const failover = { ...LOOP_OPTIONS.failover, burst: 1, perSecond: 1 };
  const { loop, lane, clock } = testLoop({ hello: TWO, options: { failover } });
  loop.generator.start(request({ id: 'a' as RequestId }), recordingDoor(), 1);
  const waits = loop.generator.start(request({ id: 'b' as RequestId }), recordingDoor(), 1);
  for (const sent of lane.sent.slice(0, 2)) sent.sink.onError(fail('engine_died'));
  waits.cancel('gone');
  clock.advance(5000);
  t.equal(lane.sent.length, 3);
  t.equal(loop.inspector.reservations.total, 1);
});

t.test('a client that owes bytes of the first attempt is not lent them by the second', async (t) => {
  const { lane, generation, first } = begun({}, asked, 10);
  first.sink.onError(fail('engine_died'));
  const second = lane.sent[1] as SentOrder;
  t.equal(second.order.creditBytes, 0);
  const owed = chunk('').length + chunk('a').length - 10;
  generation.grant(owed - 1);
  t.equal(second.granted, 0);
  generation.grant(5);
  t.equal(second.granted, 4);
});

t.test('a plain answer begins anew where its door has let nothing out', async (t) => {
  for (const restarts of [true, false]) {
    const { loop, lane } = testLoop({ hello: TWO });
    const door = { ...recordingDoor(), onRestart: () => restarts };
    loop.generator.start(request({ stream: false }), door, 1000);
    lane.sent[0]?.sink.onBody(Buffer.from('half'), false);
    lane.sent[0]?.sink.onError(fail('engine_died'));
    if (!restarts) {
      t.equal(door.calls.at(-1), 'error:engine_died');
      continue;
    }
    t.equal(lane.sent[1]?.order.meta.resume, undefined);
    lane.sent[1]?.sink.onBody(Buffer.from('whole'), true);
    lane.sent[1]?.sink.onDone(undefined);
    t.equal(door.calls.at(-1), 'done');
  }
});

t.test('a lane that comes back in time is gone on with from where the answer is', async (t) => {
  const { loop, lane, door, first, figures } = begun();
  lane.cut();
  loop.fleetSink.onLaneLost('s1', lane);
  t.equal(loop.inspector.reservations.total, 1, 'the place is still taken');
  const other = fakeLane(lane.nodeName, 1);
  loop.fleetSink.onLaneOpen('s1', other);
  t.equal(other.attached.length, 0, 'that of another worker is of no use');
  const back = fakeLane();
  loop.fleetSink.onLaneOpen('s1', back);
  t.match(back.attached, [
    { order: { id: 'req-1', attempt: 0, incarnation: 1, index: 2, hadBytes: chunk('').length + chunk('a').length } },
  ]);
  const sink = back.attached[0]?.sink;
  sink?.onHead(0);
  sink?.onTokens(chunk('b'), idBytes(3), 2);
  sink?.onDone(undefined);
  t.equal(door.calls.at(-1), 'done');
  t.same(
    figures.drops.filter((where) => where.startsWith('relay_')),
    [],
  );
  t.equal(lane.sent.length, 1);
  t.equal(first.cancelled, false);
});

t.test('an agent that does not know the request any more, and a lane that stays away, send it elsewhere', async (t) => {
  const forgotten = begun();
  forgotten.lane.cut();
  forgotten.loop.fleetSink.onLaneLost('s1', forgotten.lane);
  const back = fakeLane();
  forgotten.loop.fleetSink.onLaneOpen('s1', back);
  back.attached[0]?.sink.onError(fail('not_found'));
  t.match(back.sent, [{ order: { attempt: 1 } }]);
  const away = begun();
  const other = fakeLane(away.lane.nodeName, 1);
  away.loop.fleetSink.onLaneOpen('s1', other);
  away.lane.cut();
  away.loop.fleetSink.onLaneLost('s1', away.lane);
  away.clock.advance(LOOP_OPTIONS.failover.reattachWaitMs);
  t.match(other.sent, [{ order: { attempt: 1 } }]);
  const late = fakeLane();
  away.loop.fleetSink.onLaneOpen('s1', late);
  t.match(late.attached, [{ order: { id: 'req-1', attempt: 0 }, cancelled: true }], 'the first attempt is ended');
  t.equal(away.loop.inspector.reservations.total, 1);
});

t.test('a client that leaves while its lane is away leaves no work behind', async (t) => {
  const { loop, lane, generation } = begun();
  lane.cut();
  loop.fleetSink.onLaneLost('s1', lane);
  generation.cancel('gone');
  t.equal(loop.inspector.reservations.total, 0);
  const back = fakeLane();
  loop.fleetSink.onLaneOpen('s1', back);
  t.match(back.attached, [{ cancelled: true }]);
});

t.test('without a wait for lanes a request goes elsewhere at once', async (t) => {
  const failover = { ...LOOP_OPTIONS.failover, reattachWaitMs: 0 };
  const { lane, loop } = begun({ options: { failover } });
  const other = fakeLane(lane.nodeName, 1);
  loop.fleetSink.onLaneOpen('s1', other);
  loop.fleetSink.onLaneLost('s1', lane);
  lane.cut();
  t.equal(other.sent.length, 1);
});

t.test(
  'a request that runs at an agent without a scheduler is taken over by the one that its client finds',
  async (t) => {
    const { loop, lane } = testLoop({ hello: TWO });
    const repeat = { identity: 'me', body: 'hash', after: 0 };
    const told = {
      id: 'req-1',
      engine: 'e1',
      incarnation: 1,
      attempt: 2,
      eventsBefore: 0,
      identity: 'me',
      body: 'hash',
    };
    loop.fleetSink.onDetached?.(lane, [told]);
    t.throws(() => loop.generator.start(request({ repeat: { ...repeat, body: 'other' } }), recordingDoor(), 1), {
      code: 'idempotency_conflict',
    });
    const door = recordingDoor();
    loop.generator.start(request({ repeat, body: Buffer.from('{}') }), door, 10_000);
    t.equal(lane.sent.length, 0);
    t.match(lane.attached, [{ order: { id: 'req-1', attempt: 2, incarnation: 1, index: 0, hadBytes: 0 } }]);
    t.equal(loop.inspector.reservations.total, 1);
    const sink = lane.attached[0]?.sink;
    sink?.onHead(0);
    sink?.onTokens(chunk('a'), idBytes(1), 0);
    await Promise.resolve();
    t.equal(door.calls.length, 2);
    sink?.onError(fail('engine_died'));
    t.match(lane.sent, [{ order: { attempt: 3, meta: { repeat: { identity: 'me' }, resume: { events: 1 } } } }]);
    t.ok(loop.generator.cancel('req-1' as RequestId, TENANT));
  },
);

t.test('without an engine it waits before all that have not run, and the first engine gets it at once', async (t) => {
  const queue = { ...NO_QUEUE, maxRequests: 10, maxBytes: 10_000, maxTotalRequests: 10, maxTotalBytes: 10_000 };
  const one = { engines: [engineEvent()] };
  const options = { queue: { ...queue, maxWaitMs: 60_000, silentMs: 60_000, noticeMs: 60_000 } };
  const { loop, lane, session, door, first } = begun({ hello: one, options });
  loop.fleetSink.onEngineEvent(session, engineEvent({ state: 'ENGINE_STATE_BACKOFF', reason: 'crashed' }));
  first.sink.onError(fail('engine_died'));
  const later = recordingDoor();
  loop.generator.start(request({ id: 'later' as RequestId }), later, 1000);
  loop.drain();
  t.same([lane.sent.length, door.calls.at(-1), later.calls], [1, door.calls.at(-1), ['error:draining']]);
  t.notMatch(door.calls.at(-1), /error/, 'an answer that has begun waits on while the scheduler drains');
  loop.fleetSink.onEngineEvent(session, engineEvent({ incarnation: 2 }));
  const second = lane.sent[1] as SentOrder;
  t.match(second.order, { attempt: 1, incarnation: 2 }, 'in the same turn, without a look at the clock');
  second.sink.onHead(2);
  second.sink.onDone({ completionTokens: 2 });
  t.equal(door.calls.at(-1), 'done');
  t.equal(loop.inspector.reservations.total, 0);
});

t.test('a lane that comes back while its requests wait for an engine takes each of them on once', async (t) => {
  const queue = { ...NO_QUEUE, maxRequests: 10, maxBytes: 10_000, maxTotalRequests: 10, maxTotalBytes: 10_000 };
  const options = {
    queue: { ...queue, maxWaitMs: 60_000, silentMs: 60_000, noticeMs: 60_000 },
    failover: { ...LOOP_OPTIONS.failover, burst: 1, perSecond: 1 },
  };
  const restart = (parts: ReturnType<typeof begun>) => {
    const { loop, lane, session, clock } = parts;
    lane.cut();
    loop.fleetSink.onLaneLost('s1', lane);
    loop.fleetSink.onSessionLost(session);
    clock.advance(LOOP_OPTIONS.failover.reattachWaitMs);
    t.equal(loop.inspector.reservations.total, 0, 'it waits for an engine');
    loop.fleetSink.onHello(fakeSession('s2'), hello({ sessionId: 's2' }));
    const back = fakeLane();
    loop.fleetSink.onLaneOpen('s2', back);
    return back;
  };
  const one = { hello: { engines: [engineEvent()] }, options };
  const kept = begun(one);
  const same = restart(kept);
  t.same([same.attached.length, same.sent.length], [1, 0], 'the queue does not start it a second time');
  t.equal(kept.loop.inspector.reservations.total, 1, 'its place is taken again');
  kept.clock.advance(5000);
  const sink = same.attached[0]?.sink;
  sink?.onHead(0);
  sink?.onTokens(chunk('b'), idBytes(3), 2);
  sink?.onDone(undefined);
  t.equal(kept.door.calls.at(-1), 'done');
  t.same([same.sent.length, kept.loop.inspector.reservations.total], [0, 0]);

  const forgotten = begun(one);
  const fresh = restart(forgotten);
  fresh.attached[0]?.sink.onError(fail('not_found'));
  t.match(fresh.sent, [{ order: { attempt: 1 } }], 'at once, on the slot that it has');
  forgotten.clock.advance(5000);
  t.same([fresh.sent.length, forgotten.loop.inspector.reservations.total], [1, 1]);
});

t.test('one that finds no engine in its time ends with the error of the failure', async (t) => {
  const failover = { ...LOOP_OPTIONS.failover, maxWaitMs: 2000 };
  const { loop, session, door, first, clock, figures } = begun({
    hello: { engines: [engineEvent()] },
    options: { failover },
  });
  const recoveries: string[] = [];
  figures.recovered = (how, why) => void recoveries.push(`${how} ${why}`);
  loop.fleetSink.onEngineEvent(session, engineEvent({ state: 'ENGINE_STATE_BACKOFF', reason: 'crashed' }));
  first.sink.onError(fail('engine_died'));
  clock.advance(1999);
  t.notMatch(door.calls.at(-1), /error/);
  clock.advance(1);
  t.equal(door.calls.at(-1), 'error:engine_died');
  t.same(recoveries, ['gave_up no_engine']);
  t.same(loop.inspector.queues(), [{ model: 'm', requests: 0, bytes: 0, tokens: 0 }]);
});

t.test('an engine that takes minutes to load is waited for, and one that has failed for good is not', async (t) => {
  const options = {
    requestTimeoutMs: 600_000,
    failover: { ...LOOP_OPTIONS.failover, maxWaitMs: 300_000 },
  };
  const dead = (state: 'BACKOFF' | 'FAILED') => {
    const parts = begun({ hello: { engines: [engineEvent()] }, options });
    parts.loop.fleetSink.onEngineEvent(
      parts.session,
      engineEvent({ state: `ENGINE_STATE_${state}`, reason: 'crashed' }),
    );
    parts.first.sink.onError(fail('engine_died'));
    return parts;
  };
  const loading = dead('BACKOFF');
  loading.clock.advance(200_000);
  loading.loop.fleetSink.onEngineEvent(loading.session, engineEvent({ incarnation: 2 }));
  t.match(loading.lane.sent[1], { order: { attempt: 1, incarnation: 2 } });
  const failed = dead('FAILED');
  failed.clock.advance(29_999);
  t.notMatch(failed.door.calls.at(-1), /error/, 'a person may start it anew');
  failed.clock.advance(1);
  t.equal(failed.door.calls.at(-1), 'error:engine_died');
});
