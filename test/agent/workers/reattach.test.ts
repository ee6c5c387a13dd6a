/** A lost lane is not an abort: what goes on, what is sent again, who gets it, and where the bounds are. */
import t from 'tap';
import { until } from '../../support/fake_scheduler.ts';
import { startStand } from '../support/relay_stand.ts';

const texts = (from: number, to: number): string => {
  let all = '';
  for (let id = from; id < to; id++) all += `t${id} `;
  return all;
};

/** The words of all chunks of an event stream. */
const words = (sse: string): string => [...sse.matchAll(/"text":"([^"]*)"/g)].map((match) => match[1]).join('');

/** A scheduler whose client has taken nothing yet: all of the answer is kept. */
const unread = { credit: 1_000_000, autoCredit: false };

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, at) => from + at);

t.test('a stream goes on after its lane was lost, from the token that the scheduler asks for', async (t) => {
  const stand = await startStand(t);
  const first = await stand.lane();
  const { answer, exchange } = await stand.begin({ ...unread, meta: { requestId: 'again' } });
  exchange.begin();
  for (const id of numbers(0, 5)) {
    exchange.token(id);
    await until(() => answer.ids.length > id, 'a token');
  }
  const second = await stand.cut(first);
  await until(() => stand.stats()?.counters.detached === 1, 'the request to run without a lane');
  for (const id of numbers(5, 9)) exchange.token(id);
  const next = second.attach('again', { index: 3 });
  await until(() => next.ids.length >= 6, 'what was missed');
  t.ok(next.head, 'the head comes again');
  exchange.token(9);
  exchange.finish();
  await next.ended;
  t.same(next.ids, numbers(3, 10));
  t.equal(words(next.text), texts(3, 10));
  t.match(next.done, { finishReason: 'stop' });
  t.equal(next.frames[0]?.index, 3);
  t.equal(exchange.gone(), false);
  await until(() => stand.stats()?.openByEngine['raw'] === 0, 'nothing is open');
  t.match(stand.stats()?.counters, { detached: 0, detachedTotal: 1, reattachedTotal: 1, expiredTotal: 0 });
});

t.test('by the count of bytes the place is exact where events without a token stand', async (t) => {
  const stand = await startStand(t);
  const { answer, exchange } = await stand.begin({ ...unread, meta: { requestId: 'exact' } });
  exchange.begin();
  exchange.event('{"id":"a","choices":[{"index":0,"text":"role","finish_reason":null}]}');
  await until(() => answer.text.includes('role'), 'the first event');
  const had = Buffer.byteLength(answer.text);
  const second = await stand.cut(await stand.lane());
  exchange.token(0);
  const exact = second.attach('exact', { ...unread, index: 0, hadBytes: had });
  await until(() => exact.ids.length === 1, 'the token');
  t.notMatch(exact.text, 'role', 'what it had does not come again');
  const third = await stand.cut(second);
  const rough = third.attach('exact', { index: 0 });
  await until(() => rough.ids.length === 1, 'the token');
  t.match(rough.text, 'role', 'without the count it comes again rather than never');
  const wrong = await third.attach('exact', { index: 0, hadBytes: had + 1, attempt: 1 }).ended;
  t.match(wrong.failed, { code: 'stream_lost' }, 'a count that no event ends at');
});

t.test('the ids of earlier tokens come when they are wanted', async (t) => {
  const stand = await startStand(t);
  const { answer, exchange } = await stand.begin({ meta: { requestId: 'ids' } });
  exchange.begin();
  for (const id of numbers(0, 4)) exchange.token(id);
  await until(() => answer.ids.length === 4, 'tokens');
  const second = await stand.cut(await stand.lane());
  const next = second.attach('ids', { index: 4, withIds: true });
  exchange.token(4);
  exchange.finish();
  await next.ended;
  t.same(next.ids, numbers(0, 5));
  t.same(next.frames[0] && [next.frames[0].index, next.frames[0].bytes], [0, 0]);
  t.equal(words(next.text), 't4 ', 'their text does not come again');
});

t.test('an end during the gap is kept, and so is one that was sent into the dying lane', async (t) => {
  const stand = await startStand(t);
  const first = await stand.lane();
  const gap = await stand.begin({ ...unread, meta: { requestId: 'gap' } });
  const late = await stand.begin({ meta: { requestId: 'late' } });
  const plain = await stand.begin({ body: { model: 'raw', input: 'x' }, meta: { requestId: 'plain' } });
  const failed = await stand.begin({ meta: { requestId: 'failed' } });
  late.exchange.begin();
  late.exchange.token(0);
  late.exchange.finish();
  await late.answer.ended;
  const second = await stand.cut(first);
  gap.exchange.begin();
  gap.exchange.token(0);
  gap.exchange.finish();
  plain.exchange.json(200, { data: 'whole', usage: { prompt_tokens: 3, completion_tokens: 0, total_tokens: 3 } });
  failed.exchange.begin();
  failed.exchange.token(0);
  failed.exchange.event('{"error":{"message":"EngineCore died","code":500}}');
  await until(() => stand.stats()?.openByEngine['raw'] === 0, 'all of them to end');
  const ended = await second.attach('gap').ended;
  t.same(ended.ids, [0]);
  t.match(ended.done, { finishReason: 'stop' });
  t.match((await second.attach('late', { index: 1 }).ended).done, { finishReason: 'stop' });
  const body = await second.attach('plain').ended;
  t.match(JSON.parse(body.text), { data: 'whole' });
  t.match(body.done, { usage: { promptTokens: 3 } });
  const fault = await second.attach('failed').ended;
  t.same(fault.ids, [0], 'the tokens before the failure come first');
  t.match(fault.failed, { code: 'engine_failed' });
  await until(() => stand.stats()?.progress['raw']?.figures.faults === 1, 'the fault to be told');
});

t.test(
  'without credit the engine waits, and a scheduler that comes back takes the rest at its own speed',
  async (t) => {
    const stand = await startStand(t);
    const { exchange } = await stand.begin({ credit: 2000, autoCredit: false, meta: { requestId: 'slow' } });
    const second = await stand.cut(await stand.lane());
    exchange.begin();
    const event = 'x'.repeat(1000);
    for (const id of numbers(0, 2000)) exchange.token(id, event);
    await until(() => stand.stats()?.progress['raw']?.figures.stalled === 1, 'the engine to be held back');
    t.ok(exchange.socket.writableLength > 0, 'its socket is full');
    const next = second.attach('slow', { credit: 1500, autoCredit: false });
    await until(() => next.frames.length > 0, 'as much as its credit');
    t.ok(next.ids.length < 300);
    exchange.finish();
    second.grant(next, 100_000_000);
    await next.ended;
    t.same(next.ids, numbers(0, 2000));
  },
);

t.test('what nobody comes back for is aborted after the grace; with none at once', async (t) => {
  for (const laneGraceMs of [300, 0]) {
    const stand = await startStand(t, { laneGraceMs });
    const { exchange } = await stand.begin({ meta: { requestId: 'lost' } });
    exchange.begin();
    exchange.token(0);
    const second = await stand.cut(await stand.lane());
    await until(() => exchange.gone(), 'the engine to be told');
    t.match((await second.attach('lost').ended).failed, { code: 'not_found' });
    await until(() => stand.stats()?.openByEngine['raw'] === 0, 'nothing is open');
    const { detachedTotal, expiredTotal, detached } = stand.stats()?.counters ?? {};
    t.same([detachedTotal, expiredTotal, detached], laneGraceMs === 0 ? [0, 0, 0] : [1, 1, 0]);
  }
});

t.test(
  'a second attach takes the request over; an older attempt, another life and a wrong place are refused',
  async (t) => {
    const stand = await startStand(t);
    const lane = await stand.lane();
    const { answer, exchange } = await stand.begin({ attempt: 1, meta: { requestId: 'mine' } });
    exchange.begin();
    exchange.token(0);
    await until(() => answer.ids.length === 1, 'a token');
    t.match((await lane.attach('mine', { attempt: 0 }).ended).failed, { code: 'already_exists' });
    t.match((await lane.attach('mine', { attempt: 1, incarnation: 6 }).ended).failed, { code: 'engine_died' });
    t.match((await lane.attach('mine', { attempt: 1, index: 2 }).ended).failed, { code: 'stream_lost' });
    t.match((await lane.attach('a b').ended).failed, { code: 'not_found' });
    const taken = lane.attach('mine', { attempt: 2, index: 1, incarnation: 7 });
    t.match((await answer.ended).failed, { code: 'stream_lost' }, 'the first is told');
    exchange.token(1);
    exchange.finish();
    await taken.ended;
    t.same(taken.ids, [1]);
    t.equal(answer.late, 0);
  },
);

t.test('a later attempt without an attach ends the one that runs without a lane', async (t) => {
  const stand = await startStand(t);
  const { exchange } = await stand.begin({ meta: { requestId: 'moved' } });
  exchange.begin();
  const second = await stand.cut(await stand.lane());
  const other = await stand.begin({ meta: { requestId: 'moved' }, attempt: 1 }, second);
  await until(() => exchange.gone(), 'the old attempt to be aborted');
  other.exchange.begin();
  other.exchange.finish();
  t.match((await other.answer.ended).done, { finishReason: 'stop' });
});

t.test('a request that outgrows what is kept cannot be come back for, and is counted', async (t) => {
  for (const bound of [{ maxJournalTokens: 3 }, { maxRetainedBytes: 1000 }]) {
    const stand = await startStand(t, bound);
    const { answer, exchange } = await stand.begin({ meta: { requestId: 'long' } });
    exchange.begin();
    for (const id of numbers(0, 8)) {
      exchange.token(id);
      await until(() => answer.ids.length > id, 'a token');
    }
    await until(() => stand.stats()?.counters.unattachableTotal === 1, 'the count');
    const second = await stand.cut(await stand.lane());
    await until(() => exchange.gone(), 'it is aborted with its lane');
    t.match((await second.attach('long', { index: 8 }).ended).failed, { code: 'not_found' });
  }
});

t.test('a long plain answer comes again from its first byte', async (t) => {
  const stand = await startStand(t, { maxRetainedBytes: 64 << 20 });
  const { answer, exchange } = await stand.begin({
    body: { model: 'raw' },
    credit: 1_500_000,
    autoCredit: false,
    meta: { requestId: 'big' },
  });
  const text = 'y'.repeat(3_000_000);
  exchange.json(200, { text });
  await until(() => answer.text.length > 1_000_000, 'the first part');
  const second = await stand.cut(await stand.lane());
  const whole = await second.attach('big', { credit: 10_000_000 }).ended;
  t.equal(whole.text, JSON.stringify({ text }));
  t.ok(whole.done);
});

t.test('a scheduler that is taken off the list loses its lane, and a stop aborts what runs without one', async (t) => {
  const stand = await startStand(t);
  const { exchange } = await stand.begin({ meta: { requestId: 'r' } });
  exchange.begin();
  stand.tell({ kind: 'schedulers', addresses: [] });
  await until(() => stand.stats()?.counters.detached === 1, 'it runs on');
  t.equal(exchange.gone(), false);
  stand.tell({ kind: 'schedulers', addresses: [stand.scheduler.address] });
  await until(() => stand.stats()?.lanes === 1, 'the lane to come back');
  stand.tell({ kind: 'stop', graceMs: 5000 });
  await until(() => exchange.gone(), 'the engine to be told at once', 3000);
});

t.test('of the ended requests the newest are kept, as many as the bound says', async (t) => {
  const stand = await startStand(t, {}, (exchange) => exchange.json(200, {}));
  const lane = await stand.lane();
  let last = '';
  for (let round = 0; round < 22; round++) {
    const answers = lane.submitAll(
      Array.from({ length: 50 }, (_, at) => {
        last = `ended-${round * 50 + at}`;
        return { engine: 'raw', path: '/v1/completions', body: {}, meta: { requestId: last } };
      }),
    );
    await Promise.all(answers.map((answer) => answer.ended));
  }
  t.match((await lane.attach('ended-0').ended).failed, { code: 'not_found' });
  t.ok((await lane.attach(last).ended).done);
  t.equal((await lane.attach(last).ended).text, '{}', 'and again');
});

t.test('a number of a stream that is in use breaks the lane', async (t) => {
  const stand = await startStand(t);
  const lane = await stand.lane();
  const { answer } = await stand.begin({ meta: { requestId: 'twice' } });
  const lanes = stand.scheduler.lanes.length;
  lane.attachAs(answer.stream, 'twice');
  await until(() => stand.scheduler.lanes.length > lanes, 'the lane to be made anew');
});
