/** Embedding calls through a lane: together where they may be, alone where they must, each with its own answer. */
import t from 'tap';
import { type Answer, type FakeLane, until } from '../../support/fake_scheduler.ts';
import type { RawExchange } from '../support/raw_engine.ts';
import { startStand } from '../support/relay_stand.ts';

const PATH = '/v1/embeddings';

interface EmbeddingBody {
  readonly model: string;
  readonly input: string | readonly string[];
}

/** Answers as vLLM does: one vector for each input, its length as the number, and one token a byte. */
function embed(exchange: RawExchange): void {
  const { model, input } = JSON.parse(exchange.body) as EmbeddingBody;
  const inputs = typeof input === 'string' ? [input] : input;
  if (inputs.includes('bad')) {
    exchange.json(400, { error: { message: 'bad input', type: 'BadRequestError', param: 'input', code: 400 } });
    return;
  }
  const tokens = inputs.reduce((sum, one) => sum + one.length, 0);
  exchange.json(200, {
    id: 'embd-1',
    object: 'list',
    model,
    data: inputs.map((one, index) => ({ index, object: 'embedding', embedding: [one.length] })),
    usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0 },
  });
}

const ask = (lane: FakeLane, bodies: readonly object[]): Answer[] =>
  lane.submitAll(bodies.map((body) => ({ engine: 'raw', path: PATH, body })));

const numbersOf = (answer: Answer): number[] =>
  (JSON.parse(answer.text) as { data: { embedding: number[] }[] }).data.flatMap(({ embedding }) => embedding);

t.test('calls of one turn share a call of the engine, and each caller gets its own', async (t) => {
  const stand = await startStand(t, {}, embed);
  const lane = await stand.lane();
  const answers = ask(lane, [
    { model: 'e', input: 'a' },
    { model: 'e', input: ['bb', 'ccc'] },
    { model: 'e', input: 'dddd' },
    { model: 'other', input: 'a' },
  ]);
  await Promise.all(answers.map((answer) => answer.ended));
  t.same(answers.map(numbersOf), [[1], [2, 3], [4], [1]]);
  t.same(
    answers.map((answer) => answer.done?.usage?.promptTokens),
    [1, 5, 4, 1],
  );
  t.same(
    answers.map((answer) => (JSON.parse(answer.text) as { data: { index: number }[] }).data.map(({ index }) => index)),
    [[0], [0, 1], [0], [0]],
  );
  t.equal(stand.engine.exchanges.length, 2, 'one for each model');
  await until(() => stand.stats()?.counters.batchedTotal === 3, 'the count');
});

t.test('a mistake of one caller is its own', async (t) => {
  const stand = await startStand(t, {}, embed);
  const lane = await stand.lane();
  const answers = ask(
    lane,
    ['a', 'bad', 'ccc'].map((input) => ({ model: 'e', input })),
  );
  await Promise.all(answers.map((answer) => answer.ended));
  t.match(answers[1]?.failed, { code: 'engine_rejected', param: 'input' });
  t.same(
    [answers[0], answers[2]].map((answer) => numbersOf(answer as Answer)),
    [[1], [3]],
  );
});

t.test('turned off, or too large, or no embedding: each call goes alone', async (t) => {
  const off = await startStand(t, { batchEmbeddings: false }, embed);
  const inputs = ['a', 'bb'].map((input) => ({ model: 'e', input }));
  await Promise.all(ask(await off.lane(), inputs).map((answer) => answer.ended));
  t.equal(off.engine.exchanges.length, 2);
  const on = await startStand(t, {}, embed);
  const large = ['x', 'y'].map((letter) => ({ model: 'e', input: letter.repeat(20_000) }));
  await Promise.all(ask(await on.lane(), large).map((answer) => answer.ended));
  t.equal(on.engine.exchanges.length, 2);
  const many = Array.from({ length: 40 }, (_, at) => ({ model: 'e', input: 'z'.repeat(at + 1) }));
  const answers = ask(await on.lane(), many);
  await Promise.all(answers.map((answer) => answer.ended));
  t.same(
    answers.map(numbersOf),
    many.map((_, at) => [at + 1]),
  );
  t.equal(on.engine.exchanges.length - 2, 3, '16 calls at most in one');
});

t.test('a caller that goes is left out; when all have gone the engine is told', async (t) => {
  const stand = await startStand(t);
  const lane = await stand.lane();
  const bodies = ['a', 'bb', 'ccc'].map((input) => ({ model: 'e', input }));
  const [first, ...others] = ask(lane, bodies) as [Answer, ...Answer[]];
  await until(() => stand.engine.exchanges.length === 1, 'the common call');
  lane.cancel(first);
  await until(() => stand.stats()?.openByEngine['raw'] === 2, 'the first to be gone');
  embed(stand.engine.exchanges[0] as RawExchange);
  await Promise.all(others.map((answer) => answer.ended));
  t.same(others.map(numbersOf), [[2], [3]]);
  t.equal(first.text, '');
  const all = ask(lane, bodies);
  await until(() => stand.engine.exchanges.length === 2, 'the next common call');
  for (const answer of all) lane.cancel(answer);
  await until(() => stand.engine.exchanges[1]?.gone() === true, 'the engine to see its client go');
});

t.test('an engine that dies over the common call fails each caller once', async (t) => {
  const stand = await startStand(t);
  const answers = ask(
    await stand.lane(),
    ['a', 'bb'].map((input) => ({ model: 'e', input })),
  );
  await until(() => stand.engine.exchanges.length === 1, 'the common call');
  stand.engine.exchanges[0]?.socket.destroy();
  await Promise.all(answers.map((answer) => answer.ended));
  for (const answer of answers) t.match(answer.failed, { code: 'engine_died' });
  t.equal(stand.engine.exchanges.length, 1);
});

t.test('a common answer that cannot be split is asked for again, one by one', async (t) => {
  const stand = await startStand(t, {}, (exchange) => {
    const { input } = JSON.parse(exchange.body) as EmbeddingBody;
    if (typeof input === 'string') embed(exchange);
    else exchange.json(200, { object: 'list', data: [], usage: { prompt_tokens: 1 } });
  });
  const answers = ask(
    await stand.lane(),
    ['a', 'bb'].map((input) => ({ model: 'e', input })),
  );
  await Promise.all(answers.map((answer) => answer.ended));
  t.same(answers.map(numbersOf), [[1], [2]]);
  t.equal(stand.engine.exchanges.length, 3);
});
