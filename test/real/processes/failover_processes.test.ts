/** Whole processes die under running answers: an agent with its engines, and the scheduler itself. */
import t from 'tap';
import { eventually } from '../../support/child.ts';
import { essence, open, type SeenAnswer } from '../../support/cut_streams.ts';
import { simEngine, startFleet, type TestFleet } from '../../support/fleet.ts';
import { readWithReturns } from '../../support/many_repeat.ts';

const MODEL = 'sim/model-a';
const CHAT = '/v1/chat/completions';
const FLAGS = ['--sim-itl-ms', '20'];
const bodies = ['Tell me a story', 'Счастье 🚀', 'const a = 1;'].map((content) => ({
  model: MODEL,
  stream: true,
  max_tokens: 200,
  ignore_eos: true,
  temperature: 0,
  stream_options: { include_usage: true },
  messages: [{ role: 'user', content }],
}));

t.setTimeout(120_000);

const twoNodes = (): Promise<TestFleet> =>
  startFleet(t, {
    engines: [simEngine({ name: 'sim-0', model: MODEL, flags: FLAGS })],
    otherNodes: { other: [simEngine({ name: 'sim-1', model: MODEL, flags: FLAGS })] },
  });

async function uncutOf(fleet: TestFleet): Promise<SeenAnswer[]> {
  const answers = await Promise.all(bodies.map((body) => open(fleet, CHAT, body).answer));
  t.ok(answers.every((answer) => answer.error === undefined && answer.endsWithDone));
  return answers;
}

await t.test('an agent is killed: its streams go on at the other host as if nothing had been', async (t) => {
  const fleet = await twoNodes();
  const uncut = await uncutOf(fleet);
  const streams = [...bodies, ...bodies].map((body) => open(fleet, CHAT, body));
  await eventually('the streams have begun', () => streams.every((stream) => stream.length() > 2000));
  process.kill(fleet.agent.pid, 'SIGKILL');
  await fleet.agent.exited;
  const answers = await Promise.all(streams.map((stream) => stream.answer));
  answers.forEach((answer, at) => t.same(essence(answer), essence(uncut[at % uncut.length] as SeenAnswer)));
  await fleet.restartAgent();
  await fleet.stop();
});

await t.test('the only agent is killed, twice: its streams go on at their engine, each of them once', async (t) => {
  const fleet = await startFleet(t, { engines: [simEngine({ name: 'sim-0', model: MODEL, flags: FLAGS })] });
  const uncut = await uncutOf(fleet);
  const streams = [...bodies, ...bodies, ...bodies].map((body) => open(fleet, CHAT, body));
  let { agent } = fleet;
  for (let deaths = 0; deaths < 2; deaths++) {
    const goal = streams.map((stream) => stream.length() + 2000);
    await eventually('the streams go on', () => streams.every((stream, at) => stream.length() > (goal[at] as number)));
    process.kill(agent.pid, 'SIGKILL');
    await agent.exited;
    agent = await fleet.restartAgent();
  }
  const answers = await Promise.all(streams.map((stream) => stream.answer));
  answers.forEach((answer, at) => t.same(essence(answer), essence(uncut[at % uncut.length] as SeenAnswer)));
  const metrics = await (
    await fetch(`${fleet.url}/metrics`, { headers: { authorization: `Bearer ${fleet.key}` } })
  ).text();
  const resumed = [...metrics.matchAll(/sophia_failover_total\{how="resumed",why="[a-z_]+"\} (\d+)/g)].map(
    ([, count]) => Number(count),
  );
  t.equal(
    resumed.reduce((sum, count) => sum + count, 0),
    2 * streams.length,
    'one attempt after each death, and no more',
  );
  await fleet.stop();
});

/** Opens an answer with a key, and comes back after as many events as it had when it was cut, until it has its end. */
async function withKey(fleet: TestFleet, body: object, key: string): Promise<{ text: string; cuts: number }> {
  let text = '';
  let events = 0;
  for (let cuts = 0; ; cuts++) {
    let raw = '';
    let status = 0;
    try {
      const response = await fetch(`${fleet.url}${CHAT}`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${fleet.key}`,
          'content-type': 'application/json',
          'idempotency-key': key,
          'x-resume-after': String(events),
        },
        body: JSON.stringify(body),
      });
      ({ status } = response);
      const decoder = new TextDecoder();
      for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>)
        raw += decoder.decode(bytes, { stream: true });
    } catch {
      // The connection was refused or cut: that is what this test is about.
    }
    const whole = raw.slice(0, raw.lastIndexOf('\n\n') + 2);
    if (status === 200) {
      const pieces = whole.split('\n\n').filter((event) => event.startsWith('data: {'));
      events += pieces.length;
      for (const piece of pieces) {
        const chunk = JSON.parse(piece.slice(6)) as { choices: { delta: { content?: string } }[] };
        text += chunk.choices[0]?.delta.content ?? '';
      }
      if (whole.endsWith('data: [DONE]\n\n')) return { text, cuts };
    } else if (status !== 0 && status !== 503) throw new Error(`status ${status}: ${raw}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

await t.test('the scheduler is killed: clients with a key get the rest of the very same answer', async (t) => {
  const fleet = await twoNodes();
  const uncut = await uncutOf(fleet);
  const running = bodies.map((body, at) => withKey(fleet, body, `key-${at}`));
  const overMany = readWithReturns(fleet, 'many-key', bodies[1] as object, 20);
  const nothing = open(fleet, CHAT, bodies[0] as object, { 'idempotency-key': 'unread' });
  nothing.answer.catch(() => undefined);
  await eventually('the streams run', () => nothing.length() > 3000);
  process.kill(fleet.scheduler.pid, 'SIGKILL');
  await fleet.scheduler.exited;
  const next = await fleet.restartScheduler();
  const results = await Promise.all(running);
  results.forEach(({ text, cuts }, at) => {
    t.equal(text, uncut[at]?.text);
    t.ok(cuts > 0, 'it was cut');
  });
  const many = await overMany;
  t.equal(many.text, uncut[1]?.text, 'over GenerateMany too');
  t.ok(many.cuts > 1, 'left once by its client, cut once by the death');
  const again = await withKey(fleet, bodies[0] as object, 'unread');
  t.equal(again.text, uncut[0]?.text, 'one that had lost what it had gets all');
  await t.test('a key belongs to one body', async (t) => {
    const other = await open(fleet, CHAT, bodies[1] as object, { 'idempotency-key': 'unread' }).answer;
    t.match(other, { status: 409, error: 'idempotency_conflict' });
    const bad = await open(fleet, CHAT, bodies[1] as object, { 'idempotency-key': 'x'.repeat(300) }).answer;
    t.match(bad, { status: 400, error: 'invalid_value' });
    const count = { 'idempotency-key': 'k', 'x-resume-after': '-1' };
    t.match(await open(fleet, CHAT, bodies[1] as object, count).answer, { status: 400, error: 'invalid_value' });
  });
  await t.test('an ended answer is given again, from any place', async (t) => {
    const whole = await open(fleet, CHAT, bodies[0] as object, { 'idempotency-key': 'unread' }).answer;
    t.equal(whole.text, uncut[0]?.text);
    const rest = await open(fleet, CHAT, bodies[0] as object, { 'idempotency-key': 'unread', 'x-resume-after': '50' })
      .answer;
    t.ok(whole.text.endsWith(rest.text) && rest.text !== '' && rest.roles === 0);
    const plain = { ...bodies[2], stream: false, stream_options: undefined };
    const bothTimes = [1, 2].map(() => open(fleet, CHAT, plain, { 'idempotency-key': 'plain' }).answer);
    const [one, two] = await Promise.all(bothTimes);
    const whose = [one?.status, two?.status].toSorted();
    t.same(whose, [200, 409], 'of two at a time one reads');
  });
  t.ok(next.pid > 0);
  await fleet.stop();
});
