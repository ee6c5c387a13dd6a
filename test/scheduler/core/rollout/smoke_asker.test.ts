/** A replica is asked its smoke prompt over its lane, and its answer is judged by its words. */
import t from 'tap';
import { CodedError } from '../../../../lib/errors.ts';
import type { NodeId, RequestId } from '../../../../lib/ids.ts';
import {
  answerText,
  judgeAnswer,
  SmokeAsker,
  type SmokeTarget,
} from '../../../../scheduler/core/rollout/smoke_asker.ts';
import type { GenerationSink, LaneHandle, LaneOrder } from '../../../../scheduler/ports.ts';

const TARGET: SmokeTarget = { key: 'n/e', node: 'n' as NodeId, engine: 'e', incarnation: 1, model: 'm', endpoints: [] };
const SMOKE = { prompt: 'Say OK.', contains: 'OK' };

function stage() {
  const timers: { at: number; task: () => void; isOff: boolean }[] = [];
  const sent: { order: LaneOrder; sink: GenerationSink; cancelled: boolean }[] = [];
  let lane: LaneHandle | undefined = {
    submit(order: LaneOrder, sink: GenerationSink) {
      const one = { order, sink, cancelled: false };
      sent.push(one);
      return { grant: () => undefined, cancel: () => void (one.cancelled = true) };
    },
  } as unknown as LaneHandle;
  const clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after(at: number, task: () => void) {
      const timer = { at, task, isOff: false };
      timers.push(timer);
      return () => void (timer.isOff = true);
    },
  };
  let ids = 0;
  const asker = new SmokeAsker({ clock, laneFor: () => lane, newId: () => `req${ids++}` as RequestId, timeoutMs: 500 });
  const answer = (at: number, body: unknown): void => {
    const bytes = Buffer.from(JSON.stringify(body));
    const { sink } = sent[at] as (typeof sent)[0];
    sink.onHead();
    sink.onTokens(Buffer.alloc(0), Buffer.alloc(0), 0);
    sink.onBody(bytes.subarray(0, 5), false);
    sink.onBody(bytes.subarray(5), true);
    sink.onDone(undefined);
  };
  return { asker, sent, timers, answer, cut: () => void (lane = undefined) };
}

const chat = (content: unknown) => ({ choices: [{ message: { content } }] });

t.test('a right answer passes, and a wrong one does not', async (t) => {
  const { asker, sent, answer, timers } = stage();
  asker.ask(TARGET, SMOKE);
  asker.ask(TARGET, SMOKE);
  t.equal(sent.length, 1, 'one at a time');
  t.equal(asker.resultOf('n/e', 1), undefined);
  const { meta, body, incarnation } = (sent[0] as (typeof sent)[0]).order;
  t.match(meta, { engine: 'e', path: '/v1/chat/completions', stream: false, deadlineMs: 500, requestId: 'req0' });
  t.equal(incarnation, 1);
  t.match(JSON.parse(Buffer.from(body).toString()), {
    model: 'm',
    messages: [{ role: 'user', content: 'Say OK.' }],
    temperature: 0,
  });
  answer(0, chat('That is OK with me.'));
  t.same(asker.resultOf('n/e', 1), { ok: true, answered: true, attempts: 1, detail: 'That is OK with me.' });
  t.ok(timers[0]?.isOff);
  t.notOk(sent[0]?.cancelled);
  asker.ask(TARGET, SMOKE);
  answer(1, chat('No.'));
  t.match(asker.resultOf('n/e', 1), { ok: false, answered: true, attempts: 2, detail: 'No.' });
});

t.test('an engine that says nothing, fails or has no lane has not answered', async (t) => {
  const { asker, sent, timers, answer, cut } = stage();
  asker.ask(TARGET, SMOKE);
  timers[0]?.task();
  t.match(asker.resultOf('n/e', 1), { ok: false, answered: false, attempts: 1, detail: /^deadline_exceeded/ });
  t.ok(sent[0]?.cancelled);
  answer(0, chat('OK, late'));
  t.match(asker.resultOf('n/e', 1), { ok: false }, 'what comes after its time counts no more');
  asker.ask(TARGET, SMOKE);
  sent[1]?.sink.onError(new CodedError('engine_died', 'It went away.'));
  t.match(asker.resultOf('n/e', 1), { answered: false, attempts: 2, detail: 'engine_died: It went away.' });
  cut();
  asker.ask(TARGET, SMOKE);
  t.match(asker.resultOf('n/e', 1), { answered: false, attempts: 3, detail: 'stream_lost: n has no lane.' });
});

t.test('another life of the engine is asked anew, and a replica that is gone is forgotten', async (t) => {
  const { asker, sent, answer } = stage();
  asker.ask(TARGET, SMOKE);
  asker.ask({ ...TARGET, incarnation: 2 }, SMOKE);
  t.same([sent.length, sent[0]?.cancelled], [2, true]);
  answer(1, chat('OK'));
  t.equal(asker.resultOf('n/e', 1), undefined);
  t.match(asker.resultOf('n/e', 2), { ok: true, attempts: 1 });
  asker.ask({ ...TARGET, key: 'n/f' }, SMOKE);
  asker.keepOnly(new Set(['n/e']));
  t.ok(sent[2]?.cancelled);
  t.match(asker.resultOf('n/e', 2), { ok: true });
  asker.keepOnly(new Set());
  t.equal(asker.resultOf('n/e', 2), undefined);
});

t.test('it is asked in the way that it answers', async (t) => {
  const { asker, sent, answer } = stage();
  asker.ask({ ...TARGET, endpoints: ['completions'] }, SMOKE);
  t.match(JSON.parse(Buffer.from(sent[0]?.order.body ?? []).toString()), { prompt: 'Say OK.' });
  answer(0, { choices: [{ text: 'OK' }] });
  t.match(asker.resultOf('n/e', 1), { ok: true });
  asker.ask({ ...TARGET, key: 'v', endpoints: ['embeddings'] }, SMOKE);
  t.match(sent[1]?.order.meta.path, '/v1/embeddings');
  answer(1, { data: [{ embedding: [0.1, 0.2] }] });
  t.match(asker.resultOf('v', 1), { ok: true, detail: '2 places' });
});

t.test('what can be read of an answer, and what is too much of it', async (t) => {
  const text = (value: unknown): string | undefined =>
    answerText(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
  t.equal(text({ choices: [{ message: { reasoning_content: 'Hm. ', content: 'OK' } }] }), 'Hm. OK');
  t.same(
    [text('<html>'), text(null), text({}), text({ choices: [{}] }), text({ data: [{ embedding: [] }] })],
    Array(5).fill(undefined),
  );
  t.match(judgeAnswer(undefined, '', 'chat'), { ok: false, answered: true });
  t.match([judgeAnswer(' ', '', 'chat'), judgeAnswer('x', '', 'chat')], [{ ok: false }, { ok: true }]);
  const { asker, sent } = stage();
  asker.ask(TARGET, SMOKE);
  const half = Buffer.alloc(600_000, 0x20);
  sent[0]?.sink.onBody(half, false);
  sent[0]?.sink.onBody(half, true);
  sent[0]?.sink.onDone(undefined);
  t.match(asker.resultOf('n/e', 1), { ok: false, detail: /cannot be read/ });
});
