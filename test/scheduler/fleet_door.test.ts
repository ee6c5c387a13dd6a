/** The agents' door over real sockets and mutual TLS: who gets in, what goes through, what is refused. */
import { status } from '@grpc/grpc-js';
import t from 'tap';
import type { NodeId } from '../../lib/ids.ts';
import { FRAME, FrameBatch, encodeJson } from '../../proto/codec.ts';
import { fromServiceError } from '../../proto/status.ts';
import { eventually } from '../support/child.ts';
import {
  createFakeAgent,
  endsSoon,
  type FakeLane,
  type FakeRequest,
  readyEngine,
  testAuthority,
} from '../support/fake_agent.ts';
import { recordingDoor, request } from './fakes.ts';
import { type FleetFixture, openFleetDoor } from './fleet_fixture.ts';

const NODE = 'gpu-1';

async function connected(fixture: FleetFixture, onSubmit?: (each: FakeRequest) => void) {
  const agent = await fixture.agent(NODE);
  const session = agent.openSession({ engines: [readyEngine('e0', 'm')] });
  const lane = agent.openLane(onSubmit === undefined ? {} : { onSubmit });
  await eventually('an engine is ready', () => fixture.loop.fleetView.ready().ok);
  return { agent, session, lane };
}

async function refusal(stream: { readonly ended: FakeLane['ended'] }) {
  const error = await endsSoon(stream);
  return { status: error?.code, code: error === undefined ? undefined : fromServiceError(error).error.code };
}

t.test('a session is welcomed, ordered and acknowledged, and a request runs over a lane', async (t) => {
  const fixture = await openFleetDoor(t, {
    desiredFor: (node) => ({ generation: 5, engines: [{ name: `for-${node}`, model: 'm' }] }),
  });
  const { session, lane } = await connected(fixture, (each) => {
    each.head();
    each.tokens('hello', [1, 2], 0);
    each.done({ usage: { promptTokens: 3, completionTokens: 2 } });
  });
  await eventually('welcome and order', () => session.received.length === 2);
  t.match(session.received[0], {
    term: 12,
    welcome: { schedulerId: 'test', telemetryPeriodMs: 500, protocolVersion: 1 },
  });
  t.match(session.received[1], { term: 12, desiredState: { generation: 5, engines: [{ name: 'for-gpu-1' }] } });
  session.event(readyEngine('e1', 'm'));
  await eventually('the event is acknowledged', () => session.received.length === 3);
  t.match(session.received[2], { eventAck: { seq: 2 } });
  session.send({ telemetry: { snapshot: true, engines: [{ engine: 'e0', incarnation: 1, relayedRequests: 0 }] } });
  session.send({ desiredStateAck: { generation: 5, rejections: [{ engine: 'for-gpu-1', code: 'invalid_spec' }] } });
  session.send({ goodbye: { reason: 'upgrade' } });
  await eventually(
    'all is taken in',
    () => fixture.loop.inspector.directory.state.nodes.get(NODE as NodeId)?.goodbye === 'upgrade',
  );
  t.match(fixture.loop.inspector.directory.state.nodes.get(NODE as NodeId), {
    observedGeneration: 5,
    telemetry: { snapshot: true, engines: [{ relayedRequests: 0 }] },
  });

  const door = recordingDoor();
  fixture.loop.generator.start(request({ body: Buffer.from('{"x":1}') }), door, 2 ** 40);
  await eventually('the answer', () => door.calls.includes('done'));
  t.same(door.calls, ['head', 'tokens:data: {"text":"hello"}\n\n', 'done']);
  t.match(lane.requests[0], { body: '{"x":1}', credit: 0xffff_ffff, meta: { requestId: 'req-1' } });
  t.equal(fixture.loop.inspector.reservations.total, 0);
});

t.test('requests, grants and cancellations of one turn leave in one message; late frames change nothing', async (t) => {
  const fixture = await openFleetDoor(t);
  const { lane } = await connected(fixture);
  const before = lane.messages;
  const doors = Array.from({ length: 20 }, () => recordingDoor());
  const runs = doors.map((door, i) => fixture.loop.generator.start(request({ id: `r${i}` as never }), door, 100));
  await eventually('all submitted', () => lane.requests.length === 20);
  t.equal(lane.messages, before + 1);
  runs[0]?.grant(50);
  runs[0]?.grant(7);
  runs[1]?.cancel('gone');
  await eventually('credit and cancel', () => lane.cancelled.length === 1 && lane.credited.size === 1);
  t.equal(lane.credited.get(lane.requests[0]?.stream as number), 57);
  t.equal(lane.messages, before + 2);
  lane.requests[1]?.head();
  lane.requests[1]?.tokens('late', [1], 0);
  lane.requests[1]?.done();
  lane.frame({ kind: FRAME.HEAD, stream: 999 });
  lane.frame({ kind: FRAME.HEAD, stream: lane.requests[2]?.stream as number, incarnation: 9 });
  lane.requests[3]?.bodyPart('part', true);
  t.match(await refusal(lane), { code: 'protocol_mismatch' }, 'a body before its head is no protocol');
  t.same(doors[1]?.calls, []);
  t.ok(doors[2]?.calls.includes('error:stream_lost'));
  const text = await fixture.metrics.render();
  t.match(text, /dropped_total\{where="lane_late_frame"\} 4/);
  t.match(text, /dropped_total\{where="lane_unknown_stream"\} 1/);
});

t.test(
  'a failure of the agent keeps its code, its param and its hint; an unknown code becomes engine_failed',
  async (t) => {
    const fixture = await openFleetDoor(t);
    const { lane } = await connected(fixture);
    const doors = [recordingDoor(), recordingDoor()];
    doors.forEach((door, i) => fixture.loop.generator.start(request({ id: `r${i}` as never }), door, 1));
    await eventually('submitted', () => lane.requests.length === 2);
    lane.requests[0]?.failed({
      code: 'context_length_exceeded',
      message: 'too long',
      param: 'messages',
      retryAfterMs: 5,
    });
    let answered = 1;
    await eventually('both ended', () => {
      // A failing engine is tried again; each attempt fails alike.
      for (; answered < lane.requests.length; answered++)
        lane.requests[answered]?.failed({ code: 'of_another_release', message: 'what' });
      return doors.every((door) => door.calls.length === 1);
    });
    t.match(doors[0]?.error, {
      code: 'context_length_exceeded',
      param: 'messages',
      retryAfterMs: 5,
      message: 'too long',
    });
    t.match(doors[1]?.error, { code: 'engine_failed', message: 'what' });
  },
);

t.test('a certificate of a stranger does not get past the handshake, and none does not either', async (t) => {
  const fixture = await openFleetDoor(t);
  const stranger = await fixture.agent(NODE, { authority: await testAuthority() });
  t.match(await refusal(stranger.openSession()), { status: status.UNAVAILABLE });
  t.match(await refusal(stranger.openLane()), { status: status.UNAVAILABLE });
  const bare = createFakeAgent({
    port: fixture.port,
    authority: fixture.authority,
    pair: undefined,
    nodeName: NODE,
    sessionId: 's1',
  });
  t.teardown(() => bare.close());
  t.match(await refusal(bare.openSession()), { status: status.UNAVAILABLE });
  t.equal(fixture.loop.inspector.directory.state.nodes.size, 0);
});

t.test('an agent speaks only for the node of its certificate', async (t) => {
  const fixture = await openFleetDoor(t);
  const agent = await fixture.agent(NODE, { certificateName: 'gpu-2' });
  t.same(await refusal(agent.openSession()), { status: status.PERMISSION_DENIED, code: 'permission_denied' });
  t.same(await refusal(agent.openLane()), { status: status.PERMISSION_DENIED, code: 'permission_denied' });
  t.equal(fixture.loop.inspector.directory.state.nodes.size, 0);
});

t.test('another version of the protocol is a failed precondition', async (t) => {
  const fixture = await openFleetDoor(t);
  const agent = await fixture.agent(NODE);
  t.same(await refusal(agent.openSession({ protocolVersion: 99 })), {
    status: status.FAILED_PRECONDITION,
    code: 'protocol_mismatch',
  });
  t.same(await refusal(agent.openLane({ hello: { protocolVersion: 99 } })), {
    status: status.FAILED_PRECONDITION,
    code: 'protocol_mismatch',
  });
});

t.test('unacceptable words end a session with their code, and the door goes on', async (t) => {
  const fixture = await openFleetDoor(t);
  const agent = await fixture.agent(NODE);
  const ends = async (change: object) => (await refusal(agent.openSession(change))).code;
  t.equal(await ends({ sessionId: '' }), 'invalid_value');
  t.equal(await ends({ engines: [{ engine: '../etc' }] }), 'invalid_value');
  const twice = agent.openSession();
  twice.send({ hello: { protocolVersion: 1 } });
  t.equal((await refusal(twice)).code, 'protocol_mismatch');
  const badEvent = agent.openSession();
  badEvent.event({ engine: 'No Name' });
  t.equal((await refusal(badEvent)).code, 'invalid_value');
  const unknown = agent.openSession();
  unknown.send({});
  unknown.event(readyEngine('e0', 'm'));
  await eventually('the message of no known kind was passed over', () => unknown.received.length === 2);
});

t.test('what is too large, and what is not frames, ends its stream alone', async (t) => {
  const fixture = await openFleetDoor(t);
  const { agent, lane } = await connected(fixture);
  const ends = async (stream: FakeLane) => (await refusal(stream)).code;
  const large = agent.openLane();
  large.raw(Buffer.alloc(1024 * 1024 + 10));
  t.match(await refusal(large), { status: status.RESOURCE_EXHAUSTED });
  const garbage = agent.openLane();
  garbage.raw(Buffer.from('this is not a frame, but long enough to look at'));
  t.equal(await ends(garbage), 'protocol_mismatch');
  const cut = agent.openLane();
  cut.raw(Buffer.alloc(5));
  t.equal(await ends(cut), 'protocol_mismatch');
  const noHello = await fixture.agent(NODE);
  const first = noHello.openLane({ hello: { worker: 'x' } });
  t.equal(await ends(first), 'protocol_mismatch');
  const unknownSession = noHello.openLane({ hello: { sessionId: 'another' } });
  t.equal(await ends(unknownSession), 'not_found');
  const door = recordingDoor();
  fixture.loop.generator.start(request(), door, 1);
  await eventually('the first lane still works', () => lane.requests.length === 1);
  const inRequest = lane.requests[0] as FakeRequest;
  inRequest.head();
  lane.frame({ kind: FRAME.DONE, stream: inRequest.stream, incarnation: 1 }, Buffer.from('{not json'));
  t.equal(await ends(lane), 'protocol_mismatch');
  t.same(door.calls, ['head', 'error:stream_lost']);
});

t.test('frames that come with the hello in one message are taken', async (t) => {
  const fixture = await openFleetDoor(t);
  const { agent } = await connected(fixture);
  const lane = agent.openLane({ hello: 'silent' });
  const batch = new FrameBatch();
  batch.append(
    { kind: FRAME.HELLO, stream: 0 },
    encodeJson({ protocolVersion: 1, sessionId: 's1', nodeName: NODE, worker: 1 }),
  );
  batch.append({ kind: FRAME.HEAD, stream: 41 });
  batch.append({ kind: FRAME.HEAD, stream: 42 });
  lane.raw(batch.take().subarray(6));
  const counted = async (): Promise<boolean> =>
    (await fixture.metrics.render()).includes('where="lane_unknown_stream"} 2');
  await eventually('both were looked at', counted);
  t.equal(fixture.loop.inspector.directory.lanesOf(NODE as NodeId), 2);
});

t.test('a frame of an unknown kind for a running request ends the lane', async (t) => {
  const fixture = await openFleetDoor(t);
  const { lane } = await connected(fixture);
  fixture.loop.generator.start(request(), recordingDoor(), 1);
  await eventually('submitted', () => lane.requests.length === 1);
  lane.frame({ kind: 77, stream: lane.requests[0]?.stream as number, incarnation: 1 });
  t.equal((await refusal(lane)).code, 'protocol_mismatch');
});

t.test('a door whose sink throws pays for its own request only', async (t) => {
  const fixture = await openFleetDoor(t);
  const { lane } = await connected(fixture);
  const broken = {
    ...recordingDoor(),
    onTokens: () => {
      throw new Error('a bug of a door');
    },
  };
  const sound = recordingDoor();
  fixture.loop.generator.start(request({ id: 'broken' as never }), broken, 1);
  fixture.loop.generator.start(request({ id: 'sound' as never }), sound, 1);
  await eventually('submitted', () => lane.requests.length === 2);
  for (const each of lane.requests) {
    each.head();
    each.tokens('x', [1], 0);
    each.done();
  }
  await eventually('the sound one ends well', () => sound.calls.includes('done'));
  t.same(broken.calls, ['head', 'error:internal']);
  t.equal(fixture.loop.inspector.reservations.total, 0);
});

t.test('a lane that is cut fails its requests, and another lane takes over', async (t) => {
  const fixture = await openFleetDoor(t);
  const { agent, lane } = await connected(fixture);
  const door = recordingDoor();
  fixture.loop.generator.start(request(), door, 1);
  await eventually('submitted', () => lane.requests.length === 1);
  lane.requests[0]?.head();
  await eventually('begun', () => door.calls.length === 1);
  lane.cancel();
  await eventually('failed', () => door.calls.includes('error:stream_lost'));
  t.equal(fixture.loop.inspector.reservations.total, 0);
  t.notOk(fixture.loop.fleetView.ready().ok);
  const second = agent.openLane({ onSubmit: (each) => (each.head(), each.done()) });
  await eventually('ready again', () => fixture.loop.fleetView.ready().ok);
  const again = recordingDoor();
  fixture.loop.generator.start(request(), again, 1);
  await eventually('answered', () => again.calls.includes('done'));
  second.close();
  await eventually('a lane that ends well is gone too', () => !fixture.loop.fleetView.ready().ok);
});

t.test('a newer session of the node takes over: the older one is closed and its requests fail', async (t) => {
  const fixture = await openFleetDoor(t);
  const { session, lane } = await connected(fixture);
  const door = recordingDoor();
  fixture.loop.generator.start(request(), door, 1);
  await eventually('submitted', () => lane.requests.length === 1);
  lane.requests[0]?.head();
  await eventually('begun', () => door.calls.length === 1);
  const restarted = await fixture.agent(NODE, { sessionId: 's2' });
  const fresh = restarted.openSession({ engines: [readyEngine('e0', 'm', { incarnation: 2 })] });
  t.equal((await refusal(session)).code, 'already_exists');
  t.ok(await endsSoon(lane));
  t.same(door.calls, ['head', 'error:engine_died']);
  restarted.openLane();
  await eventually('the new life serves', () => fixture.loop.fleetView.ready().ok);
  fresh.close();
  await eventually('a session that ends leaves its node lost', () => !fixture.loop.fleetView.ready().ok);
  await fixture.close();
});

t.test('a stream without a hello is closed in time, and a node has a bounded number of lanes', async (t) => {
  const fixture = await openFleetDoor(t, { options: { helloTimeoutMs: 100, maxLanesPerNode: 1 } });
  const { agent, lane } = await connected(fixture);
  t.equal((await refusal(agent.openLane())).code, 'overloaded');
  lane.close();
  await eventually('its place is free again', () => !fixture.loop.fleetView.ready().ok);
  t.equal((await refusal(agent.openSession('silent'))).code, 'deadline_exceeded');
  t.equal((await refusal(agent.openLane({ hello: 'silent' }))).code, 'deadline_exceeded');
  const wrong = agent.openSession('silent');
  wrong.send({ goodbye: { reason: 'no hello' } });
  t.equal((await refusal(wrong)).code, 'protocol_mismatch');
});

t.test('a taken address is said as such', async (t) => {
  const fixture = await openFleetDoor(t);
  await t.rejects(openFleetDoor(t, { options: { port: fixture.port } }), { code: 'address_in_use' });
});
