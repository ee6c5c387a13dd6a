/** The embedded engine's backend over a made-up model: places, queue, aborts, limits, prefix reuse, failure. */
import t from 'tap';
import { createLlamaBackend } from '../../../../agent/engines/llama/backend.ts';
import { compileChatTemplate } from '../../../../agent/engines/llama/chat_template.ts';
import type { LoadedModel, ModelSlot, Sampling } from '../../../../agent/engines/llama/model.ts';
import { createVocabulary } from '../../../../agent/engines/llama/vocabulary.ts';
import type { Backend, GenerateRequest } from '../../../../agent/engines/surface/backend.ts';
import { seededRandom } from '../../../../lib/rng.ts';

const EOS = 0;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface FakeSlot extends ModelSlot {
  readonly prefilled: number[];
}

/** Counts upwards from the last prompt token; after 50 comes the end, unless it is forbidden. One turn per call. */
function fakeSlot(onSampling: (sampling: Sampling) => void, fail: { on: boolean }): FakeSlot {
  let cached: number[] = [];
  const prefilled: number[] = [];
  return {
    prefilled,
    cached: () => cached,
    async keep(length) {
      cached = cached.slice(0, length);
    },
    async prefill(ids) {
      await turn();
      if (fail.on) throw new Error('decode failed');
      prefilled.push(ids.length);
      cached = [...cached, ...ids];
    },
    async *generate(ids, sampling) {
      onSampling(sampling);
      let input = [...ids];
      for (let made = 0; made < 10_000; made++) {
        await turn();
        cached = [...cached, ...input];
        const next = (input.at(-1) as number) + 1;
        input = [next > 50 && !sampling.forbidden().includes(EOS) ? EOS : next];
        yield input[0] as number;
      }
    },
  };
}

function engine(sequences: number, maxWaiting = 2) {
  const samplings: Sampling[] = [];
  const fail = { on: false };
  const slots = Array.from({ length: sequences }, () => fakeSlot((sampling) => samplings.push(sampling), fail));
  let disposed = false;
  const model: LoadedModel = {
    slots,
    contextTokens: 64,
    chunkTokens: 4,
    vocabulary: createVocabulary({ model: 'gpt2', tokens: ['<e>', 'a'], token_type: [3, 1] }, () => ''),
    chatTemplate: compileChatTemplate(undefined, { bos: '', eos: '' }),
    bosToken: 7,
    tokenize: (text) => [...text].map((character) => character.charCodeAt(0)),
    isEndOfGeneration: (id) => id === EOS,
    endOfGenerationIds: [EOS],
    iterations: () => 0,
    dispose: async () => {
      disposed = true;
    },
  };
  const deaths: string[] = [];
  const backend = createLlamaBackend({
    model,
    maxWaiting,
    random: seededRandom(1),
    onDead: (error) => deaths.push(error.message),
  });
  return { backend, slots, samplings, deaths, fail, disposed: () => disposed };
}

const DEFAULTS = {
  maxTokens: 5,
  minTokens: 0,
  temperature: 0,
  topP: 1,
  topK: -1,
  seed: undefined,
  ignoreEos: false,
  stopTokenIds: [],
};

function start(
  backend: Backend,
  request: Partial<GenerateRequest>,
  onToken: (ids: number[]) => void = () => undefined,
) {
  const ids: number[] = [];
  let cached: number | undefined;
  let abort: () => void = () => undefined;
  const done = new Promise<{ ids: number[]; cached: number | undefined; reason: string; code: number | undefined }>(
    (resolve) => {
      const sink = {
        onPrefill: (tokens: number) => {
          cached = tokens;
        },
        onTokens: (more: readonly number[]) => {
          ids.push(...more);
          onToken(ids);
        },
        onEnd: (reason: string, error?: { code: number }) => resolve({ ids, cached, reason, code: error?.code }),
      };
      abort = backend.generate({ requestId: 'r', promptIds: [1], ...DEFAULTS, ...request }, sink);
    },
  );
  return { done, abort: () => abort() };
}

t.test(
  'ends by token limit, by context, by end of generation and by stop token, the last token included',
  async (t) => {
    const { backend, samplings } = engine(1);
    t.match(await start(backend, { promptIds: [10] }).done, { ids: [11, 12, 13, 14, 15], reason: 'length' });
    t.match(await start(backend, { promptIds: [48], maxTokens: 99 }).done, { ids: [49, 50, EOS], reason: 'stop' });
    t.match(await start(backend, { promptIds: [10], stopTokenIds: [12] }).done, { ids: [11, 12], reason: 'stop' });
    const full = await start(backend, { promptIds: [100], maxTokens: 999, ignoreEos: true, minTokens: 999 }).done;
    t.equal(full.reason, 'length');
    t.equal(full.ids.length, 63, 'prompt and answer fill the context exactly');
    t.match(samplings[0], { temperature: 0, topK: 0, topP: 1 });
  },
);

t.test('before min_tokens neither the end of generation nor a stop token may come', async (t) => {
  const { backend, samplings } = engine(1);
  const answer = await start(backend, { promptIds: [50], minTokens: 3, maxTokens: 9 }).done;
  t.same(answer.ids, [51, 52, 53, EOS]);
  t.same(samplings[0]?.forbidden(), [], 'allowed once the minimum is there');
  void start(backend, { promptIds: [1], minTokens: 3, stopTokenIds: [9], ignoreEos: true });
  await turn();
  t.same(samplings[1]?.forbidden(), [9]);
});

t.test('a seed of the request is used as 32 unsigned bits; without one they differ', async (t) => {
  const { backend, samplings } = engine(1);
  for (const seed of [-1, 7, undefined, undefined]) await start(backend, { seed }).done;
  t.equal(samplings[0]?.seed, 4294967295);
  t.equal(samplings[1]?.seed, 7);
  t.not(samplings[2]?.seed, samplings[3]?.seed);
});

t.test('a prompt is evaluated in chunks and what is cached already is not evaluated again', async (t) => {
  const { backend, slots } = engine(2);
  const prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  t.equal((await start(backend, { promptIds: prompt }).done).cached, 0);
  t.same(slots[0]?.prefilled, [4, 4]);
  const again = await start(backend, { promptIds: [...prompt, 11, 12, 99] }).done;
  t.equal(again.cached, 12, 'the answer of the first is a prefix of the second');
  t.same(slots[0]?.prefilled, [4, 4], 'one short tail, no further chunk');
  t.match(backend.load(), { prefixCacheQueries: 23, prefixCacheHits: 12, running: 0 });
});

t.test('requests beyond the sequences wait in order, and beyond the queue are refused with 503', async (t) => {
  const { backend } = engine(1, 2);
  const order: string[] = [];
  const asked = ['a', 'b', 'c', 'd'].map((name) =>
    start(backend, { maxTokens: 2 }).done.then((end) => (order.push(name), end)),
  );
  t.match(backend.load(), { running: 1, waiting: 2 });
  const ends = await Promise.all(asked);
  t.same(
    ends.map((end) => end.reason),
    ['length', 'length', 'length', 'error'],
  );
  t.equal(ends[3]?.code, 503);
  t.same(order, ['d', 'a', 'b', 'c']);
  t.match(backend.load(), { running: 0, waiting: 0 });
});

t.test(
  'an abort ends a request at once: waiting, in prefill and in the middle, and nothing comes after it',
  async (t) => {
    const { backend, slots } = engine(1);
    const long = start(backend, { promptIds: new Array<number>(40).fill(3) });
    const queued = start(backend, {});
    await turn();
    queued.abort();
    t.equal((await queued.done).reason, 'abort');
    t.equal(backend.load().waiting, 0, 'it no longer takes a place in the queue');
    long.abort();
    long.abort();
    t.match(await long.done, { reason: 'abort', ids: [], cached: undefined });
    while (backend.load().running > 0) await turn();
    t.ok((slots[0]?.prefilled.length ?? 99) <= 2, 'the rest of the prompt was not evaluated');
    const middle = start(backend, { maxTokens: 50 }, (ids) => {
      if (ids.length === 3) middle.abort();
    });
    t.match(await middle.done, { reason: 'abort', ids: [2, 3, 4] });
    t.equal((await start(backend, {}).done).reason, 'length', 'the sequence serves the next request');
  },
);

t.test('a failure of the native side ends everything with 500, once said, and health turns false', async (t) => {
  const { backend, fail, deaths } = engine(1);
  fail.on = true;
  const asked = [start(backend, { promptIds: new Array<number>(20).fill(3) }), start(backend, {})];
  t.same(
    (await Promise.all(asked.map((one) => one.done))).map((end) => [end.reason, end.code]),
    [
      ['error', 500],
      ['error', 500],
    ],
  );
  t.same(deaths, ['decode failed']);
  t.equal(backend.healthy(), false);
  t.match(await start(backend, {}).done, { reason: 'error', code: 503 });
});

t.test('stop aborts what runs, waits for the native side and frees the model', async (t) => {
  const { backend, disposed } = engine(1);
  const asked = [start(backend, { maxTokens: 60 }), start(backend, {})];
  await turn();
  await backend.stop();
  t.same(
    (await Promise.all(asked.map((one) => one.done))).map((end) => end.reason),
    ['abort', 'abort'],
  );
  t.equal(disposed(), true);
  t.equal(backend.healthy(), true, 'stopping is not dying');
});

t.test('the first token of the vocabulary leads a prompt where the model wants it', async (t) => {
  const { backend } = engine(1);
  t.same(backend.tokenize('A', true), [7, 65]);
  t.same(backend.tokenize('A', false), [65]);
});
