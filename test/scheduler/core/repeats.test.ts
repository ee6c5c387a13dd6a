/** Requests with an idempotency key: who comes back gets the same answer, from the beginning or from where it was cut. */
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId } from '../../../lib/ids.ts';
import { DetachedRequests } from '../../../scheduler/core/relay/detached.ts';
import { Repeats, type RepeatsOptions } from '../../../scheduler/core/relay/repeats.ts';
import type { AdmittedRequest, GenerationSink } from '../../../scheduler/ports.ts';
import { fakeClock, fakeLane, idBytes, LOOP_OPTIONS, recordingDoor, request } from '../fakes.ts';

interface Run {
  readonly request: AdmittedRequest;
  readonly sink: GenerationSink;
  granted: number;
  cancelled: string | undefined;
}

function setUp(change: Partial<RepeatsOptions> = {}) {
  const clock = fakeClock();
  const detached = new DetachedRequests();
  const runs: Run[] = [];
  const state: { refuse: Error | undefined } = { refuse: undefined };
  const repeats = new Repeats({
    clock,
    detached,
    options: { ...LOOP_OPTIONS.repeats, ...change },
    start(asked, sink) {
      if (state.refuse !== undefined) throw state.refuse;
      const run: Run = { request: asked, sink, granted: 0, cancelled: undefined };
      runs.push(run);
      return {
        id: asked.id,
        grant: (bytes) => void (run.granted += bytes),
        cancel: (reason) => void (run.cancelled = reason),
      };
    },
  });
  return { clock, detached, runs, repeats, state };
}

const keyed = (after = 0, change: { identity?: string; body?: string; id?: string } = {}): AdmittedRequest => {
  const { identity = 'me', body = 'hash', id = 'idem-1' } = change;
  return request({ id: id as RequestId, repeat: { identity, body, after } });
};
const event = (text: string): Buffer => Buffer.from(`data: {"x":"${text}"}\n\n`);
const turn = (): Promise<void> => Promise.resolve();
const words = (calls: readonly string[]): string[] =>
  calls.map((call) => [...call.matchAll(/"x":"(\w*)"/g)].map(([, word]) => word).join('+') || call);

t.test('without a key nothing is kept', async (t) => {
  const { repeats, runs } = setUp();
  const door = recordingDoor();
  repeats.start(request(), door, 5);
  t.equal(runs[0]?.sink, door);
  t.equal(repeats.size, 0);
});

t.test(
  'a client that comes back gets the rest, and one that had nothing gets all; both at their own pace',
  async (t) => {
    const { repeats, runs } = setUp();
    const first = recordingDoor();
    const generation = repeats.start(keyed(), first, 1000);
    await turn();
    const sink = runs[0]?.sink;
    sink?.onHead();
    sink?.onTokens(Buffer.concat([event('a'), event('b')]), idBytes(1, 2), 0);
    sink?.onTokens(event('c'), idBytes(3), 2);
    t.same(words(first.calls), ['head', 'a+b', 'c']);
    t.equal(runs[0]?.granted, event('a').length * 3, 'the engine may go on');
    generation.cancel('client_gone');
    t.equal(runs[0]?.cancelled, undefined, 'the answer runs on');
    sink?.onTokens(event('d'), idBytes(4), 3);
    const second = recordingDoor();
    const slow = repeats.start(keyed(1), second, 1);
    await turn();
    t.same(words(second.calls), ['head', 'b'], 'one piece for little credit');
    slow.grant(1000);
    t.same(words(second.calls), ['head', 'b', 'c', 'd']);
    const third = recordingDoor();
    repeats.start(keyed(2), third, 1000);
    t.same(second.error?.code, 'already_exists', 'one reads at a time');
    slow.grant(5);
    slow.cancel('client_gone');
    await turn();
    sink?.onDone({ completionTokens: 4 });
    t.same(words(third.calls), ['head', 'c', 'd', 'done']);
    const fourth = recordingDoor();
    repeats.start(keyed(), fourth, 1000);
    await turn();
    t.same(words(fourth.calls), ['head', 'a+b', 'c', 'd', 'done'], 'also after its end');
    t.same(fourth.usage, { completionTokens: 4 });
    t.equal(runs.length, 1);
  },
);

t.test('another identity or another body is refused', async (t) => {
  const { repeats } = setUp();
  repeats.start(keyed(), recordingDoor(), 1);
  t.throws(() => repeats.start(keyed(0, { identity: 'you' }), recordingDoor(), 1), {
    code: 'idempotency_conflict',
    message: /another identity/,
  });
  t.throws(() => repeats.start(keyed(0, { body: 'other' }), recordingDoor(), 1), { message: /another body/ });
});

t.test('nobody reads for too long: the engine stops; what ended long ago is forgotten', async (t) => {
  const { repeats, runs, clock } = setUp();
  repeats.start(keyed(), recordingDoor(), 1).cancel('client_gone');
  clock.advance(9000);
  const back = repeats.start(keyed(), recordingDoor(), 1);
  clock.advance(60_000);
  t.equal(runs[0]?.cancelled, undefined);
  back.cancel('client_gone');
  clock.advance(10_000);
  t.equal(runs[0]?.cancelled, 'client_gone');
  t.equal(repeats.size, 0);
  repeats.start(keyed(), recordingDoor(), 1).cancel('client_gone');
  runs[1]?.sink.onDone(undefined);
  runs[1]?.sink.onError(new CodedError('internal', 'late'));
  t.equal(repeats.size, 1);
  clock.advance(60_000);
  t.equal(repeats.size, 0);
});

t.test('a failed answer is not served again: who asks again gets a new run', async (t) => {
  const { repeats, runs, state } = setUp();
  const door = recordingDoor();
  repeats.start(keyed(), door, 1);
  await turn();
  runs[0]?.sink.onError(new CodedError('engine_died', 'x'));
  t.same(door.calls, ['error:engine_died']);
  repeats.start(keyed(), recordingDoor(), 1);
  t.equal(runs.length, 2);
  state.refuse = new CodedError('no_engine', 'x');
  t.throws(() => repeats.start(keyed(0, { id: 'idem-2' }), recordingDoor(), 1), { code: 'no_engine' });
  t.equal(repeats.size, 1, 'what was not started leaves nothing behind');
});

t.test('plain answers are read whole, and begin anew while nothing has left', async (t) => {
  const { repeats, runs } = setUp();
  const door = { ...recordingDoor(), onRestart: () => true };
  repeats.start(keyed(), door, 1000);
  await turn();
  const sink = runs[0]?.sink;
  sink?.onBody(Buffer.from('ha'), false);
  t.ok(sink?.onRestart?.());
  sink?.onBody(Buffer.from('whole'), true);
  sink?.onDone(undefined);
  t.same(door.calls, ['head', 'body:ha', 'body:whole:last', 'done']);
  const begun = recordingDoor();
  repeats.start(keyed(0, { id: 'idem-2' }), begun, 1000);
  await turn();
  t.ok(runs[1]?.sink.onRestart?.(), 'nothing has come');
  runs[1]?.sink.onBody(Buffer.from('x'), false);
  t.notOk(runs[1]?.sink.onRestart?.(), 'its door cannot take it back');
});

t.test('an answer that outgrows its memory waits for its reader', async (t) => {
  const { repeats, runs } = setUp({ maxAnswerBytes: 1000 });
  repeats.start(keyed(), recordingDoor(), 1);
  runs[0]?.sink.onTokens(Buffer.alloc(2000, 'x'), idBytes(1), 0);
  t.equal(runs[0]?.granted, 0);
});

t.test('what has ended makes room; what runs is bounded', async (t) => {
  const { repeats, runs } = setUp({ maxAnswers: 2 });
  const ended = repeats.start(keyed(0, { id: 'a' }), recordingDoor(), 1);
  ended.cancel('client_gone');
  runs[0]?.sink.onDone(undefined);
  repeats.start(keyed(0, { id: 'b' }), recordingDoor(), 1);
  repeats.start(keyed(0, { id: 'c' }), recordingDoor(), 1);
  t.equal(repeats.size, 2);
  t.throws(() => repeats.start(keyed(0, { id: 'd' }), recordingDoor(), 1), { code: 'overloaded' });
});

t.test('after a start a scheduler waits for agents to tell what runs there', async (t) => {
  const { repeats, runs, clock, detached, state } = setUp({ settleMs: 1000 });
  const lane = fakeLane();
  const told = { id: 'idem-1', engine: 'e', incarnation: 1, attempt: 0, eventsBefore: 5, identity: 'me', body: 'hash' };
  const door = recordingDoor();
  repeats.start(keyed(5), door, 1000);
  clock.advance(100);
  t.equal(runs.length, 0);
  detached.told(lane, [told], clock.monotonicMs());
  clock.advance(60);
  t.equal(runs.length, 1);
  runs[0]?.sink.onTokens(event('f'), idBytes(6), 5);
  t.same(words(door.calls), ['head', 'f'], 'the five before are not here, and the client has them');
  t.throws(() => repeats.start(keyed(2), recordingDoor(), 1), { code: 'idempotency_conflict', message: /beginning/ });
  const wrong = recordingDoor();
  repeats.start(keyed(0, { id: 'idem-2' }), wrong, 1000);
  detached.told(lane, [{ ...told, id: 'idem-2', body: 'other' }], clock.monotonicMs());
  clock.advance(60);
  t.equal(wrong.error?.code, 'idempotency_conflict');
  const nothing = recordingDoor();
  repeats.start(keyed(0, { id: 'idem-3' }), nothing, 1000);
  detached.told(lane, [{ ...told, id: 'idem-3' }], clock.monotonicMs());
  clock.advance(60);
  t.equal(detached.find('idem-3' as RequestId), undefined, 'who had nothing gets a new run');
  const late = recordingDoor();
  repeats.start(keyed(0, { id: 'idem-4' }), late, 1000);
  state.refuse = new Error('a mistake');
  clock.advance(1000);
  t.equal(late.error?.code, 'internal');
  const over = setUp({ settleMs: 1000 });
  over.repeats.start(keyed(), recordingDoor(), 1).cancel('client_gone');
  over.clock.advance(999);
  t.equal(over.runs.length, 0);
  over.clock.advance(60);
  t.equal(over.runs.length, 1, 'nobody told: it is new');
});
