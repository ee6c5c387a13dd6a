/** Engines of a whole fleet are killed in the middle of streams: every answer is as if nothing had happened. */
import t, { type Test } from 'tap';
import { eventually } from '../support/child.ts';
import { essence, open, type SeenAnswer } from '../support/cut_streams.ts';
import { simEngine, startFleet } from '../support/fleet.ts';

const MODEL = 'sim/model-a';
const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';

t.setTimeout(120_000);
const fleet = await startFleet(t, {
  engines: ['sim-0', 'sim-1', 'sim-2'].map((name) => simEngine({ name, model: MODEL, flags: ['--sim-itl-ms', '15'] })),
  agent: { restartBaseMs: 100 },
});

interface EngineView {
  readonly routable: boolean;
  readonly runningRequests: number;
  readonly event: { readonly engine: string; readonly pid: number };
}

const engines = async (): Promise<readonly EngineView[]> =>
  (await fleet.admin<{ engines: EngineView[] }>('ListEngines')).engines;

const user = (content: string): readonly object[] => [{ role: 'user', content }];
const base = { model: MODEL, stream: true, max_tokens: 160, ignore_eos: true, temperature: 0 };

/** Requests of every shape that goes on in the middle. */
const REQUESTS: readonly { readonly name: string; readonly path: string; readonly body: object }[] = [
  { name: 'a chat', path: CHAT, body: { ...base, messages: user('Tell me a story') } },
  {
    name: 'a chat with usage',
    path: CHAT,
    body: { ...base, messages: user('Count'), stream_options: { include_usage: true } },
  },
  {
    name: 'a chat with token ids',
    path: CHAT,
    body: { ...base, messages: user('Ids, please'), return_token_ids: true },
  },
  { name: 'a chat in many scripts', path: CHAT, body: { ...base, messages: user('🚀 Привет, 世界! שלום e\u0301') } },
  { name: 'a chat about code', path: CHAT, body: { ...base, messages: user('```ts\nconst a = "\\n";\n```') } },
  { name: 'a completion', path: COMPLETIONS, body: { ...base, prompt: 'Once upon a time' } },
  {
    name: 'a completion from token ids with usage',
    path: COMPLETIONS,
    body: { ...base, prompt: [20, 30, 40], return_token_ids: true, stream_options: { include_usage: true } },
  },
  {
    name: 'a chat without a limit',
    path: CHAT,
    body: { model: MODEL, stream: true, temperature: 0, messages: user('Go on') },
  },
  {
    name: 'a chat with log probabilities',
    path: CHAT,
    body: { ...base, messages: user('Odds'), logprobs: true, top_logprobs: 2 },
  },
  {
    name: 'a chat with stop strings',
    path: CHAT,
    body: { ...base, messages: user('Halt'), stop: ['nowhere', ' tensor weight'] },
  },
];

function checkForm(t: Test, name: string, answer: SeenAnswer, path: string): void {
  t.equal(answer.error, undefined, `${name}: no error`);
  t.ok(answer.endsWithDone, `${name}: ends with [DONE]`);
  t.equal(answer.heads.length, 1, `${name}: all chunks have one id, time, model and object`);
  t.equal(answer.roles, path === CHAT ? 1 : 0, `${name}: one chunk names the role`);
  t.equal(answer.finishReasons.length, 1, `${name}: one finish reason`);
}

await t.test('a killed engine changes nothing in any answer', async (t) => {
  const uncut = await Promise.all(REQUESTS.map(({ path, body }) => open(fleet, path, body).answer));
  REQUESTS.forEach(({ name, path }, at) => checkForm(t, `${name}, uncut`, uncut[at] as SeenAnswer, path));
  for (const round of [0, 1, 2]) {
    await eventually('all engines serve', async () => (await engines()).every((engine) => engine.routable));
    const streams = REQUESTS.map(({ path, body }) => open(fleet, path, body));
    await eventually('the streams have begun', () => streams.every((stream) => stream.length() > 900 + 300 * round));
    const victim = (await engines()).find((engine) => engine.event.engine === `sim-${round}`);
    process.kill(-(victim?.event.pid ?? 0), 'SIGKILL');
    const answers = await Promise.all(streams.map((stream) => stream.answer));
    REQUESTS.forEach(({ name, path }, at) => {
      checkForm(t, name, answers[at] as SeenAnswer, path);
      t.same(essence(answers[at] as SeenAnswer), essence(uncut[at] as SeenAnswer), `${name}: as uncut`);
    });
  }
});
