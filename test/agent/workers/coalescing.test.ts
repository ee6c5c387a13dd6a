/** On a busy thread the tokens of a lane leave together; on an idle one, and with the hold turned off, they do not wait. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { until } from '../../support/fake_scheduler.ts';
import { startStand } from '../support/relay_stand.ts';

/** Keeps this thread busy until it is told to stop: a turn of work in each turn of the event loop. */
function keepBusy(): () => void {
  let stopped = false;
  const turn = (): void => {
    const end = performance.now() + 3;
    while (performance.now() < end) continue;
    if (!stopped) setImmediate(turn);
  };
  turn();
  return () => {
    stopped = true;
  };
}

t.test('tokens that follow each other on a busy thread leave in fewer messages', async (t) => {
  const stand = await startStand(t, { laneHoldMs: 200 });
  const lane = await stand.lane();
  const { answer, exchange } = await stand.begin({ credit: 1e8, autoCredit: false });
  exchange.begin();
  const stop = keepBusy();
  t.teardown(stop);
  let id = 0;
  /** Messages for some tokens that are sent one by one, each in a turn of its own. */
  const messagesFor = async (tokens: number): Promise<number> => {
    const before = lane.messages;
    const from = id;
    while (id < from + tokens) {
      exchange.token(id++);
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => answer.ids.length === id, 'the tokens');
    return lane.messages - before;
  };
  let messages = 20;
  await until(async () => {
    messages = await messagesFor(20);
    return messages <= 10;
  }, 'two tokens and more in a message');
  t.ok(messages <= 10, `${messages} messages for 20 tokens`);
  stop();
  exchange.finish();
  t.match((await answer.ended).done, { finishReason: 'stop' });
});

t.test('with the hold turned off each turn has its message', async (t) => {
  const stand = await startStand(t, { laneHoldMs: 0 });
  const lane = await stand.lane();
  const { answer, exchange } = await stand.begin({ credit: 1e8, autoCredit: false });
  exchange.begin();
  const before = lane.messages;
  for (let id = 0; id < 10; id++) {
    exchange.token(id);
    await until(() => answer.ids.length === id + 1, 'the token');
  }
  t.ok(lane.messages - before >= 10);
});

/** Answers of one engine that have all had their first token. */
async function running(stand: Awaited<ReturnType<typeof startStand>>, count: number) {
  const answers: Awaited<ReturnType<typeof stand.begin>>[] = [];
  for (let i = 0; i < count; i++) answers.push(await stand.begin({ credit: 1e8, autoCredit: false }));
  for (const { exchange } of answers) exchange.begin();
  for (const { exchange } of answers) exchange.token(0);
  await until(() => answers.every(({ answer }) => answer.ids.length === 1), 'the first tokens');
  return answers;
}

t.test('the tokens of a step that come one by one share their messages', async (t) => {
  const stand = await startStand(t, { laneHoldMs: 200 });
  const lane = await stand.lane();
  const answers = await running(stand, 16);
  const steps = 10;
  const before = lane.messages;
  for (let id = 1; id <= steps; id++) {
    for (const { exchange } of answers) {
      exchange.token(id);
      for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => answers.every(({ answer }) => answer.ids.length === id + 1), 'the step');
  }
  const messages = lane.messages - before;
  t.ok(messages <= steps * 8, `${messages} messages for ${steps} steps of 16 tokens`);
  for (const { exchange } of answers) exchange.finish();
  for (const { answer } of answers) t.match((await answer.ended).done, { finishReason: 'stop' });
});

t.test('an answer whose neighbours are silent gets its tokens all the same', async (t) => {
  const stand = await startStand(t, { laneHoldMs: 200 });
  await stand.lane();
  const [speaker, ...silent] = await running(stand, 4);
  for (let id = 1; id <= 5; id++) {
    speaker?.exchange.token(id);
    await until(() => speaker?.answer.ids.length === id + 1, 'the token');
  }
  t.same(speaker?.answer.ids, [0, 1, 2, 3, 4, 5]);
  t.ok(silent.every(({ answer }) => answer.ids.length === 1));
});

t.test('a head leaves with its first token, and alone when that takes its time', async (t) => {
  const stand = await startStand(t, { laneHoldMs: 1_000 });
  const lane = await stand.lane();
  const soon = await stand.begin({ credit: 1e8, autoCredit: false });
  let before = lane.messages;
  soon.exchange.begin();
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  soon.exchange.token(0);
  await until(() => soon.answer.ids.length === 1, 'the first token');
  t.equal(lane.messages - before, 1, 'one message for both');
  const late = await stand.begin({ credit: 1e8, autoCredit: false });
  before = lane.messages;
  late.exchange.begin();
  await until(() => lane.messages > before, 'the head');
  t.same(late.answer.ids, []);
});

t.test('tokens of other answers do not wait for as long as a head does', async (t) => {
  const stand = await startStand(t, { laneHoldMs: 20_000 });
  const lane = await stand.lane();
  const [speaker] = await running(stand, 1);
  // A thread that has just started is busy, and holds tokens for that.
  await sleep(2_000);
  const loading = await stand.begin({ credit: 1e8, autoCredit: false });
  const before = lane.messages;
  loading.exchange.begin();
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(lane.messages, before, 'the head waits');
  speaker?.exchange.token(1);
  await until(() => speaker?.answer.ids.length === 2, 'the token');
  t.equal(lane.messages, before + 1);
});
