/** How the official `openai` package for Node sees the fleet's errors: its typed classes, its retries, its time limits. */
import OpenAI from 'openai';
import t from 'tap';
import { eventually } from '../support/child.ts';
import { armFault, clearFaults, engineLoad } from '../support/engine_client.ts';
import { MAX_BODY_BYTES, MAX_RUNNING, MODEL, SILENT_MODEL, startClientFleet } from './client_fleet.ts';

const { fleet, baseUrl, engine, idle } = await startClientFleet(t);
const messages = [{ role: 'user' as const, content: 'Hello.' }];
const ask = { model: MODEL, messages, max_tokens: 8, temperature: 0 };

let attempts = 0;
let refusals = 0;
const counting: typeof fetch = async (input, init) => {
  attempts += 1;
  const response = await fetch(input, init);
  if (!response.ok) refusals += 1;
  return response;
};
const options = { baseURL: baseUrl, apiKey: fleet.key, fetch: counting };
/** With the retries that the package does by itself: two. */
const client = new OpenAI(options);
const impatient = new OpenAI({ ...options, maxRetries: 0 });

t.beforeEach(() => {
  attempts = 0;
});

/** The error of a call, which must be of the class. */
async function failure<Failure extends Error>(
  call: Promise<unknown>,
  kind: new (...args: never[]) => Failure,
): Promise<Failure> {
  try {
    await call;
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`the call went well instead of ending as ${kind.name}`);
}

t.test('a wrong key, an unknown model and a bad field have classes of their own and are not tried again', async (t) => {
  const stranger = new OpenAI({ ...options, apiKey: `${fleet.key.slice(0, -4)}xxxx` });
  const wrongKey = await failure(stranger.chat.completions.create(ask), OpenAI.AuthenticationError);
  t.match(wrongKey, { status: 401, code: 'unauthenticated', type: 'authentication_error' });
  const noModel = await failure(client.chat.completions.create({ ...ask, model: 'acme/none' }), OpenAI.NotFoundError);
  t.match(noModel, { status: 404, code: 'model_not_found' });
  t.match(await failure(client.models.retrieve('acme/none'), OpenAI.NotFoundError), {
    status: 404,
    code: 'model_not_found',
  });
  const badField = await failure(
    client.chat.completions.create({ ...ask, temperature: 'hot' as never }),
    OpenAI.BadRequestError,
  );
  t.match(badField, { status: 400, code: 'invalid_value', param: 'temperature', type: 'invalid_request_error' });
  const fromEngine = await failure(
    client.chat.completions.create({ ...ask, max_tokens: 40_000 }),
    OpenAI.BadRequestError,
  );
  t.equal(fromEngine.status, 400, 'what the engine refuses is the caller’s error too');
  t.equal(attempts, 5);
  for (const error of [wrongKey, noModel, badField, fromEngine]) {
    t.ok(error.requestID, 'each has the id of its request');
    t.equal(error.headers.get('x-should-retry'), 'false');
    t.type(error.message, 'string');
  }
});

t.test('a streamed request that cannot begin is an HTTP error as well', async (t) => {
  const noModel = client.chat.completions.create({ ...ask, model: 'acme/none', stream: true });
  t.equal((await failure(noModel, OpenAI.NotFoundError)).code, 'model_not_found');
  const tooLong = client.chat.completions.create({ ...ask, max_tokens: 40_000, stream: true });
  await failure(tooLong, OpenAI.BadRequestError);
});

t.test('a body over the limit is 413', async (t) => {
  const content = 'x'.repeat(MAX_BODY_BYTES);
  const error = await failure(
    client.chat.completions.create({ ...ask, messages: [{ role: 'user', content }] }),
    OpenAI.APIError,
  );
  t.match(error, { status: 413, code: 'body_too_large' });
  t.equal(attempts, 1);
});

t.test('an engine that refuses twice is asked a third time by the client itself', async (t) => {
  for (const status of [503, 429, 500]) {
    attempts = 0;
    await armFault(engine.address, { kind: 'refuse', status, count: 2 });
    const answer = await client.chat.completions.create(ask);
    t.equal(answer.usage?.completion_tokens, 8, `after two refusals with ${status}`);
    t.equal(attempts, 3);
    await clearFaults(engine.address);
  }
});

t.test('an engine that goes on refusing is an error of the server', async (t) => {
  await armFault(engine.address, { kind: 'refuse', status: 503, count: 0 });
  t.teardown(() => clearFaults(engine.address));
  const error = await failure(impatient.chat.completions.create(ask), OpenAI.InternalServerError);
  t.match(error, { status: 503, code: 'engine_overloaded' });
  t.equal(error.headers.get('x-should-retry'), 'true');
  t.ok(error.requestID);
});

t.test('over the bound of running requests it is 429, and a retry succeeds when there is room', async (t) => {
  const controller = new AbortController();
  const request = { ...ask, model: SILENT_MODEL };
  const held = Array.from({ length: MAX_RUNNING }, () =>
    client.chat.completions.create(request, { signal: controller.signal }),
  );
  const ends = Promise.allSettled(held);
  const silent = fleet.engines.find((one) => one.model === SILENT_MODEL);
  await eventually('the bound is reached', async () => {
    const load = await engineLoad((silent ?? engine).address);
    return load.running + load.waiting === MAX_RUNNING;
  });
  const error = await failure(impatient.chat.completions.create(ask), OpenAI.RateLimitError);
  t.match(error, { status: 429, code: 'overloaded' });
  t.ok(Number(error.headers.get('retry-after-ms')) > 0, 'it says when to try again');
  refusals = 0;
  attempts = 0;
  const patient = client.chat.completions.create(ask);
  await eventually('the first try was refused', () => refusals === 1);
  controller.abort();
  t.equal((await patient).usage?.completion_tokens, 8);
  t.ok(attempts >= 2);
  t.ok((await ends).every((end) => end.status === 'rejected'));
  await idle();
});

t.test('a failure in the middle of a stream ends the loop with an error', async (t) => {
  for (const fault of [
    { kind: 'error' },
    { kind: 'abort' },
    { kind: 'drop' },
    { kind: 'garbage', shape: 'bad-json' },
  ]) {
    await armFault(engine.address, { ...fault, after_tokens: 3, count: 1 });
    let text = '';
    const read = async (): Promise<void> => {
      for await (const chunk of await client.chat.completions.create({ ...ask, max_tokens: 50, stream: true })) {
        text += chunk.choices[0]?.delta.content ?? '';
      }
    };
    const error = await failure(read(), OpenAI.APIError);
    t.match(error.code, /^engine_(failed|aborted|died|garbage)$/, `${fault.kind}: ${error.code}`);
    t.ok(text.length > 0, 'what came before was given out');
    await clearFaults(engine.address);
  }
  await idle();
});

t.test('a time limit of the client ends the work', async (t) => {
  const hasty = impatient.withOptions({ timeout: 400 });
  await failure(hasty.chat.completions.create({ ...ask, model: SILENT_MODEL }), OpenAI.APIConnectionTimeoutError);
  await idle();
  // For a stream the limit is for the head, which comes at once: a slow first token is no lost connection.
  const stream = await hasty.chat.completions.create({ ...ask, model: SILENT_MODEL, stream: true });
  t.notOk(stream.controller.signal.aborted, 'the stream is open');
  stream.controller.abort();
  await idle();
});

t.test('the fleet stops and leaves no process behind', async (t) => {
  await fleet.stop();
  t.pass('nothing is left');
});
