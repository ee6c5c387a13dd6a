/**
 * The embedded engine with real weights, as a process over HTTP: determinism alone, side by side and resumed; streams
 * against plain answers; aborts; template; characters that span tokens. Fetches the weights once (98 MB) into the cache.
 */
import { request } from 'node:http';
import { homedir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { EMBEDDED_MAX_SEQUENCES } from '../../../lib/engine_defaults.ts';
import { ensureWeights } from '../../../cli/weights/weights.ts';
import { startChild } from '../../support/child.ts';

const MAIN = fileURLToPath(new URL('../../../agent/engines/llama/main.js', import.meta.url));
const CACHE = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'sophia-fleet');
const MODEL = 'smollm2';
const PROMPTS = [
  'Write a haiku about rain.',
  'Explain TCP in one paragraph.',
  'Count to five in German.',
  'Say something with emojis.',
  'List three fruits.',
  'Why is the sky blue?',
  'Tell me a joke.',
  'Translate good morning into Chinese and Japanese.',
];
const CUTS = [1, 7, 23];
const TOKENS = 32;

interface Choice {
  text?: string;
  delta?: { content?: string };
  message?: { content: string };
  finish_reason: string | null;
  token_ids?: number[] | null;
  prompt_token_ids?: number[];
}
interface Answer {
  choices: Choice[];
  prompt_token_ids?: number[];
  usage?: { prompt_tokens: number; completion_tokens: number };
}
interface Streamed {
  ids: number[];
  promptIds: number[];
  text: string;
  finish: string | undefined;
  done: boolean;
}

// The whole of it, on a busy machine: well above tap's 30 s.
t.setTimeout(600_000);

const weights = await ensureWeights({ cacheDir: CACHE });
if (!weights.ok) {
  t.fail(`the weights cannot be had: ${weights.message} ${weights.whatToDo}`);
  process.exit();
}

const socketPath = path.join(t.testdir(), 'engine.sock');
const engine = startChild(t, {
  args: [
    MAIN,
    '--uds',
    socketPath,
    '--model',
    weights.path,
    '--served-model-name',
    MODEL,
    '--threads',
    '1',
    '--shutdown-timeout',
    '20',
  ],
});
const startedMs = Date.now();
await engine.waitFor(/Application startup complete\./, 60_000);
t.comment(`ready after ${Date.now() - startedMs} ms`);

function call(
  method: string,
  route: string,
  body?: unknown,
): { text: Promise<{ status: number; text: string }>; leave: () => void } {
  let leave = (): void => undefined;
  const text = new Promise<{ status: number; text: string }>((resolve, reject) => {
    const req = request({ socketPath, method, path: route, headers: { 'content-type': 'application/json' } }, (res) => {
      let all = '';
      res.setEncoding('utf8').on('data', (part: string) => {
        all += part;
      });
      res.on('close', () => resolve({ status: res.statusCode ?? 0, text: all }));
    });
    req.on('error', reject);
    leave = () => req.destroy();
    req.end(body === undefined ? undefined : JSON.stringify(body));
  });
  return { text, leave };
}

async function ask(route: string, body: object): Promise<Answer> {
  const { status, text } = await call('POST', route, {
    model: MODEL,
    temperature: 0,
    max_tokens: TOKENS,
    return_token_ids: true,
    ...body,
  }).text;
  if (status !== 200) throw new Error(`${status}: ${text}`);
  return JSON.parse(text) as Answer;
}

async function stream(route: string, body: object): Promise<Streamed> {
  const asked = { model: MODEL, temperature: 0, max_tokens: TOKENS, return_token_ids: true, stream: true, ...body };
  const { status, text } = await call('POST', route, asked).text;
  if (status !== 200) throw new Error(`${status}: ${text}`);
  const frames = text.split('\n\n').filter((frame) => frame.startsWith('data: {'));
  const chunks = frames.map((frame) => JSON.parse(frame.slice(6)) as Answer);
  const choices = chunks.flatMap((chunk) => chunk.choices);
  return {
    ids: choices.flatMap((choice) => choice.token_ids ?? []),
    promptIds: chunks[0]?.prompt_token_ids ?? choices[0]?.prompt_token_ids ?? [],
    text: choices.map((choice) => choice.delta?.content ?? choice.text ?? '').join(''),
    finish: choices.findLast((choice) => choice.finish_reason !== null)?.finish_reason ?? undefined,
    done: text.endsWith('data: [DONE]\n\n'),
  };
}

const chat = (prompt: string, more: object = {}): object => ({
  messages: [{ role: 'user', content: prompt }],
  ...more,
});
const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';

async function running(): Promise<number> {
  const { text } = await call('GET', '/metrics').text;
  const value = /^vllm:num_requests_running\{[^}]*\} (\d+)/m.exec(text)?.[1];
  if (value === undefined) throw new Error('no running count in /metrics');
  return Number(value);
}

async function idleAfterMs(limitMs: number): Promise<number> {
  const sinceMs = Date.now();
  while ((await running()) > 0 && Date.now() - sinceMs < limitMs) await sleep(10);
  return Date.now() - sinceMs;
}

const alone: Streamed[] = [];

t.test(
  'a greedy answer is the same alone and beside seven others, and streamed or plain',
  { timeout: 300_000 },
  async (t) => {
    for (const prompt of PROMPTS) alone.push(await stream(CHAT, chat(prompt)));
    for (const answer of alone) {
      t.ok(answer.done && answer.ids.length > 0);
      t.equal(answer.finish, answer.ids.length === TOKENS ? 'length' : 'stop');
    }
    const together = await Promise.all(PROMPTS.map((prompt) => stream(CHAT, chat(prompt))));
    t.same(
      together.map((answer) => answer.ids),
      alone.map((answer) => answer.ids),
      '8 of 8 by token ids',
    );
    t.same(
      together.map((answer) => answer.text),
      alone.map((answer) => answer.text),
      '8 of 8 by text',
    );
    const plain = await Promise.all(PROMPTS.map((prompt) => ask(CHAT, chat(prompt))));
    t.same(
      plain.map((answer) => answer.choices[0]?.message?.content),
      alone.map((answer) => answer.text),
    );
  },
);

t.test(
  'resumed from prompt ids and emitted ids, an answer goes on as if it had not been cut',
  { timeout: 300_000 },
  async (t) => {
    const cuts = alone.flatMap((whole) => CUTS.filter((cut) => cut < whole.ids.length).map((cut) => ({ whole, cut })));
    const resume = async ({ whole, cut }: (typeof cuts)[number]): Promise<number[]> => {
      const kept = whole.ids.slice(0, cut);
      const rest = await stream(COMPLETIONS, { prompt: [...whole.promptIds, ...kept], max_tokens: TOKENS - cut });
      return [...kept, ...rest.ids];
    };
    const ids: number[][] = [];
    for (let at = 0; at < cuts.length; at += 8) ids.push(...(await Promise.all(cuts.slice(at, at + 8).map(resume))));
    t.ok(cuts.length >= 16, `${cuts.length} cuts`);
    t.same(
      ids,
      cuts.map(({ whole }) => whole.ids),
    );
  },
);

t.test(
  'a client that goes away in the middle of a stream frees the engine within a second',
  { timeout: 60_000 },
  async (t) => {
    const asked = call('POST', CHAT, {
      model: MODEL,
      stream: true,
      max_tokens: 1500,
      ignore_eos: true,
      ...chat('Count to a thousand.'),
    });
    asked.text.catch(() => undefined);
    for (let turn = 0; turn < 500 && (await running()) === 0; turn++) await sleep(10);
    await sleep(300);
    asked.leave();
    const tookMs = await idleAfterMs(5000);
    t.comment(`idle after ${tookMs} ms`);
    t.equal(await running(), 0);
  },
);

t.test(
  'a client that goes away in prefill frees the engine, and the rest of its prompt is not evaluated',
  { timeout: 120_000 },
  async (t) => {
    const before = /^vllm:generation_tokens_total\{[^}]*\} (\d+)/m.exec((await call('GET', '/metrics').text).text)?.[1];
    const prompt = 'The lazy dog jumps over a quick brown fox. '.repeat(180);
    const asked = call('POST', COMPLETIONS, { model: MODEL, prompt, max_tokens: 5, stream: true });
    asked.text.catch(() => undefined);
    for (let turn = 0; turn < 500 && (await running()) === 0; turn++) await sleep(10);
    await sleep(200);
    t.equal(await running(), 1, 'it is in prefill');
    asked.leave();
    const tookMs = await idleAfterMs(5000);
    t.comment(`idle after ${tookMs} ms`);
    t.equal(await running(), 0);
    t.equal(
      /^vllm:generation_tokens_total\{[^}]*\} (\d+)/m.exec((await call('GET', '/metrics').text).text)?.[1],
      before,
      'no token came of it',
    );
  },
);

t.test(
  'messages become the prompt by the template in the file, and a final message can be continued',
  { timeout: 60_000 },
  async (t) => {
    const tokenized = JSON.parse((await call('POST', '/tokenize', { model: MODEL, ...chat('Hi') }).text).text) as {
      tokens: number[];
    };
    const shown = JSON.parse(
      (
        await call('POST', '/tokenize', {
          model: MODEL,
          prompt:
            '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
        }).text
      ).text,
    ) as { tokens: number[] };
    t.same(tokenized.tokens, shown.tokens);
    const messages = [
      { role: 'user', content: 'Name a colour.' },
      { role: 'assistant', content: 'The colour is' },
    ];
    const open = await stream(CHAT, {
      messages,
      add_generation_prompt: false,
      continue_final_message: true,
      max_tokens: 4,
    });
    t.equal(
      open.promptIds.at(-1),
      (JSON.parse((await call('POST', '/tokenize', { model: MODEL, prompt: ' is' }).text).text) as { tokens: number[] })
        .tokens[0],
    );
  },
);

t.test('text in many scripts survives tokens that are parts of characters', { timeout: 60_000 }, async (t) => {
  const text = 'h\u00e9 \u{1f642}\u{1f680} \u4f60\u597d \u3053\u3093\u306b\u3061\u306f \u2014 "q"\t\u0416';
  const { tokens } = JSON.parse((await call('POST', '/tokenize', { model: MODEL, prompt: text }).text).text) as {
    tokens: number[];
  };
  t.ok(tokens.length > [...text].length, 'characters take several tokens');
  t.equal(
    (JSON.parse((await call('POST', '/detokenize', { model: MODEL, tokens }).text).text) as { prompt: string }).prompt,
    text,
  );
  const repeat = '\u{1f600}\u{1f680}\u4f60\u597d\u{1f600}\u{1f680}\u4f60\u597d\u{1f600}\u{1f680}\u4f60\u597d\u{1f600}';
  const streamed = await stream(COMPLETIONS, { prompt: repeat, max_tokens: 24 });
  const plain = await ask(COMPLETIONS, { prompt: repeat, max_tokens: 24 });
  t.equal(streamed.text, plain.choices[0]?.text);
  t.ok(
    streamed.text.length > 0 && Buffer.byteLength(streamed.text) > streamed.text.length,
    `beyond ASCII: ${streamed.text}`,
  );
  t.notMatch(streamed.text.slice(0, -1), /\ufffd/);
});

t.test('min_tokens, stop tokens and seeds are honoured by the real sampler', { timeout: 120_000 }, async (t) => {
  const short = await stream(CHAT, chat('Say only: yes'));
  t.equal(short.finish, 'stop');
  const longer = await stream(CHAT, chat('Say only: yes', { min_tokens: short.ids.length + 5 }));
  t.ok(longer.ids.length >= short.ids.length + 5, `${longer.ids.length} tokens`);
  t.same(longer.ids.slice(0, short.ids.length - 1), short.ids.slice(0, -1));
  const stopped = await stream(CHAT, chat(PROMPTS[1] as string, { stop_token_ids: [alone[1]?.ids[4]] }));
  t.equal(stopped.ids.length, (alone[1]?.ids.indexOf(alone[1].ids[4] as number) ?? -2) + 1);
  const sampled = (seed: number): Promise<Streamed> =>
    stream(CHAT, chat('A short story.', { temperature: 0.9, seed, max_tokens: 12 }));
  const [one, same, other] = [await sampled(7), await sampled(7), await sampled(8)];
  t.same(one.ids, same.ids);
  t.notSame(one.ids, other.ids);
});

t.test('a prompt that takes over a used sequence begins beside streams that run', { timeout: 120_000 }, async (t) => {
  // Every sequence has been used by then, so that a new prompt must cut the cache of one.
  const used = Array.from({ length: EMBEDDED_MAX_SEQUENCES }, (_, i) => ({ prompt: `Number ${i}:`, max_tokens: 2 }));
  await Promise.all(used.map((body) => ask(COMPLETIONS, body)));
  const ended: string[] = [];
  const long = ['The sea', 'The sky', 'The sun'].map((prompt) =>
    stream(COMPLETIONS, { prompt, max_tokens: 150, ignore_eos: true }).then(() => ended.push('long')),
  );
  for (let turn = 0; turn < 500 && (await running()) < long.length; turn++) await sleep(10);
  await sleep(1000);
  await ask(COMPLETIONS, { prompt: 'Once upon a time', max_tokens: 2 }).then(() => ended.push('short'));
  await Promise.all(long);
  t.equal(ended[0], 'short');
});

t.test('SIGTERM lets streams finish, refuses new ones, and ends with code 0', { timeout: 120_000 }, async (t) => {
  const last = stream(CHAT, chat(PROMPTS[1] as string));
  for (let turn = 0; turn < 500 && (await running()) === 0; turn++) await sleep(10);
  engine.signal('SIGTERM');
  await engine.waitFor(/draining in-flight requests count=1/, 10_000);
  t.equal((await call('POST', CHAT, { model: MODEL, ...chat('x') }).text).status, 500);
  t.same((await last).ids, alone[1]?.ids);
  t.match(await engine.exited, { code: 0, signal: null });
});
