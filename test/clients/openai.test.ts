/** The official `openai` package for Node, unmodified, against a fleet: what it is made for works. */
import OpenAI from 'openai';
import t from 'tap';
import { engineLoad } from '../support/engine_client.ts';
import { eventually } from '../support/child.ts';
import { MODEL, startClientFleet } from './client_fleet.ts';

const { fleet, baseUrl, engine, idle } = await startClientFleet(t);
const client = new OpenAI({ baseURL: baseUrl, apiKey: fleet.key });
const messages = [{ role: 'user' as const, content: 'Tell me about the sea, bitte mit Grüßen 🌊.' }];
const ask = { model: MODEL, messages, max_tokens: 24, temperature: 0 };

const WEATHER = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    description: 'The weather of a city.',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'integer' } },
      required: ['city', 'days'],
    },
  },
};

t.test('a plain chat completion', async (t) => {
  const { data, response, request_id: requestId } = await client.chat.completions.create(ask).withResponse();
  t.equal(data.object, 'chat.completion');
  t.equal(data.model, MODEL);
  t.equal(data.choices[0]?.message.role, 'assistant');
  t.ok((data.choices[0]?.message.content ?? '').length > 20);
  t.equal(data.choices[0]?.finish_reason, 'length');
  t.equal(data.usage?.completion_tokens, 24);
  t.equal(data.usage?.total_tokens, (data.usage?.prompt_tokens ?? 0) + 24);
  t.ok(requestId, 'the id that support would ask for');
  t.equal(response.headers.get('x-request-id'), requestId);
  t.equal(data.id, `chatcmpl-${requestId}`);
  t.ok((await client.chat.completions.create(ask))._request_id, 'it is beside the answer as well');
});

t.test('a streamed one has the same text, one end, and no usage unless asked for', async (t) => {
  const plain = await client.chat.completions.create(ask);
  const chunks = [];
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) chunks.push(chunk);
  t.equal(chunks[0]?.choices[0]?.delta.role, 'assistant');
  t.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), plain.choices[0]?.message.content);
  t.same(
    chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter((reason) => reason != null),
    ['length'],
  );
  t.ok(chunks.every((chunk) => chunk.choices.length === 1 && chunk.usage == null));
  t.same(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  t.notMatch(JSON.stringify(chunks), /token_ids":\[/, 'what the fleet asks of the engine for itself stays inside');
});

t.test('include_usage gives a last chunk without choices', async (t) => {
  const chunks = [];
  const stream = await client.chat.completions.create({
    ...ask,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) chunks.push(chunk);
  t.same(chunks.at(-1)?.choices, []);
  t.equal(chunks.at(-1)?.usage?.completion_tokens, 24);
  t.ok(chunks.slice(0, -1).every((chunk) => chunk.usage == null && chunk.choices.length === 1));
});

t.test('the helper that collects a stream', async (t) => {
  const stream = client.chat.completions.stream({ ...ask, stream_options: { include_usage: true } });
  const plain = await client.chat.completions.create(ask);
  t.equal(await stream.finalContent(), plain.choices[0]?.message.content);
  t.equal((await stream.totalUsage()).completion_tokens, 24);
});

t.test('several choices at once', async (t) => {
  const { choices, usage } = await client.chat.completions.create({ ...ask, n: 2, temperature: 1 });
  t.same(
    choices.map((choice) => choice.index),
    [0, 1],
  );
  t.equal(usage?.completion_tokens, 48);
});

t.test('completions, plain and streamed', async (t) => {
  const request = { model: MODEL, prompt: 'Once upon a time', max_tokens: 16, temperature: 0 };
  const plain = await client.completions.create(request);
  t.equal(plain.object, 'text_completion');
  t.equal(plain.usage?.completion_tokens, 16);
  let text = '';
  for await (const chunk of await client.completions.create({ ...request, stream: true }))
    text += chunk.choices[0]?.text ?? '';
  t.ok(text.length > 10);
  t.equal(text, plain.choices[0]?.text);
});

t.test('embeddings in both encodings are the same numbers', async (t) => {
  const input = ['the sea is blue', 'der Ozean 🌊'];
  const byDefault = await client.embeddings.create({ model: MODEL, input });
  const asFloats = await client.embeddings.create({ model: MODEL, input, encoding_format: 'float' });
  t.equal(byDefault.data.length, 2);
  for (const [index, { embedding }] of byDefault.data.entries()) {
    const floats = asFloats.data[index]?.embedding ?? [];
    t.ok(embedding.length >= 8 && embedding.length === floats.length);
    t.ok(
      embedding.every((value, at) => Math.abs(value - (floats[at] ?? 9)) < 1e-6),
      'base64 is what the client asks for by itself',
    );
  }
  t.not(byDefault.data[0]?.embedding[0], byDefault.data[1]?.embedding[0]);
  t.ok(byDefault.usage.prompt_tokens > 0);
  const raw = await client.embeddings.create({ model: MODEL, input: 'x', encoding_format: 'base64' });
  t.type(raw.data[0]?.embedding, 'string');
});

t.test('models, also one whose name has a slash', async (t) => {
  const found = [];
  for await (const model of client.models.list()) found.push(model);
  const listed = found.find((model) => model.id === MODEL);
  t.match(listed, { object: 'model', owned_by: String, created: Number });
  t.ok((listed?.created ?? 0) > 1_600_000_000, 'seconds of these years');
  const { _request_id: requestId, ...one } = await client.models.retrieve(MODEL);
  t.ok(requestId);
  t.same(one, listed);
});

t.test('tool calls arrive as deltas that can be put together', async (t) => {
  const content = 'Please call get_weather for Köln.';
  const stream = await client.chat.completions.create({
    ...ask,
    messages: [{ role: 'user', content }],
    tools: [WEATHER],
    max_tokens: 200,
    stream: true,
  });
  const deltas = [];
  const ends = [];
  for await (const { choices } of stream) {
    deltas.push(...(choices[0]?.delta.tool_calls ?? []));
    if (choices[0]?.finish_reason != null) ends.push(choices[0].finish_reason);
  }
  const [first, ...rest] = deltas;
  t.match(first, { index: 0, type: 'function', function: { name: 'get_weather' } });
  t.ok(first?.id, 'the first delta has the id');
  t.ok(rest.length > 1, 'arguments come in pieces');
  t.ok(
    rest.every((delta) => delta.index === 0 && (delta.id ?? first?.id) === first?.id),
    'and none changes it',
  );
  t.match(JSON.parse(deltas.map((delta) => delta.function?.arguments ?? '').join('')), { city: String, days: Number });
  t.same(ends, ['tool_calls']);
});

t.test('the helper that runs tools goes the whole round', async (t) => {
  const asked: unknown[] = [];
  const runner = client.chat.completions.runTools({
    model: MODEL,
    temperature: 0,
    messages: [{ role: 'user', content: 'Use get_weather.' }],
    tools: [
      {
        type: 'function',
        function: {
          ...WEATHER.function,
          parse: JSON.parse as (text: string) => object,
          function: (args: object) => {
            asked.push(args);
            return 'rain';
          },
        },
      },
    ],
  });
  t.ok(((await runner.finalContent()) ?? '').length > 5, 'text after the result');
  t.match(asked, [{ city: String, days: Number }]);
  t.same(
    runner.messages.map((message) => message.role),
    ['user', 'assistant', 'tool', 'assistant'],
  );
});

t.test('a stream that is left is not worked on', async (t) => {
  const endless = { ...ask, max_tokens: 8000, ignore_eos: true, stream: true as const };
  const ways = {
    'by abort()': (stream: { controller: AbortController }) => stream.controller.abort(),
    'by leaving the loop': undefined,
  };
  for (const [name, abort] of Object.entries(ways)) {
    const stream = await client.chat.completions.create(endless);
    let chunks = 0;
    for await (const chunk of stream) {
      chunks += chunk.choices.length;
      if (chunks === 5) {
        t.equal((await engineLoad(engine.address)).running, 1);
        if (abort === undefined) break;
        abort(stream);
      }
    }
    t.ok(chunks >= 5 && chunks < 4000, name);
    await idle();
  }
});

t.test('a plain request that is aborted is not worked on', async (t) => {
  const controller = new AbortController();
  const answer = client.chat.completions.create({ ...ask, max_tokens: 8000, ignore_eos: true } as never, {
    signal: controller.signal,
  });
  await eventually('the engine works on it', async () => (await engineLoad(engine.address)).running === 1);
  controller.abort();
  await t.rejects(answer as Promise<unknown>, { name: 'Error', message: /aborted/i });
  await idle();
});

t.test('the fleet stops and leaves no process behind', async (t) => {
  await fleet.stop();
  t.pass('nothing is left');
});
