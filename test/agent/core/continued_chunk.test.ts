/** Chunks of a completion that continues an answer, as the chunks of that answer. Shapes as recorded of vLLM 0.32. */
import t from 'tap';
import { chatLogprobs, ContinuedAnswer, type ContinuedOptions } from '../../../agent/core/continued_chunk.ts';

const OPTIONS: ContinuedOptions = {
  resume: { id: 'chatcmpl-1', created: 7, model: 'm' },
  chat: true,
  wantUsage: true,
  wantTokenIds: true,
  topLogprobs: undefined,
  resumedTokens: 10,
  repeatedIds: 0,
};

const chunk = (text: string, ids: number[], more: object = {}): object => ({
  id: 'cmpl-2',
  object: 'text_completion',
  created: 9,
  model: 'm',
  choices: [
    {
      index: 0,
      text,
      logprobs: null,
      finish_reason: null,
      stop_reason: null,
      prompt_token_ids: [1],
      token_ids: ids,
      ...more,
    },
  ],
});

const parse = (json: string | undefined): unknown => (json === undefined ? undefined : JSON.parse(json));

t.test('a chat gets deltas with its own id, time and model, and no second role', async (t) => {
  const answer = new ContinuedAnswer(OPTIONS);
  const { json, ids } = answer.take(chunk('a', [5, 6]));
  t.same(ids, [5, 6]);
  t.same(parse(json), {
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 7,
    model: 'm',
    choices: [{ index: 0, delta: { content: 'a' }, logprobs: null, finish_reason: null, token_ids: [5, 6] }],
  });
  const last = answer.take({ ...chunk('b', [7], { finish_reason: 'stop', stop_reason: 3 }), system_fingerprint: 'f' });
  t.match(parse(last.json), {
    choices: [{ delta: { content: 'b' }, finish_reason: 'stop', stop_reason: 3 }],
    system_fingerprint: 'f',
  });
  t.equal(answer.finishReason, 'stop');
});

t.test('a completion keeps its shape; ids that nobody asked for stay out', async (t) => {
  const shown = new ContinuedAnswer({ ...OPTIONS, chat: false }).take(chunk('a', [5]));
  t.match(parse(shown.json), {
    object: 'text_completion',
    choices: [{ text: 'a', prompt_token_ids: null, token_ids: [5], stop_reason: null }],
  });
  const hidden = new ContinuedAnswer({ ...OPTIONS, chat: false, wantTokenIds: false }).take(chunk('a', [5]));
  t.same(Object.keys((parse(hidden.json) as { choices: [object] }).choices[0]), [
    'index',
    'text',
    'logprobs',
    'finish_reason',
    'stop_reason',
  ]);
  t.same(hidden.ids, [5], 'the journal has them all the same');
});

t.test('usage is that of one uncut run', async (t) => {
  const answer = new ContinuedAnswer(OPTIONS);
  const usage = {
    prompt_tokens: 30,
    total_tokens: 35,
    completion_tokens: 5,
    prompt_tokens_details: { cached_tokens: 25 },
  };
  t.match(parse(answer.take({ choices: [], usage }).json), {
    choices: [],
    usage: { prompt_tokens: 20, total_tokens: 35, completion_tokens: 15, prompt_tokens_details: { cached_tokens: 20 } },
  });
  t.same(answer.usage, { promptTokens: 20, completionTokens: 15, cachedPromptTokens: 20 });
  const unasked = new ContinuedAnswer({ ...OPTIONS, wantUsage: false });
  t.equal(unasked.take({ choices: [], usage: { prompt_tokens: 30, completion_tokens: 5 } }).json, undefined);
  t.same(unasked.usage, { promptTokens: 20, completionTokens: 15 });
  t.match(parse(unasked.take({ ...chunk('a', [1]), usage: { prompt_tokens: 12, completion_tokens: 1 } }).json), {
    usage: { prompt_tokens: 2, completion_tokens: 11 },
  });
  t.equal(answer.take({ choices: [] }).json, undefined, 'nothing to tell');
  t.equal(answer.take(null).json, undefined);
});

t.test('ids that the client has had are not shown again, their text is', async (t) => {
  const answer = new ContinuedAnswer({ ...OPTIONS, repeatedIds: 2 });
  t.match(parse(answer.take(chunk('', [5])).json), { choices: [{ token_ids: [] }] });
  t.match(parse(answer.take(chunk('é', [6, 7])).json), { choices: [{ delta: { content: 'é' }, token_ids: [7] }] });
  t.match(parse(answer.take(chunk('x', [8])).json), { choices: [{ token_ids: [8] }] });
});

t.test('log probabilities of a completion become those of a chat', async (t) => {
  const logprobs = {
    text_offset: [0, 1],
    token_logprobs: [-0.5, null],
    tokens: ['é', 'b'],
    top_logprobs: [{ é: -0.5, x: -1, y: -2 }, null],
  };
  const answer = new ContinuedAnswer({ ...OPTIONS, topLogprobs: 2 });
  t.match(parse(answer.take(chunk('éb', [5, 6], { logprobs })).json), {
    choices: [
      {
        logprobs: {
          content: [
            {
              token: 'é',
              logprob: -0.5,
              bytes: [0xc3, 0xa9],
              top_logprobs: [
                { token: 'é', logprob: -0.5 },
                { token: 'x', logprob: -1, bytes: [0x78] },
              ],
            },
            { token: 'b', logprob: -9999, top_logprobs: [] },
          ],
        },
      },
    ],
  });
  t.equal(chatLogprobs(null, 2), null);
});

t.test('a stop string across the cut ends the answer, with usage from what is known', async (t) => {
  const stops = { strings: ['END'], include: false, held: 'x E' };
  const answer = new ContinuedAnswer({ ...OPTIONS, stops });
  t.match(parse(answer.take(chunk('N', [5])).json), { choices: [{ delta: { content: 'x ' }, finish_reason: null }] });
  t.match(parse(answer.take(chunk('D!', [6])).json), {
    choices: [{ delta: { content: '' }, finish_reason: 'stop', stop_reason: 'END' }],
  });
  t.ok(answer.stopped, 'the engine does not know of it');
  t.match(parse(answer.endUsage(4)), { usage: { prompt_tokens: 4, completion_tokens: 12, total_tokens: 16 } });
  t.same(answer.usage, { promptTokens: 4, completionTokens: 12 });
  const unasked = new ContinuedAnswer({ ...OPTIONS, wantUsage: false });
  t.equal(unasked.endUsage(4), undefined);
  const engine = new ContinuedAnswer({ ...OPTIONS, stops: { ...stops, held: '' } });
  engine.take(chunk('a E', [5]));
  engine.take(chunk('ND', [6], { finish_reason: 'stop', stop_reason: 'END' }));
  t.notOk(engine.stopped, 'the engine ended by itself');
  const none = new ContinuedAnswer({ ...OPTIONS, stops });
  t.match(parse(none.take(chunk('', [], { finish_reason: 'length' })).json), {
    choices: [{ delta: { content: 'x E' }, finish_reason: 'length' }],
  });
});

t.test('an abort that nobody asked for is no finish reason for a client', async (t) => {
  const answer = new ContinuedAnswer(OPTIONS);
  t.same(answer.take(chunk('', [5], { finish_reason: 'abort' })), { json: undefined, ids: [5] });
  t.equal(answer.finishReason, 'abort');
  t.match(parse(answer.take({ choices: [{}] }).json), { choices: [{ delta: { content: '' }, token_ids: [] }] });
});
