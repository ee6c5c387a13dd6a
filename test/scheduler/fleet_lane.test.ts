/** A lane without its socket: bounds, and frames of any kind in any order. */
import fc from 'fast-check';
import t from 'tap';
import { CodedError } from '../../lib/errors.ts';
import type { RequestId } from '../../lib/ids.ts';
import { createMetrics } from '../../lib/io/metrics.ts';
import { encodeJson, FRAME, FrameBatch, visitFrames } from '../../proto/codec.ts';
import { createFigures } from '../../scheduler/adapters/figures/figures.ts';
import { Lane, type LaneWire } from '../../scheduler/adapters/grpc/lane.ts';
import type { LaneOrder } from '../../scheduler/ports.ts';
import { NODE, recordingDoor, request } from './fakes.ts';

function order(bodyBytes = 2): LaneOrder {
  const meta = { requestId: 'r', engine: 'e0', path: '/', stream: true, wantUsage: false, wantTokenIds: false };
  return {
    meta,
    body: Buffer.alloc(bodyBytes),
    attempt: 0,
    incarnation: 1,
    creditBytes: 10,
    resumeIds: new Uint32Array([7, 8]),
  };
}

function laneOnPaper() {
  const sent: Buffer[] = [];
  const callbacks: (() => void)[] = [];
  const tasks: (() => void)[] = [];
  const failures: unknown[] = [];
  let ended: CodedError | undefined;
  const wire: LaneWire = {
    write(message, done) {
      sent.push(message);
      callbacks.push(done);
    },
    end(error) {
      ended = error;
    },
    later: (task) => void tasks.push(task),
    dropped: () => undefined,
    failed: (thrown) => void failures.push(thrown),
  };
  const lane = new Lane(NODE, 3, wire);
  const turn = (): void => {
    for (const task of tasks.splice(0)) task();
  };
  return { lane, sent, callbacks, failures, turn, ended: () => ended };
}

/** Frames as the agent would send them, without the message around. */
function frames(...all: Parameters<FrameBatch['append']>[]): Buffer {
  const batch = new FrameBatch();
  for (const each of all) batch.append(...each);
  return batch.take().subarray(6);
}

t.test('a request carries its resume point, and small frames wait for the end of the turn', async (t) => {
  const { lane, sent, turn } = laneOnPaper();
  lane.submit(order(), recordingDoor()).grant(2 ** 40);
  t.equal(sent.length, 0);
  turn();
  const seen: object[] = [];
  visitFrames(sent[0]?.subarray(6) as Buffer, (frame) =>
    seen.push({
      kind: frame.kind,
      stream: frame.stream,
      index: frame.index,
      tokens: frame.tokens,
      credit: frame.credit,
    }),
  );
  t.same(seen, [
    { kind: FRAME.SUBMIT, stream: 1, index: 2, tokens: 2, credit: 10 },
    { kind: FRAME.CREDIT, stream: 1, index: 0, tokens: 0, credit: 0xffff_ffff },
  ]);
  turn();
  t.equal(sent.length, 1, 'an empty turn sends nothing');
});

t.test('the requests of each engine are counted until they end, however they end', async (t) => {
  const { lane } = laneOnPaper();
  const to = (engine: string) => lane.submit({ ...order(), meta: { ...order().meta, engine } }, recordingDoor());
  const left = () => [lane.loadOf('a'), lane.loadOf('b'), lane.load];
  to('a');
  to('a');
  const third = to('a');
  to('b');
  const place = { attempt: 0, incarnation: 1, index: 0, hadBytes: 0, creditBytes: 10 };
  lane.attach({ id: 'back' as RequestId, ...place }, recordingDoor());
  t.same(left(), [3, 1, 5], 'of one that was come back for the engine is not known');
  third.cancel();
  third.cancel();
  t.same(left(), [2, 1, 4]);
  const at = (stream: number) => ({ stream, attempt: 0, incarnation: 1 });
  lane.receive(frames([{ kind: FRAME.HEAD, ...at(1) }], [{ kind: FRAME.DONE, ...at(1) }, encodeJson({})]));
  t.same(left(), [1, 1, 3]);
  lane.receive(frames([{ kind: FRAME.FAILED, ...at(2) }, encodeJson({ code: 'engine_failed', message: 'x' })]));
  t.same(left(), [0, 1, 2]);
  lane.lost(new CodedError('stream_lost', 'x'));
  t.same(left(), [0, 0, 0]);
});

t.test('large bodies leave at once, and an agent that does not read gets no more', async (t) => {
  const { lane, sent, callbacks } = laneOnPaper();
  for (let i = 0; i < 8; i++) lane.submit(order(8 * 1024 * 1024), recordingDoor());
  t.equal(sent.length, 8);
  t.throws(() => lane.submit(order(), recordingDoor()), { code: 'overloaded' });
  for (const done of callbacks) done();
  t.equal(lane.load, 8);
  lane.submit(order(), recordingDoor());
});

t.test('a closed lane takes nothing and says nothing', async (t) => {
  const { lane, sent, turn, ended } = laneOnPaper();
  const door = recordingDoor();
  const running = lane.submit(order(), door);
  lane.close(new CodedError('engine_died', 'restarted'));
  lane.close(new CodedError('internal', 'again'));
  running.grant(1);
  running.cancel();
  lane.receive(frames([{ kind: FRAME.HEAD, stream: 1, incarnation: 1 }]));
  turn();
  t.same(door.calls, ['error:engine_died']);
  t.equal(ended()?.code, 'engine_died');
  t.equal(sent.length, 0);
  t.throws(() => lane.submit(order(), door), { code: 'stream_lost' });
});

t.test('a sink that throws at its end hurts nobody else', async (t) => {
  const { lane, failures } = laneOnPaper();
  const bad = {
    ...recordingDoor(),
    onError: () => {
      throw new Error('a bug');
    },
  };
  const good = recordingDoor();
  lane.submit(order(), bad);
  lane.submit(order(), good);
  lane.lost(new CodedError('stream_lost', 'cut'));
  t.same(good.calls, ['error:stream_lost']);
  t.match(failures, [{ message: 'a bug' }]);
  const other = laneOnPaper();
  other.lane.submit(order(), bad);
  other.lane.receive(
    frames([{ kind: FRAME.FAILED, stream: 1, incarnation: 1 }, Buffer.from('{"code":"internal","message":""}')]),
  );
  t.equal(other.failures.length, 1);
  t.equal(other.lane.load, 0);
});

t.test('any frames in any order: no throw, no more than one end per request, nothing after it', async (t) => {
  const kind = fc.constantFrom(...Object.values(FRAME), 0, 99);
  const payload = fc.constantFrom('', '{}', '{"usage":{}}', '{"code":"x","message":1}', 'nonsense', 'data: x\n\n');
  const one = fc.record({
    kind,
    stream: fc.nat(4),
    attempt: fc.nat(1),
    incarnation: fc.nat(2),
    index: fc.nat(3),
    payload,
    ids: fc.array(fc.nat(9), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(fc.array(fc.array(one, { maxLength: 8 }), { maxLength: 8 }), (messages) => {
      const { lane } = laneOnPaper();
      const doors = [1, 2, 3].map(() => recordingDoor());
      for (const door of doors) lane.submit(order(), door);
      for (const message of messages) {
        lane.receive(
          frames(
            ...message.map(
              ({ payload: text, ids, ...header }): Parameters<FrameBatch['append']> => [header, Buffer.from(text), ids],
            ),
          ),
        );
      }
      lane.lost(new CodedError('stream_lost', 'cut'));
      return doors.every(
        ({ calls }) =>
          calls.filter((call) => /^(done|error)/.test(call)).length === 1 && /^(done|error)/.test(calls.at(-1) ?? ''),
      );
    }),
    { numRuns: 1000 },
  );
  t.pass('the property holds');
});

t.test('any bytes: frames or the end of the lane', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 5 }), (messages) => {
      const { lane, ended } = laneOnPaper();
      const door = recordingDoor();
      lane.submit(order(), door);
      for (const message of messages) lane.receive(Buffer.from(message));
      return ended() === undefined ? door.calls.length === 0 : door.calls.length === 1;
    }),
    { numRuns: 500 },
  );
  t.pass('the property holds');
});

t.test(
  'figures: doors that record by themselves are left out, tokens are counted for all, client words are no labels',
  async (t) => {
    const metrics = createMetrics({ processMetrics: false });
    const figures = createFigures({ metrics, recordingDoors: new Set(['http']) });
    const usage = { promptTokens: 5, cachedPromptTokens: 2, completionTokens: 3 };
    const end = {
      request: request(),
      model: 'm',
      outcome: 'ok',
      startedAtMs: 0,
      firstTokenAtMs: 100,
      endedAtMs: 300,
      usage,
      outputTokens: 3,
    } as const;
    for (const door of ['http', 'grpc'] as const) {
      figures.started(door);
      figures.ended({ ...end, door });
      figures.refused('invented by a client', door, 'model_not_found');
    }
    figures.refused('m', 'grpc', 'no_engine');
    const text = await metrics.render();
    t.match(text, /chat_tokens_total\{model="m",kind="prompt"\} 10/);
    t.match(text, /chat_tokens_total\{model="m",kind="cached"\} 4/);
    t.match(text, /chat_tokens_total\{model="m",kind="completion"\} 6/);
    t.match(text, /chat_requests_total\{model="m",outcome="ok",code="ok",door="grpc"\} 1/);
    t.match(text, /chat_requests_total\{model="unknown",outcome="client_error",code="model_not_found",door="grpc"\} 1/);
    t.match(text, /chat_inter_token_seconds_sum\{model="m"\} 0.1/);
    t.match(text, /chat_requests_active\{door="grpc"\} 0/);
    t.notMatch(text, /door="http"/);
    t.notMatch(text, /invented/);
  },
);
