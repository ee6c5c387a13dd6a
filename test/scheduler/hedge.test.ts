/** A second attempt beside a slow first one: who is heard, who is cancelled, and what it costs. */
import t from 'tap';
import { CodedError, type ErrorCode } from '../../lib/errors.ts';
import type { RequestShape } from '../../scheduler/core/routing/contract.ts';
import {
  engineEvent,
  idBytes,
  LOOP_OPTIONS,
  recordingDoor,
  request,
  type SentOrder,
  TENANT,
  telemetry,
  testLoop,
} from './fakes.ts';

const AFTER_MS = 200;
const TWO = { engines: [engineEvent(), engineEvent({ engine: 'e1' })] };
const fail = (code: ErrorCode): CodedError => new CodedError(code, code);
const asked = request({ stream: false, body: Buffer.from('{"max_tokens":1}') });

function started(change: { failover?: object; tokens?: number; engines?: typeof TWO; what?: typeof asked } = {}) {
  const shape: RequestShape = { model: 'm', tenant: TENANT, promptTokens: 10, maxOutputTokens: change.tokens ?? 1 };
  const failover = { ...LOOP_OPTIONS.failover, hedgeAfterMs: AFTER_MS, ...change.failover };
  const hedged: string[] = [];
  const parts = testLoop({
    hello: change.engines ?? TWO,
    options: { failover },
    deps: { shapeOf: () => shape },
  });
  parts.figures.hedged = (event) => void hedged.push(event);
  const door = recordingDoor();
  const generation = parts.loop.generator.start(change.what ?? asked, door, 1000);
  const sent = parts.lane.sent as SentOrder[];
  return { ...parts, door, generation, sent, hedged };
}

function answer({ sink }: SentOrder, text = 'yes'): void {
  sink.onHead();
  sink.onBody(Buffer.from(text), true);
  sink.onDone({ completionTokens: 1 });
}

t.test('a first attempt that answers in time is alone', async (t) => {
  const { clock, sent, door, hedged } = started();
  clock.advance(AFTER_MS - 1);
  answer(sent[0] as SentOrder);
  clock.advance(10 * AFTER_MS);
  t.equal(sent.length, 1);
  t.same(door.calls, ['head', 'body:yes:last', 'done']);
  t.same(hedged, []);
});

t.test('a late one gets a second at another engine; the first to answer is heard, the other cancelled', async (t) => {
  for (const winner of [0, 1]) {
    const { clock, sent, door, hedged, loop } = started();
    clock.advance(AFTER_MS);
    t.equal(sent.length, 2);
    t.not(sent[0]?.order.meta.engine, sent[1]?.order.meta.engine);
    t.not(sent[0]?.order.attempt, sent[1]?.order.attempt);
    // A head alone is no answer yet.
    sent[1 - winner]?.sink.onHead();
    t.same(door.calls, []);
    answer(sent[winner] as SentOrder);
    t.equal(sent[1 - winner]?.cancelled, true);
    t.not(sent[winner]?.cancelled, true);
    answer(sent[1 - winner] as SentOrder, 'late');
    t.same(door.calls, ['head', 'body:yes:last', 'done']);
    t.same(hedged, ['sent', winner === 0 ? 'first_won' : 'second_won']);
    t.equal(loop.inspector.reservations.total, 0);
    t.equal(loop.inspector.runningRequests, 0);
  }
});

t.test('one of two that fails leaves the other; when both fail the request recovers as any', async (t) => {
  const { clock, sent, door, hedged, loop } = started();
  clock.advance(AFTER_MS);
  sent[0]?.sink.onError(fail('engine_died'));
  t.same(door.calls, []);
  t.equal(loop.inspector.reservations.total, 1);
  sent[1]?.sink.onError(fail('engine_died'));
  clock.advance(1000);
  const third = sent[2] as SentOrder;
  t.same(new Set(sent.map(({ order }) => order.attempt)).size, sent.length, 'no attempt has the number of another');
  answer(third);
  t.same(door.calls, ['head', 'body:yes:last', 'done']);
  t.same(hedged.slice(0, 2), ['sent', 'both_failed']);
  t.equal(loop.inspector.reservations.total, 0);
});

t.test('an engine that is told dead takes both attempts with it, and nothing stays reserved', async (t) => {
  const { clock, sent, loop, session, generation } = started();
  clock.advance(AFTER_MS);
  const engine = sent[0]?.order.meta.engine as string;
  loop.fleetSink.onEngineEvent(session, engineEvent({ engine, state: 'ENGINE_STATE_STOPPED', reason: 'crashed' }));
  clock.advance(LOOP_OPTIONS.deathGraceMs);
  t.ok(sent[0]?.cancelled && sent[1]?.cancelled);
  generation.cancel('client_gone');
  t.equal(loop.inspector.reservations.total, 0);
});

t.test('a client that goes, and a lane that is lost, end both', async (t) => {
  const gone = started();
  gone.clock.advance(AFTER_MS);
  gone.generation.cancel('client_gone');
  t.same(
    gone.sent.map(({ cancelled }) => cancelled),
    [true, true],
  );
  t.equal(gone.loop.inspector.reservations.total, 0);
  const cut = started({ failover: { maxWaitMs: 0 } });
  cut.clock.advance(AFTER_MS);
  cut.loop.fleetSink.onLaneLost('s1', cut.lane);
  cut.lane.close(fail('stream_lost'));
  cut.clock.advance(1000);
  t.same(cut.door.calls, ['error:stream_lost']);
  t.equal(cut.loop.inspector.reservations.total, 0);
});

t.test('long answers, keys, and a setting of 0 have no second attempt', async (t) => {
  const repeat = { identity: 'i', body: 'b', after: 0 };
  for (const change of [{ tokens: 2 }, { failover: { hedgeAfterMs: 0 } }, { what: { ...asked, repeat } }]) {
    const { clock, sent } = started(change);
    clock.advance(10 * AFTER_MS);
    t.equal(sent.length, 1);
  }
});

t.test('without another engine, or a slot of the budget, the first is waited for', async (t) => {
  const one = started({ engines: { engines: [engineEvent()] } });
  one.clock.advance(AFTER_MS);
  t.equal(one.sent.length, 1);
  answer(one.sent[0] as SentOrder);
  t.same(one.hedged, ['not_sent']);
  t.equal(one.door.calls.at(-1), 'done');
  const spent = started({ failover: { burst: 1, perSecond: 1 } });
  const other = recordingDoor();
  const id = 'req-2' as typeof asked.id;
  spent.loop.generator.start({ ...asked, id }, other, 1000);
  spent.clock.advance(AFTER_MS);
  t.equal(spent.sent.length, 3, 'one slot, one second attempt');
  t.same(spent.hedged.toSorted(), ['not_sent', 'sent']);
});

t.test('a fault of the program while the second is placed is not taken for a full fleet', async (t) => {
  const { clock, lane, hedged } = started();
  lane.submit = () => {
    throw new TypeError('a fault of the program');
  };
  t.throws(() => clock.advance(AFTER_MS), { message: 'a fault of the program' });
  t.same(hedged, []);
});

t.test('a streamed token is an answer too', async (t) => {
  const { clock, sent, door } = started({ what: { ...asked, stream: true } });
  clock.advance(AFTER_MS);
  sent[1]?.sink.onHead();
  sent[1]?.sink.onTokens(Buffer.from('data: x\n\n'), idBytes(1), 0, true);
  t.equal(sent[0]?.cancelled, true);
  sent[1]?.sink.onDone(undefined);
  t.same(door.calls, ['head', 'tokens:data: x\n\n', 'done']);
});

t.test('load that others put on the engines is heeded by the second attempt as by the first', async (t) => {
  const three = { engines: [...TWO.engines, engineEvent({ engine: 'e2' })] };
  const { clock, sent, loop, session } = started({ engines: three });
  const first = sent[0]?.order.meta.engine;
  const [busy, calm] = ['e0', 'e1', 'e2'].filter((name) => name !== first);
  loop.fleetSink.onTelemetry(session, telemetry([{ engine: busy as string, runningRequests: 50 }]));
  clock.advance(AFTER_MS);
  t.equal(sent[1]?.order.meta.engine, calm);
});

t.test('what the client takes is granted to both while both may answer, then to the one that does', async (t) => {
  const { clock, sent, generation } = started({ what: { ...asked, stream: true } });
  clock.advance(AFTER_MS);
  generation.grant(100);
  t.same(
    sent.map(({ granted }) => granted),
    [100, 100],
  );
  sent[0]?.sink.onHead();
  sent[0]?.sink.onTokens(Buffer.from('data: x\n\n'), idBytes(1), 0);
  sent[0]?.sink.onHead();
  generation.grant(50);
  t.same(
    sent.map(({ granted }) => granted),
    [150, 100],
  );
});
