/** `Generate` through a real socket: chunks, ids, usage, ids of requests, errors, deadlines, cancellation, backpressure. */
import { type Metadata, status } from '@grpc/grpc-js';
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { GenerateResponse__Output } from '../../../proto/gen/inference/v1/GenerateResponse.ts';
import { bearer, body, CANARY_KEY, openDoor, readAll, settle } from './door_fixture.ts';
import { chunkOf } from './fake_generator.ts';

t.test('chunks arrive in order, without framing, the id first and the usage last', async (t) => {
  const { generator, inference } = await openDoor(t);
  const call = inference.generate({ envelope: { id: 'req-1', model: 'tiny' }, body: body() }, bearer(CANARY_KEY));
  const headers = new Promise<Metadata>((resolve) => call.once('metadata', resolve));
  const reading = readAll(call);
  const run = await generator.run(0);
  run.sink.onHead();
  run.tokens(['Hel', 'lo'], [1, 2]);
  run.tokens([' wörld'], [3]);
  run.done({ promptTokens: 5, completionTokens: 3, cachedPromptTokens: 0 });
  const { messages, failure } = await reading;
  t.equal(failure, undefined);
  t.same(
    messages.map((m) => m.chunk.toString()),
    [chunkOf('Hel'), chunkOf('lo'), chunkOf(' wörld'), ''],
  );
  t.same(
    messages.map((m) => m.requestId),
    ['req-1', '', '', ''],
  );
  t.same(
    messages.map((m) => m.tokenIds),
    [[], [], [], []],
    'ids were not asked for',
  );
  t.same(
    messages.map((m) => m.usage?.completionTokens),
    [undefined, undefined, undefined, 3],
  );
  t.equal(messages[3]?.usage?.cachedPromptTokens, 0, 'a known zero is not absent');
  t.same((await headers).get('x-request-id'), ['req-1']);
  t.match(run.request, { door: 'grpc', endpoint: 'chat', stream: true, model: 'tiny', tenant: 'acme', priority: 0 });
});

t.test('the trailers name a degraded mode', async (t) => {
  const { generator, inference } = await openDoor(t);
  const call = inference.generate({ envelope: { id: 'req-1' }, body: body() }, bearer(CANARY_KEY));
  const trailers = new Promise<Metadata>((resolve) =>
    call.once('status', (end: { readonly metadata: Metadata }) => resolve(end.metadata)),
  );
  const reading = readAll(call);
  const run = await generator.run(0);
  run.sink.onDegraded?.('provider:far');
  run.done();
  t.equal((await reading).failure, undefined);
  t.same((await trailers).get('x-sophia-degraded'), ['provider:far']);
});

t.test('token ids come with the first chunk of their frame, when asked for', async (t) => {
  const { generator, inference } = await openDoor(t);
  const envelope = { returnTokenIds: true };
  const reading = readAll(inference.generate({ envelope, body: body() }, bearer(CANARY_KEY)));
  const run = await generator.run(0);
  run.tokens(['a', 'b'], [7, 4_000_000_000]);
  run.tokens([], [9]);
  run.done();
  const { messages } = await reading;
  t.same(
    messages.map((m) => m.tokenIds),
    [[7, 4_000_000_000], [], [9]],
  );
  t.match(messages[0]?.requestId, /^req_[a-z2-7]{24}$/, 'an id was chosen');
});

t.test('a request that waits for an engine is told its place, when it asked for that', async (t) => {
  const { generator, inference } = await openDoor(t);
  for (const [n, tellQueue] of [true, false].entries()) {
    const reading = readAll(
      inference.generate({ envelope: { id: `q${n}`, tellQueue }, body: body() }, bearer(CANARY_KEY)),
    );
    const run = await generator.run(n);
    t.notOk(run.sink.onQueued?.({ position: 2, etaMs: 1500 }), 'the status still tells an error');
    run.sink.onQueued?.({ position: 1 });
    run.tokens(['a']);
    run.done();
    run.sink.onQueued?.({ position: 1 });
    const { messages } = await reading;
    const places = messages.map((message) => message.queued).filter((queued) => queued !== null);
    t.match(places, tellQueue ? [{ position: 2, etaMs: 1500 }, { position: 1 }] : []);
    t.equal(messages[0]?.requestId, `q${n}`);
  }
});

t.test('a plain answer is one message', async (t) => {
  const { generator, inference } = await openDoor(t);
  const reading = readAll(inference.generate({ body: body({ stream: false }) }, bearer(CANARY_KEY)));
  const run = await generator.run(0);
  t.equal(run.request.stream, false);
  run.body('{"object":"chat.', false);
  run.body('completion"}', true);
  run.done({ completionTokens: 1 });
  const { messages } = await reading;
  t.same(
    messages.map((m) => m.chunk.toString()),
    ['{"object":"chat.completion"}', ''],
  );
});

t.test('a plain answer over the bound fails and stops the engine', async (t) => {
  const { generator, inference } = await openDoor(t, { maxMessageBytes: 1000 });
  const reading = readAll(inference.generate({ body: body({ stream: false }) }, bearer(CANARY_KEY)));
  const run = await generator.run(0);
  run.body('x'.repeat(1001), false);
  const { failure } = await reading;
  t.equal(failure?.error.code, 'engine_failed');
  t.ok(run.cancelledBecause);
});

t.test('errors carry their code, their field and the id of the request', async (t) => {
  const { generator, inference } = await openDoor(t);
  const ask = (envelope: object, bytes: Buffer, key = CANARY_KEY) =>
    readAll(inference.generate({ envelope, body: bytes }, bearer(key)));
  const cases: [string, Promise<Awaited<ReturnType<typeof ask>>>, number, string, string?][] = [
    ['no such model', ask({ id: 'e1' }, body({ model: 'absent' })), status.NOT_FOUND, 'model_not_found', 'model'],
    ['not JSON', ask({ id: 'e2' }, Buffer.from('[')), status.INVALID_ARGUMENT, 'malformed_json'],
    [
      'duplicate key',
      ask({ id: 'e3' }, Buffer.from('{"model":"a","model":"b"}')),
      status.INVALID_ARGUMENT,
      'duplicate_key',
      'model',
    ],
    ['too large', ask({ id: 'e4' }, Buffer.alloc(65 * 1024, 0x20)), status.RESOURCE_EXHAUSTED, 'body_too_large'],
    ['two models', ask({ id: 'e5', model: 'x' }, body()), status.INVALID_ARGUMENT, 'invalid_value', 'model'],
    ['bad id', ask({ id: 'a b' }, body()), status.INVALID_ARGUMENT, 'invalid_value', 'envelope.id'],
    [
      'other tenant',
      ask({ id: 'e6', tenant: 'other' }, body()),
      status.PERMISSION_DENIED,
      'permission_denied',
      'envelope.tenant',
    ],
    [
      'bad tenant',
      ask({ id: 'e7', tenant: 'a/b' }, body(), 'key-gateway'),
      status.INVALID_ARGUMENT,
      'invalid_value',
      'envelope.tenant',
    ],
    [
      'unknown endpoint',
      ask({ id: 'e8', endpoint: 77 }, body()),
      status.INVALID_ARGUMENT,
      'invalid_value',
      'envelope.endpoint',
    ],
  ];
  for (const [name, asked, grpcCode, code, param] of cases) {
    const { failure, code: got } = await asked;
    t.equal(got, grpcCode, name);
    t.equal(failure?.error.code, code, name);
    t.equal(failure?.error.param, param, name);
    if (name !== 'bad id') t.match(failure?.requestId, /^e\d$/, name);
  }
  t.equal(generator.started.length, 0, 'nothing was started');
});

t.test('an error of the engine comes after the chunks before it, with RetryInfo', async (t) => {
  const { generator, inference } = await openDoor(t);
  const reading = readAll(inference.generate({ envelope: { id: 'r' }, body: body() }, bearer(CANARY_KEY)));
  const run = await generator.run(0);
  run.tokens(['a']);
  run.fail(new CodedError('engine_overloaded', 'The engine is full: ünïcode.', { retryAfterMs: 1500 }));
  const { messages, failure, code } = await reading;
  t.equal(messages.length, 1);
  t.equal(code, status.UNAVAILABLE);
  t.match(failure, { requestId: 'r', error: { code: 'engine_overloaded', retryAfterMs: 1500 } });
});

t.test('an uncoded error is internal, told to the log and not to the caller', async (t) => {
  const { generator, inference, logLines } = await openDoor(t);
  generator.onStart = () => {
    throw new Error('secret detail of the inside');
  };
  const { failure } = await readAll(inference.generate({ body: body() }, bearer(CANARY_KEY)));
  t.equal(failure?.error.code, 'internal');
  t.notMatch(failure?.error.message, /secret/);
  t.ok(logLines.some((line) => line.includes('secret detail')));
});

t.test('tenant and priority count only from role gateway', async (t) => {
  const { generator, inference } = await openDoor(t);
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const envelope = { tenant: 'acme', priority: -5, traceparent };
  const first = inference.generate({ envelope, body: body() }, bearer('key-gateway'));
  t.match((await generator.run(0)).request, {
    tenant: 'acme',
    priority: -5,
    traceparent,
    identity: { tenant: 'gate' },
  });
  const second = inference.generate(
    { envelope: { ...envelope, traceparent: 'junk' }, body: body() },
    bearer(CANARY_KEY),
  );
  const { request } = await generator.run(1);
  t.match(request, { tenant: 'acme', priority: 0 });
  t.equal(request.traceparent, undefined, 'a malformed traceparent is ignored');
  for (const call of [first, second]) {
    call.on('error', () => undefined);
    call.cancel();
  }
});

t.test('the shorter deadline holds, whoever set it', async (t) => {
  const { generator, inference } = await openDoor(t);
  const byEnvelope = readAll(inference.generate({ envelope: { deadlineMs: 60 }, body: body() }, bearer(CANARY_KEY)));
  const { failure } = await byEnvelope;
  t.equal(failure?.error.code, 'deadline_exceeded');
  const run = await generator.run(0);
  t.equal(run.cancelledBecause, 'deadline exceeded');
  const soon = { deadline: Date.now() + 150 };
  const byCall = await readAll(
    inference.generate({ envelope: { deadlineMs: 60_000 }, body: body() }, bearer(CANARY_KEY), soon),
  );
  t.equal(byCall.code, status.DEADLINE_EXCEEDED);
  const second = await generator.run(1);
  await settle();
  t.ok(second.cancelledBecause, 'the engine was told');
  const none = await readAll(inference.generate({ envelope: { deadlineMs: 0 }, body: body() }, bearer(CANARY_KEY)));
  t.equal(none.failure?.error.code, 'deadline_exceeded');
  t.equal(generator.started.length, 2, 'a request that came too late was not started');
});

t.test('a client that goes away cancels the engine, before and after the first token', async (t) => {
  const { generator, inference } = await openDoor(t);
  for (const tokens of [0, 1]) {
    const call = inference.generate({ body: body() }, bearer(CANARY_KEY));
    const reading = readAll(call);
    const run = await generator.run(tokens);
    if (tokens === 1) run.tokens(['a']);
    const cancelled = new Promise<void>((resolve) => (run.onCancel = resolve));
    call.cancel();
    await cancelled;
    t.match(run.cancelledBecause, /went away/);
    await reading;
  }
  t.equal(generator.running.size, 0);
});

t.test('a client that does not read is not granted more than its window, and goes on when it reads', async (t) => {
  const { generator, inference } = await openDoor(t);
  const call = inference.generate({ body: body() }, bearer(CANARY_KEY));
  const run = await generator.run(0);
  t.equal(run.initialCreditBytes, 16 * 1024);
  const text = 'x'.repeat(1000);
  // A client of this library pauses its transport only after its first read.
  const messagesOf = call[Symbol.asyncIterator]() as AsyncIterator<GenerateResponse__Output>;
  run.tokens([text]);
  await messagesOf.next();
  // An agent sends while it has credit; nothing reads, so the sockets fill up and then the grants stop.
  let quietRounds = 0;
  for (let round = 0; round < 3000 && quietRounds < 20; round++) {
    if (run.creditBytes > 0) {
      run.tokens([text]);
      quietRounds = 0;
    } else quietRounds += 1;
    await new Promise((resolve) => setImmediate(resolve));
    if (quietRounds > 0) await settle(5);
  }
  t.equal(quietRounds, 20, 'the engine was made to wait');
  t.ok(run.sentBytes < 1024 * 1024, `${run.sentBytes} bytes were taken from the engine`);
  const sentBefore = run.sentBytes;
  const reading = readAll({ [Symbol.asyncIterator]: () => messagesOf });
  for (let round = 0; round < 1000 && run.sentBytes < sentBefore + 100_000; round++) {
    if (run.creditBytes > 0) run.tokens([text]);
    else await settle(2);
  }
  run.done();
  const { messages, failure } = await reading;
  t.equal(failure, undefined);
  t.ok(run.sentBytes > sentBefore, 'the engine went on');
  t.equal(1 + messages.length, run.sentBytes / (chunkOf(text).length + 8), 'nothing was lost');
});
