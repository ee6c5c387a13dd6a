/** Requests through the run loop: what a door sees, whatever lanes, engines and agents do. */
import t from 'tap';
import { CodedError, type ErrorCode } from '../../lib/errors.ts';
import type { RequestId, TenantId } from '../../lib/ids.ts';
import {
  engineEvent,
  engineIdOf,
  fakeLane,
  fakeSession,
  hello,
  idBytes,
  LOOP_OPTIONS,
  NODE,
  recordingDoor,
  request,
  telemetry,
  testLoop,
  TENANT,
} from './fakes.ts';

const sse = (text: string): Buffer => Buffer.from(text);
const fail = (code: ErrorCode): CodedError => new CodedError(code, 'because');
const TWO_ENGINES = { engines: [engineEvent(), engineEvent({ engine: 'e1' })] };

t.test('an answer reaches the door in order, and its place and figures are settled', async (t) => {
  const { loop, lane, figures, clock } = testLoop();
  const door = recordingDoor();
  const generation = loop.generator.start(request({ traceparent: '00-a-b-01' }), door, 4096);
  t.equal(generation.id, 'req-1');
  const [sent] = lane.sent;
  t.match(sent?.order, {
    attempt: 0,
    incarnation: 1,
    creditBytes: 4096,
    meta: {
      requestId: 'req-1',
      engine: 'e0',
      path: '/v1/chat/completions',
      stream: true,
      deadlineMs: 60_000,
      traceparent: '00-a-b-01',
    },
  });
  t.equal(loop.inspector.runningRequests, 1);
  t.equal(figures.active, 1);
  generation.grant(100);
  t.equal(sent?.granted, 100);
  sent?.sink.onHead();
  clock.advance(20);
  sent?.sink.onTokens(sse('a'), idBytes(1, 2), 0);
  clock.advance(30);
  sent?.sink.onTokens(sse('b'), idBytes(3), 2);
  sent?.sink.onTokens(sse('finish'), idBytes(), 3);
  sent?.sink.onDone({ promptTokens: 7, completionTokens: 3 });
  t.same(door.calls, ['head', 'tokens:a', 'tokens:b', 'tokens:finish', 'done']);
  t.same(door.usage, { promptTokens: 7, completionTokens: 3 });
  t.equal(loop.inspector.reservations.total, 0);
  t.equal(loop.inspector.runningRequests, 0);
  t.match(figures.ends, [{ outcome: 'ok', startedAtMs: 1000, firstTokenAtMs: 1020, endedAtMs: 1050, outputTokens: 3 }]);
  t.match(loop.inspector.log.find('req-1'), {
    outcome: 'finished',
    errorCode: '',
    outputTokens: 3,
    firstTokenAtMs: 1_700_000_001_020,
    endedAtMs: 1_700_000_001_050,
  });
  t.equal(clock.timers, 0, 'the deadline timer is gone');
});

t.test('a plain answer is passed on, and tokens are counted where there is no usage', async (t) => {
  const { loop, lane, figures } = testLoop();
  const plain = recordingDoor();
  loop.generator.start(request({ stream: false, endpoint: 'completions' }), plain, 10);
  lane.sent[0]?.sink.onBody(sse('{'), false);
  lane.sent[0]?.sink.onBody(sse('}'), true);
  lane.sent[0]?.sink.onDone(undefined);
  t.same(plain.calls, ['head', 'body:{', 'body:}:last', 'done'], 'the head comes first in any case');
  const streamed = recordingDoor();
  loop.generator.start(request(), streamed, 10);
  lane.sent[1]?.sink.onTokens(sse('x'), idBytes(5, 6), 0);
  lane.sent[1]?.sink.onDone(undefined);
  t.same(
    figures.ends.map((end) => end.outputTokens),
    [0, 2],
  );
  const empty = recordingDoor();
  loop.generator.start(request(), empty, 10);
  lane.sent[2]?.sink.onDone(undefined);
  t.same(empty.calls, ['head', 'done']);
});

t.test('a model that is declared is away before its agents come, and not unknown', async (t) => {
  const { loop } = testLoop({ deps: { isDeclared: (model) => model === 'declared' } });
  const start = (model: string) => () => loop.generator.start(request({ model }), recordingDoor(), 1);
  t.throws(start('declared'), { code: 'no_engine', retryAfterMs: 2000 });
  t.throws(start('nobody'), { code: 'model_not_found' });
});

t.test('nothing is started when it cannot be: each refusal has its code and is counted', async (t) => {
  const { loop, lane, figures, session } = testLoop({
    options: { maxRunningRequests: 2 },
    deps: { configuredModels: ['planned'], desiredFor: () => undefined },
  });
  const start = (change: Parameters<typeof request>[0]) => () =>
    loop.generator.start(request(change), recordingDoor(), 1);
  t.throws(start({ model: 'nobody' }), { code: 'model_not_found', param: 'model' });
  t.throws(start({ model: 'planned' }), { code: 'no_engine', retryAfterMs: 2000 });
  t.throws(start({ endpoint: 'embeddings' }), { code: 'not_supported' });
  start({})();
  t.throws(start({}), { code: 'already_exists' });
  start({ tenant: 'other' as TenantId })();
  t.throws(start({ id: 'r3' as RequestId }), { code: 'overloaded', retryAfterMs: 1000 });
  lane.sent[0]?.sink.onDone(undefined);
  start({})();
  loop.fleetSink.onEngineEvent(session, engineEvent({ state: 'ENGINE_STATE_DRAINING' }));
  lane.sent[1]?.sink.onDone(undefined);
  t.throws(start({ id: 'r4' as RequestId }), { code: 'no_engine' });
  t.match(loop.inspector.log.find('r4'), {
    outcome: 'failed',
    errorCode: 'no_engine',
    decisions: [{ verdicts: [{ kind: 'refused', by: 'draining' }] }],
  });
  loop.drain();
  t.throws(start({ id: 'r5' as RequestId }), { code: 'draining' });
  t.same(figures.refusals, [
    'nobody grpc model_not_found',
    'planned grpc no_engine',
    'm grpc not_supported',
    'm grpc already_exists',
    'm grpc overloaded',
    'm grpc no_engine',
    'm grpc draining',
  ]);
  t.equal(loop.inspector.reservations.total, 1);
});

t.test('a lane that takes nothing gives the place back', async (t) => {
  const { loop, lane, figures } = testLoop();
  lane.refuse = fail('overloaded');
  t.throws(() => loop.generator.start(request(), recordingDoor(), 1), { code: 'overloaded' });
  lane.refuse = new Error('a bug') as CodedError;
  t.throws(() => loop.generator.start(request(), recordingDoor(), 1), { message: 'a bug' });
  t.equal(loop.inspector.reservations.total, 0);
  t.equal(figures.refusals.at(-1), 'm grpc internal');
});

const WAITING = { maxAttempts: 2 };
for (const code of [
  'engine_unreachable',
  'engine_overloaded',
  'engine_died',
  'stream_lost',
  'engine_failed',
] as const) {
  t.test(`${code} before the head is tried again on another engine`, async (t) => {
    const failover = { ...LOOP_OPTIONS.failover, ...WAITING };
    const { loop, lane } = testLoop({ hello: TWO_ENGINES, options: { failover } });
    const door = recordingDoor();
    loop.generator.start(request(), door, 1);
    lane.sent[0]?.sink.onError(fail(code));
    t.same(door.calls, []);
    t.equal(lane.sent.length, 2);
    t.not(lane.sent[1]?.order.meta.engine, lane.sent[0]?.order.meta.engine);
    t.equal(lane.sent[1]?.order.attempt, 1);
    t.equal(loop.inspector.reservations.total, 1);
    lane.sent[1]?.sink.onError(fail(code));
    t.same(door.calls, [`error:${code}`], 'the attempts are bounded');
    t.equal(loop.inspector.reservations.total, 0);
    const verdicts = loop.inspector.log.find('req-1')?.decisions.flatMap(({ verdicts }) => verdicts) ?? [];
    t.equal(verdicts.length, 4);
    t.equal(verdicts.filter((verdict) => verdict.kind === 'picked').length, 2);
    t.match(
      verdicts.filter((verdict) => verdict.kind === 'refused'),
      [{ by: 'tried' }],
    );
  });
}

t.test('a head without a word of the answer is no hindrance: the door gets one head', async (t) => {
  const { loop, lane } = testLoop({ hello: TWO_ENGINES });
  const door = recordingDoor();
  loop.generator.start(request(), door, 1);
  lane.sent[0]?.sink.onHead();
  lane.sent[0]?.sink.onError(fail('engine_died'));
  lane.sent[1]?.sink.onHead();
  lane.sent[1]?.sink.onDone(undefined);
  t.same(door.calls, ['head', 'done']);
  t.equal(lane.sent[1]?.order.meta.resume, undefined, 'it begins anew');
});

t.test('other failures, and failures with no other engine, go to the client as they are', async (t) => {
  const { loop, lane, clock, session } = testLoop();
  const rejected = recordingDoor();
  loop.generator.start(request(), rejected, 1);
  lane.sent[0]?.sink.onError(fail('engine_rejected'));
  t.same(rejected.calls, ['error:engine_rejected']);
  const full = recordingDoor();
  loop.generator.start(request(), full, 1);
  lane.sent[1]?.sink.onError(fail('engine_overloaded'));
  t.same(full.calls, ['error:engine_overloaded'], 'not no_engine, and nobody waits for an engine that is full');
  const alone = recordingDoor();
  loop.generator.start(request(), alone, 1);
  loop.fleetSink.onEngineEvent(session, engineEvent({ state: 'ENGINE_STATE_BACKOFF' }));
  lane.sent[2]?.sink.onError(fail('engine_died'));
  clock.advance(LOOP_OPTIONS.failover.maxWaitMs - 1000);
  t.same(alone.calls, [], 'it waits for the engine');
  clock.advance(2500);
  t.same(alone.calls, ['error:engine_died'], 'for as long as it may');
  t.equal(loop.inspector.reservations.total, 0);
});

t.test('the deadline holds for all tries together', async (t) => {
  const { loop, lane, clock } = testLoop({ hello: TWO_ENGINES });
  const door = recordingDoor();
  loop.generator.start(request({ deadlineAtMs: 1100 }), door, 1);
  clock.advance(60);
  lane.sent[0]?.sink.onError(fail('engine_died'));
  t.equal(lane.sent[1]?.order.meta.deadlineMs, 40);
  clock.advance(40);
  t.same(door.calls, ['error:deadline_exceeded']);
  t.ok(lane.sent[1]?.cancelled, 'the engine is told');
  t.match(loop.inspector.log.find('req-1'), { outcome: 'failed', errorCode: 'deadline_exceeded' });
  const late = recordingDoor();
  loop.generator.start(request({ deadlineAtMs: 0 }), late, 1);
  lane.sent[2]?.sink.onError(fail('engine_died'));
  t.same(late.calls, ['error:engine_died'], 'no try after the deadline');
});

t.test('a cancelled request is silent, tells the engine once and gives its place back', async (t) => {
  const { loop, lane, figures } = testLoop();
  const door = recordingDoor();
  const generation = loop.generator.start(request(), door, 1);
  lane.sent[0]?.sink.onHead();
  generation.cancel('gone');
  generation.cancel('gone');
  generation.grant(5);
  lane.sent[0]?.sink.onHead();
  lane.sent[0]?.sink.onTokens(sse('late'), idBytes(1), 0);
  lane.sent[0]?.sink.onBody(sse('late'), true);
  lane.sent[0]?.sink.onDone(undefined);
  lane.sent[0]?.sink.onError(fail('engine_died'));
  t.same(door.calls, ['head']);
  t.match(lane.sent[0], { cancelled: true, granted: 0 });
  t.equal(loop.inspector.reservations.total, 0);
  t.same(
    figures.drops,
    Array.from({ length: 5 }, () => 'relay_late_frame'),
  );
  t.equal(loop.inspector.log.find('req-1')?.outcome, 'cancelled');
});

t.test('cancel by id ends requests of the tenant only, with an error at the door', async (t) => {
  const { loop } = testLoop();
  const door = recordingDoor();
  loop.generator.start(request(), door, 1);
  t.notOk(loop.generator.cancel('req-1' as RequestId, 'other' as TenantId));
  t.notOk(loop.generator.cancel('req-2' as RequestId, TENANT));
  t.ok(loop.generator.cancel('req-1' as RequestId, TENANT));
  t.same(door.calls, ['error:cancelled']);
});

t.test('tokens that come twice are passed over; a hole ends the request', async (t) => {
  const { loop, lane, figures, clock } = testLoop();
  const door = recordingDoor();
  loop.generator.start(request(), door, 1);
  const sink = lane.sent[0]?.sink;
  sink?.onHead();
  sink?.onHead();
  clock.advance(5);
  sink?.onTokens(sse('a'), idBytes(1, 2), 0);
  sink?.onTokens(sse('a'), idBytes(1, 2), 0);
  sink?.onTokens(sse('b'), idBytes(3), 2);
  sink?.onTokens(sse('d'), idBytes(5), 4);
  t.same(door.calls, ['head', 'tokens:a', 'tokens:b', 'error:stream_lost']);
  t.same(figures.drops, ['relay_second_head', 'relay_duplicate_tokens']);
  t.match(door.error?.message, /Tokens 3 to 3/);
  t.ok(lane.sent[0]?.cancelled);
});

t.test('requests of a dead engine move once its last frames had time to come', async (t) => {
  const { loop, lane, clock, session } = testLoop({ hello: TWO_ENGINES });
  const doors = [recordingDoor(), recordingDoor(), recordingDoor()];
  doors.forEach((door, i) => loop.generator.start(request({ id: `r${i}` as RequestId }), door, 1));
  for (const sent of lane.sent) sent.sink.onHead();
  const onFirst = lane.sent.map((sent) => sent.order.meta.engine === 'e0');
  loop.fleetSink.onEngineEvent(session, engineEvent({ state: 'ENGINE_STATE_BACKOFF' }));
  clock.advance(499);
  t.ok(doors.every((door) => door.calls.length === 1));
  clock.advance(1);
  t.same(
    lane.sent.slice(0, 3).map((sent) => sent.cancelled),
    onFirst,
    'the agent is told to forget them',
  );
  t.same(
    lane.sent.slice(3).map((sent) => [sent.order.meta.engine, sent.order.attempt]),
    onFirst.filter(Boolean).map(() => ['e1', 1]),
    'and they go to the other engine',
  );
});

t.test('a new life of the agent takes the requests of the old one with it; they go elsewhere', async (t) => {
  const { loop, lane, session, figures, clock } = testLoop({
    deps: { desiredFor: () => ({ generation: 3, engines: [] }) },
  });
  t.same(session.desired, [{ generation: 3, engines: [] }]);
  const begun = recordingDoor();
  loop.generator.start(request(), begun, 1);
  lane.sent[0]?.sink.onHead();
  const second = fakeSession('s2');
  loop.fleetSink.onHello(second, hello({ sessionId: 's2' }));
  t.match(session.closedWith, { code: 'already_exists' });
  t.match(lane.closedWith, { code: 'engine_died' });
  t.same(begun.calls, ['head']);
  t.equal(loop.inspector.directory.lanesOf(NODE), 0);
  const newLane = fakeLane();
  loop.fleetSink.onLaneOpen('s2', newLane);
  clock.advance(1500);
  t.match(newLane.sent[0]?.order, { attempt: 1, meta: { requestId: 'req-1' } });
  loop.fleetSink.onSessionLost(session);
  t.equal(
    loop.inspector.directory.state.nodes.get(NODE)?.connected,
    true,
    'the end of the old stream is nobody’s loss',
  );
  t.same(figures.nodeCounts, [1, 0]);
  t.throws(() => loop.fleetSink.onLaneOpen('s1', fakeLane()), { code: 'not_found' });
});

t.test('a session that comes back keeps what runs', async (t) => {
  const { loop, lane, session, figures } = testLoop();
  const door = recordingDoor();
  loop.generator.start(request(), door, 1);
  loop.fleetSink.onSessionLost(session);
  t.same(figures.nodeCounts, [0, 1]);
  t.same(loop.fleetView.ready(), { ok: false, reason: 'no engine is ready' });
  loop.fleetSink.onHello(fakeSession(), hello());
  t.same(loop.fleetView.ready(), { ok: true, reason: 'an engine is ready' });
  lane.sent[0]?.sink.onDone(undefined);
  t.same(door.calls, ['head', 'done']);
  loop.fleetSink.onLaneLost('s1', lane);
  t.same(loop.fleetView.ready(), { ok: false, reason: 'no engine is ready' });
});

t.test('readings, acknowledgements and goodbyes are taken in', async (t) => {
  const { loop, session, figures } = testLoop();
  loop.fleetSink.onTelemetry(session, telemetry([{ relayedRequests: 4 }]));
  loop.fleetSink.onDesiredStateAck(session, 9, [{ engine: 'e0', code: 'invalid_spec', message: '', param: '' }]);
  loop.fleetSink.onGoodbye(session, 'bye');
  t.match(loop.inspector.directory.state.nodes.get(NODE), {
    observedGeneration: 9,
    goodbye: 'bye',
    rejections: [{ engine: 'e0' }],
  });
  t.equal(loop.inspector.router.engines.find(engineIdOf('e0'))?.otherRequests, 4);
  loop.fleetSink.onTelemetry(fakeSession('never-said-hello'), telemetry([]));
  t.same(figures.drops, ['fleet_old_stream']);
});

t.test('a draining scheduler is not ready, finishes what runs, and is idle then', async (t) => {
  const { loop, lane } = testLoop();
  const doors = [recordingDoor(), recordingDoor()];
  doors.forEach((door, i) => loop.generator.start(request({ id: `r${i}` as RequestId }), door, 1));
  loop.drain();
  t.same(loop.fleetView.ready(), { ok: false, reason: 'draining' });
  t.ok(loop.inspector.draining);
  let idle = false;
  const waiting = loop.idle().then(() => {
    idle = true;
  });
  lane.sent[0]?.sink.onDone(undefined);
  await Promise.resolve();
  t.notOk(idle);
  loop.abortAll(fail('draining'));
  await waiting;
  t.same(
    doors.map((door) => door.calls),
    [['head', 'done'], ['error:draining']],
  );
  await loop.idle();
});

t.test('models are shown with their engines; those that nothing serves yet are not', async (t) => {
  const { loop } = testLoop({ deps: { configuredModels: ['planned'] } });
  loop.generator.start(request(), recordingDoor(), 1);
  t.match(loop.fleetView.models(TENANT), [{ id: 'm', readyEngines: 1, engines: 1, runningRequests: 1 }]);
  t.equal(loop.inspector.reservations.count(engineIdOf('e0'), 1), 1);
});
