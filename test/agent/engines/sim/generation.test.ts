/**
 * What the simulated engine answers: text, ids, continuation, stops, tools, logprobs, embeddings, prefix cache.
 */
import t from 'tap';
import { choices, get, idsOf, post, stream, textOf, type Json } from '../surface/client.ts';
import { eventually, launchSim, metric, type SimProcess } from './launch.ts';

const CHAT = '/v1/chat/completions';
const sim: SimProcess = await launchSim(t, ['--sim-unpaced', '--max-model-len', '4096', '--max-num-seqs', '64']);

async function chat(body: object): Promise<{ frames: Json[]; ids: number[]; text: string; promptIds: number[] }> {
  const open = stream(sim.uds, CHAT, { return_token_ids: true, ...body });
  const how = await open.ended;
  if (how !== 'clean') throw new Error('the stream was dropped');
  return {
    frames: open.frames,
    ids: idsOf(open.frames),
    text: textOf(open.frames),
    promptIds: open.frames[0].prompt_token_ids,
  };
}

const ask = (content: string) => ({
  messages: [{ role: 'user', content }],
  max_tokens: 120,
  ignore_eos: true,
  temperature: 0,
});

t.test('a stream: role first, ids in each chunk, one finish reason, usage before [DONE]', async (t) => {
  const { frames, ids, text, promptIds } = await chat({
    ...ask('hello'),
    max_tokens: 9,
    stream_options: { include_usage: true },
  });
  t.equal(frames[0].choices[0].delta.role, 'assistant');
  t.ok(promptIds.length > 3);
  t.equal(ids.length, 9);
  t.ok(text.startsWith('[simulated] '), text);
  t.same(
    choices(frames)
      .map((choice) => choice.finish_reason)
      .filter(Boolean),
    ['length'],
  );
  t.equal(frames.at(-1), '[DONE]');
  t.same(frames.at(-2).choices, []);
  t.equal(frames.at(-2).usage.completion_tokens, 9);
  t.equal(frames.at(-2).usage.prompt_tokens, promptIds.length);
});

t.test('a plain answer says what the stream says, and the model names itself as simulated', async (t) => {
  const streamed = await chat(ask('same?'));
  const plain = JSON.parse((await post(sim.uds, CHAT, { ...ask('same?'), return_token_ids: true })).text);
  t.equal(plain.choices[0].message.content, streamed.text);
  t.same(plain.choices[0].token_ids, streamed.ids);
  t.same(plain.prompt_token_ids, streamed.promptIds);
  t.equal(plain.object, 'chat.completion');
  const models = JSON.parse((await get(sim.uds, '/v1/models')).text);
  t.match(models.data[0], { id: 'sim', owned_by: 'sophia-sim', simulated: true, max_model_len: 4096 });
});

t.test(
  'a continuation from prompt ids + emitted ids equals the uncut run, cut anywhere, alone or beside others',
  async (t) => {
    const whole = await chat(ask('tell me a long story'));
    t.equal(whole.ids.length, 120);
    t.ok(/[^\u0000-\u007f]/.test(whole.text), 'some of the text is multi-byte');
    const cut = async (at: number): Promise<void> => {
      const body = {
        prompt: [...whole.promptIds, ...whole.ids.slice(0, at)],
        max_tokens: 120 - at,
        ignore_eos: true,
        temperature: 0,
        return_token_ids: true,
      };
      const open = stream(sim.uds, '/v1/completions', body);
      await open.ended;
      t.same(idsOf(open.frames), whole.ids.slice(at), `cut after ${at}`);
    };
    for (const at of [1, 2, 3, 7]) await cut(at);
    await Promise.all(Array.from({ length: 40 }, (_, at) => cut(2 + at * 2)));
  },
);

t.test(
  "text depends on the engine's seed and the prompt; a seeded sampler starts over, so its continuation differs",
  async (t) => {
    const [one, again, other] = [await chat(ask('a')), await chat(ask('a')), await chat(ask('b'))];
    t.same(one.ids, again.ids);
    t.notSame(one.ids, other.ids);
    const seeded = { ...ask('a'), temperature: 0.8, seed: 5 };
    const first = await chat(seeded);
    t.same((await chat(seeded)).ids, first.ids);
    t.notSame(first.ids, one.ids);
    const body = {
      prompt: [...first.promptIds, ...first.ids.slice(0, 20)],
      max_tokens: 30,
      ignore_eos: true,
      temperature: 0.8,
      seed: 5,
      return_token_ids: true,
    };
    const open = stream(sim.uds, '/v1/completions', body);
    await open.ended;
    t.notSame(idsOf(open.frames), first.ids.slice(20, 50));
  },
);

t.test(
  'text arrives in whole characters: no chunk holds a replacement mark, a part of a character has empty text',
  async (t) => {
    const { frames, ids, text } = await chat({ ...ask('many characters please'), max_tokens: 600 });
    t.notMatch(text, '\ufffd');
    const empty = choices(frames).filter((choice) => choice.token_ids?.length > 0 && choice.delta.content === '');
    t.ok(empty.length > 0, 'some token was a part of a character');
    const back = JSON.parse((await post(sim.uds, '/detokenize', { tokens: ids })).text).prompt as string;
    t.ok(back.startsWith(text));
  },
);

t.test('tokenize and detokenize give back any text exactly', async (t) => {
  for (const text of [
    '',
    'plain words',
    'función café naïve',
    '🎉👩‍👩‍👧 x',
    '中文 mixed\twith\n\r\0',
    '<|answer|> in text',
    'a'.repeat(5_000),
  ]) {
    const { tokens, count } = JSON.parse(
      (await post(sim.uds, '/tokenize', { prompt: text, add_special_tokens: false })).text,
    );
    t.equal(count, tokens.length);
    t.equal(JSON.parse((await post(sim.uds, '/detokenize', { tokens })).text).prompt, text);
  }
});

t.test(
  'a stop string that spans tokens ends the text before it, streamed and plain, and none of it leaks',
  async (t) => {
    const whole = await chat(ask('stop somewhere'));
    const from = whole.text.indexOf(' ', 40) - 2;
    const stop = whole.text.slice(from, from + 6);
    const want = whole.text.slice(0, whole.text.indexOf(stop));
    const cut = await chat({ ...ask('stop somewhere'), stop: ['never this', stop] });
    t.equal(cut.text, want);
    t.match(choices(cut.frames).at(-1), { finish_reason: 'stop', stop_reason: stop });
    const plain = JSON.parse((await post(sim.uds, CHAT, { ...ask('stop somewhere'), stop })).text);
    t.equal(plain.choices[0].message.content, want);
    await eventually(
      async () => metric((await get(sim.uds, '/metrics')).text, 'vllm:num_requests_running') === 0,
      1_000,
    );
  },
);

t.test('a stop token id ends the answer and is its stop_reason; EOS ends it unless ignored', async (t) => {
  const whole = await chat(ask('stop at an id'));
  const stopId = whole.ids[10] as number;
  const at = whole.ids.indexOf(stopId);
  const cut = await chat({ ...ask('stop at an id'), stop_token_ids: [stopId] });
  t.same(cut.ids, whole.ids.slice(0, at + 1));
  t.match(choices(cut.frames).at(-1), { finish_reason: 'stop', stop_reason: stopId });
  const natural = await chat({ ...ask('until you are done'), max_tokens: 4_000, ignore_eos: false });
  t.equal(choices(natural.frames).at(-1).finish_reason, 'stop');
  t.equal(natural.ids.at(-1), 2);
});

t.test(
  'tools: a named tool in the last user message is called in proper deltas, several in order, and not after its result',
  async (t) => {
    const tool = (name: string) => ({
      type: 'function',
      function: {
        name,
        parameters: {
          type: 'object',
          required: ['city', 'days'],
          properties: { city: { type: 'string' }, days: { type: 'integer', minimum: 3 }, unit: { enum: ['C'] } },
        },
      },
    });
    const body = {
      messages: [{ role: 'user', content: 'use get_time then get_weather' }],
      tools: [tool('get_weather'), tool('get_time')],
      return_token_ids: true,
    };
    const open = stream(sim.uds, CHAT, body);
    await open.ended;
    const deltas = choices(open.frames).flatMap((choice) => choice.delta.tool_calls ?? []);
    for (const [index, name] of ['get_time', 'get_weather'].entries()) {
      const own = deltas.filter((delta) => delta.index === index);
      t.match(own[0], { type: 'function', function: { name, arguments: '' } });
      t.type(own[0].id, 'string');
      t.equal(own.filter((delta) => delta.id !== undefined).length, 1, 'the id comes once');
      t.ok(own.length > 3, 'arguments come in fragments');
      t.same(JSON.parse(own.map((delta) => delta.function.arguments).join('')), { city: 'simulated city', days: 3 });
    }
    t.same(
      choices(open.frames)
        .map((choice) => choice.finish_reason)
        .filter(Boolean),
      ['tool_calls'],
    );

    const plain = JSON.parse(
      (await post(sim.uds, CHAT, { ...body, tool_choice: { type: 'function', function: { name: 'get_weather' } } }))
        .text,
    );
    t.equal(plain.choices[0].message.content, null);
    t.equal(plain.choices[0].message.tool_calls[0].function.name, 'get_weather');
    t.equal(plain.choices[0].finish_reason, 'stop');

    for (const more of [
      { tool_choice: 'none' },
      { messages: [...body.messages, { role: 'tool', content: 'get_time: 5', tool_call_id: 'x' }] },
    ]) {
      const none = JSON.parse((await post(sim.uds, CHAT, { ...body, max_tokens: 5, ...more })).text);
      t.same(none.choices[0].message.tool_calls, []);
    }
  },
);

t.test('n choices and a batch of prompts are told apart by their index; usage counts all', async (t) => {
  const open = stream(sim.uds, CHAT, {
    ...ask('three'),
    n: 3,
    max_tokens: 5,
    temperature: 0.5,
    seed: 1,
    stream_options: { include_usage: true },
  });
  await open.ended;
  const texts = [0, 1, 2].map((index) =>
    choices(open.frames)
      .filter((choice) => choice.index === index)
      .map((choice) => choice.delta.content)
      .join(''),
  );
  t.equal(new Set(texts).size, 3);
  t.equal(choices(open.frames).filter((choice) => choice.finish_reason).length, 3);
  t.equal(open.frames.at(-2).usage.completion_tokens, 15);
  const batch = JSON.parse((await post(sim.uds, '/v1/completions', { prompt: [[300], [70, 71]], max_tokens: 4 })).text);
  t.same(
    batch.choices.map((choice: Json) => choice.index),
    [0, 1],
  );
});

t.test('logprobs are plausible in both shapes', async (t) => {
  const plain = JSON.parse(
    (await post(sim.uds, CHAT, { ...ask('p'), max_tokens: 6, logprobs: true, top_logprobs: 3 })).text,
  );
  const { content } = plain.choices[0].logprobs;
  t.equal(content.length, 6);
  t.equal(content.map((row: Json) => row.token).join(''), plain.choices[0].message.content);
  for (const row of content) {
    t.ok(row.logprob < 0);
    t.equal(row.top_logprobs.length, 3);
    t.ok(row.top_logprobs.reduce((sum: number, option: Json) => sum + Math.exp(option.logprob), 0) <= 1);
  }
  const completion = JSON.parse(
    (await post(sim.uds, '/v1/completions', { prompt: 'p', max_tokens: 4, logprobs: 2 })).text,
  );
  t.equal(completion.choices[0].logprobs.tokens.length, 4);
});

t.test('embeddings: unit vectors, equal for equal inputs, base64 and float the same', async (t) => {
  const float = JSON.parse(
    (await post(sim.uds, '/v1/embeddings', { input: ['red cat', 'red dog', 'xyz'], encoding_format: 'float' })).text,
  );
  const base = JSON.parse(
    (await post(sim.uds, '/v1/embeddings', { input: 'red cat', encoding_format: 'base64' })).text,
  );
  const [cat, dog, other] = float.data.map((row: Json) => row.embedding as number[]) as [number[], number[], number[]];
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, at) => sum + value * (b[at] as number), 0);
  t.ok(Math.abs(dot(cat, cat) - 1) < 1e-5);
  t.ok(dot(cat, dog) > dot(cat, other), 'shared words, nearer vectors');
  const bytes = Buffer.from(base.data[0].embedding, 'base64');
  t.same([...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))], cat);
  t.equal(
    JSON.parse((await post(sim.uds, '/v1/embeddings', { input: 'x', encoding_format: null })).text).data[0].embedding
      .length,
    384,
  );
});

t.test(
  "the prefix cache reports cached tokens in blocks of 16, and resetting the engine's work shows in metrics",
  async (t) => {
    const prompt = Array.from({ length: 100 }, (_, at) => 300 + at);
    const run = async () =>
      JSON.parse((await post(sim.uds, '/v1/completions', { prompt, max_tokens: 1 })).text).usage.prompt_tokens_details
        .cached_tokens;
    t.equal(await run(), 0);
    t.equal(await run(), 96);
    const { text } = await get(sim.uds, '/metrics');
    t.ok(metric(text, 'vllm:prefix_cache_hits_total') >= 96);
    t.ok(metric(text, 'vllm:iteration_tokens_total_count') > 0);
    t.match(text, /vllm:cache_config_info\{[^}]*block_size="16",num_gpu_blocks="19208"\} 1/);
  },
);
