/** Shapes of requests through real tokenising threads, and through the generator that waits for them. */
import { Tokenizer } from '@huggingface/tokenizers';
import t, { type Test } from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import { createLogger } from '../../../lib/io/logger.ts';
import { systemClock } from '../../../lib/io/system.ts';
import { BLOCK_TOKENS, blockHashes } from '../../../lib/prefix_hash.ts';
import { createShaper, type ShapedHow, type Shaper } from '../../../scheduler/adapters/tokenizer/shaper.ts';
import { createShapeBook, createShapingGenerator } from '../../../scheduler/adapters/tokenizer/shaping_generator.ts';
import { byteShape } from '../../../scheduler/core/prompt/shape.ts';
import type { RequestShape } from '../../../scheduler/core/routing/contract.ts';
import type { AdmittedRequest, Endpoint } from '../../../scheduler/ports.ts';
import { createFakeGenerator } from '../../support/fake_generator.ts';
import { until } from '../../support/waits.ts';
import { tokenizerJson, writeModel } from './small_model.ts';

const logger = createLogger({ level: 'fatal', format: 'json', name: 'test' });
const MESSAGES = [{ role: 'user', content: 'hello world, hello user. '.repeat(40) }];

let count = 0;
function requestOf(body: unknown, endpoint: Endpoint = 'chat', model = 'm'): AdmittedRequest {
  count++;
  return {
    id: `r${count}` as RequestId,
    identity: { tenant: 'acme' as TenantId, subject: 's', roles: new Set(), weight: 1 },
    tenant: 'acme' as TenantId,
    door: 'http',
    endpoint,
    model,
    stream: true,
    body: Buffer.from(JSON.stringify(body)),
    wantUsage: false,
    wantTokenIds: false,
    priority: 0,
  };
}

interface Fixture {
  readonly shaper: Shaper;
  readonly how: ShapedHow[];
  /** Resolves when the tokeniser of `m` is in use. */
  ready(): Promise<void>;
}

function open(
  t: Test,
  options: { readonly config?: Record<string, unknown>; readonly late?: () => boolean } = {},
): Fixture {
  const folder = options.config === undefined ? writeModel(t.testdir()) : writeModel(t.testdir(), options.config);
  const how: ShapedHow[] = [];
  const clock = {
    ...systemClock,
    after: (delayMs: number, task: () => void) => {
      if (options.late?.() !== true) return systemClock.after(delayMs, task);
      queueMicrotask(task);
      return () => undefined;
    },
  };
  const shaper = createShaper({
    tokenizers: [
      { model: 'm', folder },
      { model: 'absent', folder: '/no/such/folder' },
    ],
    threads: 1,
    waitMs: 60_000,
    clock,
    logger,
    onShaped: (one) => void how.push(one),
  });
  t.teardown(() => shaper.stop());
  const ready = async (): Promise<void> => {
    let shape: RequestShape | Promise<RequestShape> | undefined;
    await until(
      () => {
        shape = shaper.shape(requestOf({ messages: MESSAGES }));
        return shape instanceof Promise;
      },
      'the tokeniser is loaded',
      30_000,
    );
    await shape;
    how.length = 0;
  };
  return { shaper, how, ready };
}

const encoder = new Tokenizer(tokenizerJson(), {});

function expectedFor(text: string, special = false): { tokens: number; hashes: Uint32Array } {
  const { ids } = encoder.encode(text, { add_special_tokens: special });
  return { tokens: ids.length, hashes: blockHashes({ unit: 'tokens', adapter: 'm' }, ids, BLOCK_TOKENS) };
}

t.test('a prompt is counted and named by the tokens that its engine will see', async (t) => {
  const { shaper, how, ready } = open(t);
  await ready();
  const text = `<|im_start|>user\n${MESSAGES[0]?.content}<|im_end|>\n<|im_start|>assistant\n`;
  const chat = await shaper.shape(requestOf({ messages: MESSAGES, max_tokens: 5 }));
  const expected = expectedFor(text);
  t.equal(chat.promptTokens, expected.tokens);
  t.strictSame(chat.blocks, { blockTokens: BLOCK_TOKENS, hashes: expected.hashes });
  t.equal(chat.maxOutputTokens, 5);
  const prompt = 'hello world '.repeat(30);
  const plain = await shaper.shape(requestOf({ prompt }, 'completions'));
  t.strictSame(plain.blocks?.hashes, expectedFor(prompt, true).hashes);
  t.strictSame(await shaper.shape(requestOf({ prompt: [prompt, 'x'] }, 'completions')), plain);
  t.strictSame(how, ['tokens', 'tokens', 'tokens']);
});

t.test('what cannot be tokenised as the engine does it is known by its bytes, and it is said why', async (t) => {
  const { shaper, how, ready } = open(t);
  await ready();
  const picture = { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } };
  const bodies: readonly [AdmittedRequest, ShapedHow][] = [
    [requestOf({ messages: [{ role: 'user', content: [picture] }] }), 'not_alike'],
    [requestOf({ messages: MESSAGES, chat_template: 'x' }), 'not_alike'],
    [
      requestOf({ messages: [{ role: 'assistant', content: '', tool_calls: [{ function: { arguments: '{' } }] }] }),
      'failed',
    ],
    [requestOf({ prompt: [1, 2, 3] }, 'completions'), 'not_alike'],
    [{ ...requestOf({}), body: Buffer.from('not json') }, 'failed'],
    [requestOf({ input: 'x' }, 'embeddings'), 'no_tokenizer'],
    [requestOf({ messages: MESSAGES }, 'chat', 'other'), 'no_tokenizer'],
    [requestOf({ messages: MESSAGES }, 'chat', 'absent'), 'no_tokenizer'],
    [requestOf({ messages: [{ role: 'user', content: 'x'.repeat(300_000) }] }), 'too_large'],
  ];
  for (const [request, why] of bodies) {
    t.strictSame(await shaper.shape(request), byteShape(request));
    t.equal(how.at(-1), why);
  }
});

t.test('a request waits no longer than it may, and more than can be served are not waited for', async (t) => {
  let late = false;
  const { shaper, how, ready } = open(t, { late: () => late });
  await ready();
  late = true;
  const request = requestOf({ messages: MESSAGES });
  t.strictSame(await shaper.shape(request), byteShape(request));
  t.equal(how.at(-1), 'late');
  const shapes = Array.from({ length: 200 }, () => shaper.shape(requestOf({ messages: MESSAGES })));
  t.ok(how.filter((one) => one === 'busy').length > 50);
  for (const shape of shapes) await shape;
  late = false;
  await until(
    () => shaper.shape(requestOf({ messages: MESSAGES })) instanceof Promise,
    'the queue is empty again',
    30_000,
  );
});

t.test('without tokenisers there are no threads, and every shape is there at once', async (t) => {
  const shaper = createShaper({ tokenizers: [], threads: 1, waitMs: 5, clock: systemClock, logger });
  const request = requestOf({ messages: MESSAGES });
  t.strictSame(shaper.shape(request), byteShape(request));
  await shaper.stop();
});

/** A shaper that the test answers. */
function scripted(): { shaper: Shaper; answer: (shape: RequestShape) => void } {
  let answer: (shape: RequestShape) => void = () => undefined;
  const promise = new Promise<RequestShape>((resolve) => {
    answer = resolve;
  });
  return { shaper: { shape: () => promise, stop: async () => undefined }, answer };
}

const sinkOf = (errors: CodedError[]) => ({
  onHead: () => undefined,
  onTokens: () => undefined,
  onBody: () => undefined,
  onDone: () => undefined,
  onError: (error: CodedError) => void errors.push(error),
});

const SHAPE: RequestShape = { model: 'm', tenant: 'acme' as TenantId, promptTokens: 3 };

t.test('a request goes to the generator when its shape is known, with the credit that came meanwhile', async (t) => {
  const inner = createFakeGenerator();
  const book = createShapeBook();
  const { shaper, answer } = scripted();
  const generator = createShapingGenerator(inner, shaper, book);
  const request = requestOf({ messages: MESSAGES });
  const generation = generator.start(request, sinkOf([]), 10);
  generation.grant(3);
  generation.grant(4);
  t.equal(inner.runs.length, 0);
  t.throws(() => generator.start(request, sinkOf([]), 10), { code: 'already_exists' });
  answer(SHAPE);
  const run = await inner.run(0);
  t.equal(run.granted, 7);
  generation.grant(5);
  t.equal(run.granted, 12);
  t.equal(book.shapeOf(request), SHAPE);
  t.equal(book.shapeOf(requestOf({})), undefined);
  generation.cancel('client');
  t.strictSame(run.cancels, ['client']);
  t.equal(generation.id, request.id);
});

t.test('a request that is cancelled while it waits never reaches the generator', async (t) => {
  const inner = createFakeGenerator();
  const { shaper, answer } = scripted();
  const generator = createShapingGenerator(inner, shaper, createShapeBook());
  const errors: CodedError[] = [];
  const [first, second] = [requestOf({}), requestOf({})];
  generator.start(first, sinkOf(errors), 1).cancel('client');
  generator.start(second, sinkOf(errors), 1);
  t.equal(generator.cancel(second.id, second.tenant), true);
  t.strictSame(
    errors.map((error) => error.code),
    ['cancelled'],
    'nothing comes after the client’s own cancel',
  );
  t.equal(generator.cancel(first.id, first.tenant), false);
  t.equal(generator.cancel('nobody' as RequestId, first.tenant), false);
  answer(SHAPE);
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(inner.runs.length, 0);
});

t.test('what the generator refuses after the wait comes as an error, and at once as a throw', async (t) => {
  const inner = createFakeGenerator();
  inner.refuseWith = new CodedError('no_engine', 'none');
  const { shaper, answer } = scripted();
  const errors: CodedError[] = [];
  createShapingGenerator(inner, shaper, createShapeBook()).start(requestOf({}), sinkOf(errors), 1);
  answer(SHAPE);
  await until(() => errors.length === 1, 'the refusal', 10_000);
  t.equal(errors[0]?.code, 'no_engine');
  const atOnce: Shaper = { shape: () => SHAPE, stop: async () => undefined };
  const generator = createShapingGenerator(inner, atOnce, createShapeBook());
  t.throws(() => generator.start(requestOf({}), sinkOf([]), 1), { code: 'no_engine' });
});
