/** Several embedding calls as one: which go together, and how the answer is shared out. */
import fc from 'fast-check';
import t from 'tap';
import {
  type EmbeddingCall,
  mergeEmbeddingCalls,
  readEmbeddingCall,
  shares,
  splitEmbeddingAnswer,
} from '../../../agent/core/embedding_batch.ts';

const bytes = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const parse = (body: Uint8Array | undefined): unknown => JSON.parse(new TextDecoder().decode(body));
const call = (body: object): EmbeddingCall => readEmbeddingCall(bytes(body)) as EmbeddingCall;

t.test('calls with equal parameters and the same kind of input go together', async (t) => {
  const one = call({ model: 'e', input: 'a', dimensions: 8 });
  t.equal(call({ dimensions: 8, input: ['b', 'c'], model: 'e' }).key, one.key, 'the order of keys does not matter');
  for (const other of [
    { model: 'f', input: 'a', dimensions: 8 },
    { model: 'e', input: 'a', dimensions: 9 },
    { model: 'e', input: 'a' },
    { model: 'e', input: 'a', dimensions: 8, user: 'u' },
    { model: 'e', input: [1, 2], dimensions: 8 },
  ])
    t.not(call(other).key, one.key, JSON.stringify(other));
  t.equal(call({ model: 'e', input: [[1], [2, 3]] }).key, call({ model: 'e', input: [7] }).key);
});

t.test('what is no plain call goes alone', async (t) => {
  for (const body of [
    'no json',
    '[]',
    'null',
    '7',
    '{}',
    '{"input":[]}',
    '{"input":""',
    '{"input":["a",[1]]}',
    '{"input":[1.5]}',
    '{"input":[[1],[]]}',
    '{"input":{"a":1}}',
    '{"input":null}',
  ])
    t.equal(readEmbeddingCall(bytes(body)), undefined, body);
});

t.test('the common call holds all inputs in order', async (t) => {
  const merged = mergeEmbeddingCalls([
    call({ model: 'e', input: 'a"\u00e9', encoding_format: 'float' }),
    call({ model: 'e', input: ['b', 'c'], encoding_format: 'float' }),
  ]);
  t.same(parse(merged), { model: 'e', encoding_format: 'float', input: ['a"\u00e9', 'b', 'c'] });
  const ids = mergeEmbeddingCalls([call({ model: 'e', input: [1, 2] }), call({ model: 'e', input: [[3], [4]] })]);
  t.same(parse(ids), { model: 'e', input: [[1, 2], [3], [4]] });
});

const vector = (index: number): object => ({ index, object: 'embedding', embedding: [index / 10, -1e-7] });

t.test('each caller gets its vectors with indexes from 0, and its share of the usage', async (t) => {
  const calls = [call({ input: 'aaaa' }), call({ input: ['bb', 'cc'] }), call({ input: 'd' })];
  const answer = {
    id: 'x',
    object: 'list',
    data: [2, 0, 3, 1].map(vector),
    model: 'e}],"\\',
    usage: { prompt_tokens: 10, total_tokens: 10, completion_tokens: 0, prompt_tokens_details: null },
  };
  const split = splitEmbeddingAnswer(bytes(JSON.stringify(answer, undefined, 1)), calls);
  t.same(split?.map(parse), [
    {
      ...answer,
      data: [vector(0)],
      usage: { prompt_tokens: 5, total_tokens: 5, completion_tokens: 0 },
    },
    {
      ...answer,
      data: [
        { ...vector(1), index: 0 },
        { ...vector(2), index: 1 },
      ],
      usage: { prompt_tokens: 4, total_tokens: 4, completion_tokens: 0 },
    },
    {
      ...answer,
      data: [{ ...vector(3), index: 0 }],
      usage: { prompt_tokens: 1, total_tokens: 1, completion_tokens: 0 },
    },
  ]);
});

t.test('the numbers of a vector stay as the engine wrote them', async (t) => {
  const text =
    '{"data":[{"embedding":[1e-05, 0.10],"index":1},{"index":0,"embedding":"q/8="}],"usage":{"prompt_tokens":2}}';
  const [first, second] = splitEmbeddingAnswer(bytes(text), [call({ input: 'a' }), call({ input: 'b' })]) ?? [];
  t.match(new TextDecoder().decode(first), '[{"index":0,"embedding":"q/8="}]');
  t.match(new TextDecoder().decode(second), '[{"embedding":[1e-05, 0.10],"index":0}]');
});

t.test('an answer that does not fit the calls is not split', async (t) => {
  const calls = [call({ input: 'a' }), call({ input: 'b' })];
  const usage = { prompt_tokens: 2, total_tokens: 2 };
  for (const answer of [
    'no json',
    { usage },
    { data: [vector(0), vector(1)] },
    { data: { a: [1] }, usage },
    { data: [], usage },
    { data: [vector(0)], usage },
    { data: [vector(0), vector(0)], usage },
    { data: [vector(0), vector(2)], usage },
    { data: [vector(0), vector(-1)], usage },
    { data: [vector(0), { embedding: [1] }], usage },
    { data: [vector(0), 7], usage },
    { data: [vector(0), vector(1)], usage: null },
    { data: [vector(0), vector(1)], usage: { prompt_tokens: 1.5 } },
    { data: [vector(0), vector(1)], usage: { prompt_tokens: -1 } },
    { data: [vector(0), vector(1)], usage: { prompt_tokens: 'x' } },
  ])
    t.equal(splitEmbeddingAnswer(bytes(answer), calls), undefined, JSON.stringify(answer));
});

t.test('shares are whole, add up, and follow the sizes', async (t) => {
  t.same(shares(10, [1, 1, 1]), [4, 3, 3]);
  t.same(shares(0, [3, 4]), [0, 0]);
  fc.assert(
    fc.property(
      fc.nat(1e6),
      fc.array(fc.integer({ min: 1, max: 1e5 }), { minLength: 1, maxLength: 20 }),
      (total, sizes) => {
        const sum = sizes.reduce((all, size) => all + size, 0);
        const all = shares(total, sizes);
        return (
          all.reduce((a, b) => a + b, 0) === total &&
          all.every((share, at) => Math.abs(share - (total * (sizes[at] as number)) / sum) <= 1)
        );
      },
    ),
  );
});
