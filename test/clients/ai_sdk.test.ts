/** The Vercel AI SDK with its provider for OpenAI-compatible servers, unmodified, against a fleet. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, embed, embedMany, generateText, RetryError, stepCountIs, streamText, tool } from 'ai';
import t from 'tap';
import { z } from 'zod';
import { armFault, clearFaults, engineLoad } from '../support/engine_client.ts';
import { MODEL, startClientFleet } from './client_fleet.ts';

const { fleet, baseUrl, engine, idle } = await startClientFleet(t);
const provider = createOpenAICompatible({ name: 'fleet', baseURL: baseUrl, apiKey: fleet.key, includeUsage: true });
const model = provider(MODEL);
const ask = { model, prompt: 'Tell me about rivers, naïve café 🚣.', maxOutputTokens: 24, temperature: 0 };

const weather = tool({
  description: 'The weather of a city.',
  inputSchema: z.object({ city: z.string(), days: z.number() }),
  execute: ({ city, days }) => ({ report: `rain in ${city} for ${days} days` }),
});

t.test('generateText', async (t) => {
  const { text, finishReason, usage, response } = await generateText(ask);
  t.ok(text.length > 20);
  t.equal(finishReason, 'length');
  t.equal(usage.outputTokens, 24);
  t.ok((usage.inputTokens ?? 0) > 0);
  t.equal(response.modelId, MODEL);
  t.match(response.id, /^chatcmpl-/);
  t.ok(response.headers?.['x-request-id']);
});

t.test('streamText gives the same text in deltas, one end and the usage', async (t) => {
  const plain = await generateText(ask);
  const result = streamText(ask);
  const deltas = [];
  for await (const delta of result.textStream) deltas.push(delta);
  t.ok(deltas.length > 5);
  t.equal(deltas.join(''), plain.text);
  t.equal(await result.finishReason, 'length');
  t.equal((await result.usage).outputTokens, 24);
});

t.test('a tool is called with its arguments and the answer goes on', async (t) => {
  const { steps, text } = await generateText({
    ...ask,
    prompt: 'Call weather now.',
    tools: { weather },
    stopWhen: stepCountIs(3),
  });
  t.equal(steps.length, 2);
  t.equal(steps[0]?.finishReason, 'tool-calls');
  t.match(steps[0]?.toolCalls, [{ toolName: 'weather', input: { city: String, days: Number } }]);
  t.match(steps[0]?.toolResults, [{ output: { report: /^rain in / } }]);
  t.ok(text.length > 5);
});

t.test('a tool call in a stream has its parts in order', async (t) => {
  const result = streamText({
    ...ask,
    maxOutputTokens: 200,
    prompt: 'Call weather now.',
    tools: { weather: { ...weather, execute: undefined } } as never,
  });
  const kinds = [];
  for await (const part of result.fullStream) kinds.push(part.type);
  t.ok(kinds.filter((kind) => kind === 'tool-input-delta').length > 1, 'the arguments come in pieces');
  t.ok(
    kinds.indexOf('tool-input-start') < kinds.indexOf('tool-input-end') &&
      kinds.indexOf('tool-input-end') < kinds.indexOf('tool-call'),
  );
  t.equal(await result.finishReason, 'tool-calls');
});

t.test('embed and embedMany', async (t) => {
  const embedder = provider.embeddingModel(MODEL);
  const { embedding, usage } = await embed({ model: embedder, value: 'the sea' });
  t.ok(embedding.length >= 8 && embedding.every((value) => Number.isFinite(value)));
  t.ok(usage.tokens > 0);
  const { embeddings } = await embedMany({ model: embedder, values: ['the sea', 'der Berg', '🏔️'] });
  t.equal(embeddings.length, 3);
  t.same(embeddings[0], embedding);
});

t.test('an aborted stream is not worked on', async (t) => {
  const controller = new AbortController();
  const ends: string[] = [];
  const result = streamText({
    ...ask,
    maxOutputTokens: 8000,
    abortSignal: controller.signal,
    providerOptions: { fleet: { ignore_eos: true } },
  });
  let deltas = 0;
  for await (const part of result.fullStream) {
    if (part.type === 'text-delta' && ++deltas === 5) {
      t.equal((await engineLoad(engine.address)).running, 1);
      controller.abort();
    }
    if (part.type === 'abort' || part.type === 'finish' || part.type === 'error') ends.push(part.type);
  }
  t.same(ends, ['abort']);
  await idle();
});

t.test('errors are typed, and only those that may pass are tried again', async (t) => {
  const stranger = createOpenAICompatible({ name: 'fleet', baseURL: baseUrl, apiKey: 'sk-wrong' });
  const calls = [
    { call: () => generateText({ ...ask, model: stranger(MODEL) }), statusCode: 401, code: 'unauthenticated' },
    { call: () => generateText({ ...ask, model: provider('acme/none') }), statusCode: 404, code: 'model_not_found' },
    { call: () => generateText({ ...ask, maxOutputTokens: 40_000 }), statusCode: 400, code: 'context_length_exceeded' },
  ];
  for (const { call, statusCode, code } of calls) {
    const error: unknown = await call().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    t.ok(APICallError.isInstance(error), `${statusCode} is an APICallError and not a RetryError`);
    t.match(error, { statusCode, isRetryable: false });
    t.match(JSON.parse((error as APICallError).responseBody ?? '{}'), { error: { code, message: String } });
  }
});

t.test('an engine that refuses once is asked again by the SDK', async (t) => {
  t.teardown(() => clearFaults(engine.address));
  await armFault(engine.address, { kind: 'refuse', status: 503, count: 1 });
  t.equal((await generateText(ask)).usage.outputTokens, 24);
  await armFault(engine.address, { kind: 'refuse', status: 503, count: 0 });
  const error: unknown = await generateText({ ...ask, maxRetries: 0 }).catch((thrown: unknown) => thrown);
  t.match(RetryError.isInstance(error) ? error.lastError : error, { statusCode: 503, isRetryable: true });
});

t.test('a failure in the middle of a stream is an error part', async (t) => {
  t.teardown(() => clearFaults(engine.address));
  await armFault(engine.address, { kind: 'error', after_tokens: 3, count: 1 });
  const kinds = new Set<string>();
  let failure: unknown;
  const result = streamText({ ...ask, onError: ({ error }) => void (failure = error) });
  for await (const part of result.fullStream) kinds.add(part.type);
  t.ok(kinds.has('text-delta') && kinds.has('error'));
  t.match(failure, { code: 'engine_failed' });
  await idle();
});

t.test('the fleet stops and leaves no process behind', async (t) => {
  await fleet.stop();
  t.pass('nothing is left');
});
