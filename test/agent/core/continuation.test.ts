/** What is asked of an engine so that it continues an answer, and what is read of what it says. */
import t from 'tap';
import {
  continuationBody,
  endingEvents,
  endsInPart,
  nextCut,
  ownPromptIds,
  promptQuestion,
  readPrompt,
  readText,
  stopsOf,
  textQuestion,
  tokensLeft,
} from '../../../agent/core/continuation.ts';

const CHAT = {
  model: 'm',
  messages: [{ role: 'user', content: 'Hi' }],
  stream: true,
  stream_options: { include_usage: true },
  max_completion_tokens: 50,
  min_tokens: 10,
  temperature: 0,
  seed: 7,
  user: null,
  logprobs: true,
  top_logprobs: 3,
  stop: ['END'],
};

t.test(
  'the prompt of a chat is rendered by the engine; a text is split by it; ids are taken as they are',
  async (t) => {
    t.same(promptQuestion(CHAT), { path: '/tokenize', body: { model: 'm', messages: CHAT.messages } });
    t.same(promptQuestion({ model: 'm', prompt: 'a', add_special_tokens: false, echo: false }), {
      path: '/tokenize',
      body: { model: 'm', prompt: 'a', add_special_tokens: false },
    });
    t.same(ownPromptIds({ prompt: [1, 2] }), [1, 2]);
    t.equal(ownPromptIds({ prompt: 'a' }), undefined);
    t.equal(ownPromptIds(CHAT), undefined);
    t.same(textQuestion(CHAT, [5]), { path: '/detokenize', body: { model: 'm', tokens: [5] } });
  },
);

t.test('answers of another shape are no answers', async (t) => {
  t.same(readPrompt({ count: 2, max_model_len: 100, tokens: [1, 2] }), { ids: [1, 2], contextTokens: 100 });
  t.same(readPrompt({ tokens: [1] }), { ids: [1], contextTokens: undefined });
  for (const other of [null, undefined, {}, { tokens: 'x' }, { tokens: [1.5] }]) t.equal(readPrompt(other), undefined);
  t.equal(readText({ prompt: 'a' }), 'a');
  for (const other of [null, {}, { prompt: 1 }]) t.equal(readText(other), undefined);
});

t.test(
  'what stands at the end of the text tells whether ids are parts of a character; at most three are',
  async (t) => {
    t.ok(endsInPart('a\ufffd'));
    t.notOk(endsInPart('\ufffda'));
    t.same(
      [0, 1, 2, 3].map((cut) => nextCut(cut, 8)),
      [1, 2, 3, undefined],
    );
    t.equal(nextCut(1, 1), undefined, 'no more than there are');
  },
);

t.test('what is left of the limit and of the context bounds the rest', async (t) => {
  const prompt = { ids: [1, 2, 3], contextTokens: 100 };
  t.equal(tokensLeft(CHAT, prompt, 20), 30);
  t.equal(tokensLeft({ messages: [], max_tokens: 1000 }, prompt, 20), 77, 'the context is shorter');
  t.equal(tokensLeft({ messages: [] }, prompt, 20), 77, 'a chat without a limit');
  t.equal(tokensLeft({ messages: [] }, { ids: [1], contextTokens: undefined }, 20), undefined, 'nobody knows');
  t.equal(tokensLeft({ prompt: 'a' }, prompt, 6), 10, 'a completion has 16');
  t.equal(tokensLeft({ prompt: 'a', max_tokens: 5 }, prompt, 5), 0);
  t.equal(tokensLeft({ prompt: 'a', max_tokens: null }, prompt, 7), 90);
});

t.test('the rest is a completion of all ids with what is left of the limits', async (t) => {
  t.same(continuationBody(CHAT, [1, 2], Uint32Array.of(3, 4), 48, true), {
    model: 'm',
    temperature: 0,
    seed: 7,
    stop: ['END'],
    prompt: [1, 2, 3, 4],
    max_tokens: 48,
    min_tokens: 8,
    logprobs: 3,
    stream: true,
    stream_options: { include_usage: true },
    return_token_ids: true,
    include_stop_str_in_output: true,
  });
  const plain = continuationBody({ model: 'm', prompt: 'a', min_tokens: 1, logprobs: true }, [1], [2, 3], 9, false);
  t.same(plain, {
    model: 'm',
    prompt: [1, 2, 3],
    max_tokens: 9,
    logprobs: 0,
    stream: true,
    stream_options: { include_usage: true },
    return_token_ids: true,
  });
  t.same(stopsOf({ stop: 'a' }), ['a']);
  t.same(stopsOf({ stop: ['a', 1, 'b'] }), ['a', 'b']);
  t.same(stopsOf({}), []);
});

t.test('an answer of which only the end is missing is ended', async (t) => {
  const events = endingEvents(10, 5, false).split('\n\n');
  t.match(events[0], /"finish_reason":"length"/);
  t.match(events[1], /"prompt_tokens":15,"total_tokens":15,"completion_tokens":0/);
  t.equal(events[2], 'data: [DONE]');
  t.equal(endingEvents(10, 5, true).split('\n\n').length, 3, 'the finish reason is not told twice');
});
