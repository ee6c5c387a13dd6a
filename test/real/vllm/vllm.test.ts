/**
 * What the agent takes for granted about vLLM's answers, asked of vLLM itself, on a Unix socket and on a port. When a
 * new release breaks one of these, the agent's adapter and the simulated engine have to follow.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { Vllm } from './engine.ts';
import { askJson, chunksOf, longCompletion, metric, textOf, tokenIdsOf, withTwoEngines } from './engine_view.ts';
import { type Address, eventData, exchange, open, parseResponse } from './wire_capture.ts';

const PROMPTS = [
  'The capital of France is',
  'Once upon a time there was',
  'def fibonacci(n):',
  'Water boils at',
  'Repeat: 日本語 🙂 naïve café',
];

const chatBody = (content: string, more: object = {}) => ({
  model: 'smollm2',
  messages: [{ role: 'user', content }],
  temperature: 0,
  max_tokens: 12,
  ...more,
});

const idsOf = async (address: Address, prompt: string | readonly number[], tokens: number) =>
  tokenIdsOf(chunksOf((await exchange(address, longCompletion(prompt, tokens))).raw));

// Steps of 128 tokens make a long prompt take many steps, so that a client can go away in the middle of its prefill.
const SMALL_STEPS = ['--max-num-batched-tokens', '128', '--max-num-seqs', '16'];

t.setTimeout(1_200_000);

t.test('vLLM answers as the agent expects', async (t) => {
  await withTwoEngines([SMALL_STEPS, []], async (onSocket, onPort) => {
    await shapes(t, onPort.address);
    await sameOnSocketAndPort(t, onSocket, onPort);
    await refusals(t, onSocket.address);
    await probes(t, onSocket);
    await aborts(t, onSocket.address);
  });
});

async function shapes(t: Tap, address: Address): Promise<void> {
  await t.test('a chat stream: role first, ids with every token, usage last, the id from the request', async (t) => {
    const body = chatBody('Say hello.', {
      stream: true,
      return_token_ids: true,
      stream_options: { include_usage: true },
    });
    const { raw, end } = await exchange(address, {
      method: 'POST',
      path: '/v1/chat/completions',
      body,
      headers: { 'x-request-id': 'abc-1' },
    });
    const response = parseResponse(raw);
    t.match(response.headers.get('content-type'), /^text\/event-stream/);
    t.equal(response.headers.get('x-request-id'), undefined, 'the header is not echoed unless asked by a flag');
    t.equal(end, 'complete');
    t.equal(eventData(response.body).at(-1), '[DONE]');
    const chunks = chunksOf(raw);
    t.ok(chunks.every((chunk) => chunk.id === 'chatcmpl-abc-1'));
    t.equal(chunks[0]?.choices[0]?.delta?.role, 'assistant');
    const last = chunks.at(-1);
    t.same(last?.choices, []);
    t.equal(last?.usage?.completion_tokens, tokenIdsOf(chunks).length);
    t.equal(last?.usage?.prompt_tokens, chunks[0]?.prompt_token_ids?.length);
    t.equal(chunks.filter((chunk) => (chunk.choices[0]?.finish_reason ?? null) !== null).length, 1);
    const plain = await askJson(address, '/v1/chat/completions', chatBody('Say hello.'));
    t.match(plain.body, { choices: [{ message: { content: textOf(chunks) } }] });
  });

  await t.test('a completion stream: the ids of the prompt stand in the first choice only', async (t) => {
    const chunks = chunksOf((await exchange(address, longCompletion(PROMPTS[0] ?? '', 6))).raw);
    t.equal(chunks[0]?.choices[0]?.prompt_token_ids?.length, 5);
    t.ok(chunks.slice(1).every((chunk) => (chunk.choices[0]?.prompt_token_ids ?? null) === null));
    const text = await askJson(address, '/detokenize', { model: 'smollm2', tokens: tokenIdsOf(chunks) });
    t.match(text.body, { prompt: textOf(chunks) });
  });
}

async function sameOnSocketAndPort(t: Tap, onSocket: Vllm, onPort: Vllm): Promise<void> {
  await t.test(
    'greedy answers are the same on both engines, and a continuation from ids equals the uncut run',
    async (t) => {
      for (const prompt of PROMPTS) {
        const whole = await idsOf(onPort.address, prompt, 20);
        t.equal(whole.length, 20);
        t.same(await idsOf(onSocket.address, prompt, 20), whole, prompt);
        const { body } = await askJson(onPort.address, '/tokenize', { model: 'smollm2', prompt });
        const { tokens } = body as { tokens: number[] };
        t.same(
          await idsOf(onPort.address, [...tokens, ...whole.slice(0, 7)], 13),
          whole.slice(7),
          `${prompt}, cut after 7`,
        );
      }
    },
  );
}

async function refusals(t: Tap, address: Address): Promise<void> {
  const cases: readonly (readonly [string, object, number, string])[] = [
    ['an unknown model', chatBody('Hi', { model: 'other' }), 404, 'NotFoundError'],
    ['a prompt that is too long', chatBody('word '.repeat(3000)), 400, 'BadRequestError'],
    ['the same, streamed', chatBody('word '.repeat(3000), { stream: true }), 400, 'BadRequestError'],
    ['a wrong type', chatBody('Hi', { messages: 'none' }), 400, 'Bad Request'],
  ];
  for (const [name, body, status, type] of cases) {
    await t.test(`${name} is refused in OpenAI's shape, before any stream starts`, async (t) => {
      const answer = await askJson(address, '/v1/chat/completions', body);
      t.equal(answer.status, status);
      t.match(answer.body, { error: { message: String, type, code: status } });
    });
  }
}

async function probes(t: Tap, engine: Vllm): Promise<void> {
  await t.test('the series and the start-up milestones the agent reads are there', async (t) => {
    for (const name of [
      'num_requests_running',
      'num_requests_waiting',
      'kv_cache_usage_perc',
      'prompt_tokens_total',
      'generation_tokens_total',
      'num_preemptions_total',
      'iteration_tokens_total_count',
      'time_to_first_token_seconds_count',
    ]) {
      t.type(await metric(engine.address, `vllm:${name}`), 'number', name);
    }
    // The device's name stands before "KV cache size": GPU there, CPU here.
    for (const milestone of [
      /Initializing a V1 LLM engine/,
      /Loading weights took [\d.]+ seconds/,
      /[CG]PU KV cache size: [\d,]+ tokens/,
      /init engine \(.*\) took [\d.]+ s/,
      /Application startup complete/,
    ]) {
      t.match(engine.log(), milestone);
    }
  });
}

/** Polls until vLLM reports this many requests running; the milliseconds it took. */
async function untilRunning(address: Address, count: number): Promise<number> {
  const start = performance.now();
  while ((await metric(address, 'vllm:num_requests_running')) !== count) {
    if (performance.now() - start > 20_000) throw new Error(`vLLM never reported ${count} running requests`);
    await sleep(10);
  }
  return Math.round(performance.now() - start);
}

async function aborts(t: Tap, address: Address): Promise<void> {
  const generated = () => metric(address, 'vllm:generation_tokens_total');

  await t.test(
    'a client that leaves mid-stream stops its request within a second, and no abort is counted',
    async (t) => {
      const counted = () => metric(address, 'vllm:request_success_total', 'finished_reason="abort"');
      const before = await counted();
      const stream = open(address, longCompletion('Count: one, two,', 1500));
      await stream.until('"token_ids":[');
      await sleep(300);
      t.equal(await metric(address, 'vllm:num_requests_running'), 1);
      stream.drop();
      const took = await untilRunning(address, 0);
      t.ok(took < 1_000, `idle after ${took} ms`);
      const tokens = await generated();
      await sleep(1_000);
      t.equal(await generated(), tokens, 'no token is made for nobody');
      t.equal(await counted(), before);
    },
  );

  await t.test('a client that leaves during prefill stops it, at the latest after the step in progress', async (t) => {
    const prompt = Array.from({ length: 1800 }, (_, at) => 1000 + ((at * 7919) % 40_000));
    const tokens = await generated();
    const stream = open(address, longCompletion(prompt, 50));
    // The head of a streamed answer is sent before the prefill; a body would mean that it is already over.
    await stream.until('200 OK');
    await untilRunning(address, 1);
    t.notOk(stream.received().includes('data:'), 'still in prefill');
    stream.drop();
    const took = await untilRunning(address, 0);
    t.ok(took < 1_000, `idle after ${took} ms`);
    await sleep(1_000);
    t.equal(await generated(), tokens, 'the abandoned prompt made no token');
    t.equal(await metric(address, 'vllm:num_requests_waiting'), 0);
  });

  await t.test('a client that leaves a plain request stops it too', async (t) => {
    const request = longCompletion('Count: one, two,', 1500);
    const plain = open(address, { ...request, body: { ...(request.body as object), stream: false } });
    await untilRunning(address, 1);
    plain.drop();
    const took = await untilRunning(address, 0);
    t.ok(took < 1_000, `idle after ${took} ms`);
    const tokens = await generated();
    await sleep(500);
    t.equal(await generated(), tokens);
  });
}

type Tap = Pick<typeof t, 'test'>;
