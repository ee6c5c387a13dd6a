/** The dialects of providers: what their errors and their events mean to a client of the fleet. */
import t from 'tap';
import { readPlain } from '../../../../scheduler/core/providers/answer.ts';
import { errorIn, failureOf, faultOf } from '../../../../scheduler/core/providers/dialect.ts';
import { createStreamReader, type StreamNews } from '../../../../scheduler/core/providers/stream.ts';

t.test('statuses and numeric codes become codes of ours', async (t) => {
  const rows: [number, unknown, string, string][] = [
    [500, undefined, 'provider_failed', 'fault'],
    [502, { error: { code: 502, message: 'bad' } }, 'provider_failed', 'fault'],
    [503, { error: { message: 'no host' } }, 'provider_overloaded', 'neutral'],
    [429, { error: { code: 'rate_limit_exceeded', message: 'slow' } }, 'provider_overloaded', 'neutral'],
    [400, { error: { message: 'bad field' } }, 'provider_rejected', 'success'],
    [404, { error: { message: 'no model' } }, 'provider_rejected', 'success'],
    [408, { error: { code: 408, message: 'time' } }, 'provider_failed', 'fault'],
    [401, { error: { message: 'Incorrect API key provided: sk-1' } }, 'provider_failed', 'fault'],
    [402, { error: { code: 402, message: 'credits' } }, 'provider_failed', 'fault'],
    [302, undefined, 'provider_failed', 'fault'],
    [200, { error: { code: 429, message: 'slow' } }, 'provider_overloaded', 'neutral'],
    [200, { error: { code: '400', message: 'bad' } }, 'provider_rejected', 'success'],
    [200, { error: { code: 'weird', message: 'x' } }, 'provider_failed', 'fault'],
    [200, { error: 'plain words' }, 'provider_failed', 'fault'],
  ];
  for (const [status, body, code, verdict] of rows)
    t.match(failureOf(status, body), { error: { code }, verdict }, `${status} ${JSON.stringify(body)}`);
  t.match(failureOf(400, { error: { message: 'bad field' } }).error.message, 'bad field');
  t.notMatch(failureOf(401, rows[7]?.[1]).error.message, /sk-/, 'what it says of our account stays here');
  t.equal(errorIn('text'), undefined);
  t.equal(errorIn({ error: null }), undefined);
  t.match(faultOf('provider_failed', 'x'), { verdict: 'fault', error: { cause: undefined } });
});

t.test('a wait is believed where the service is busy, and 402 only where its credit is in flight', async (t) => {
  t.match(failureOf(429, undefined, '7'), { waitMs: 7000, error: { retryAfterMs: 7000 } });
  t.match(failureOf(429, undefined, 'Wed, 21 Oct 2026 07:28:00 GMT'), { waitMs: 0 });
  t.match(failureOf(500, undefined, '7'), { waitMs: 0 });
  const inFlight = { error: { code: 402, message: 'x', metadata: { limit_source: 'openrouter_in_flight_budget' } } };
  t.match(failureOf(402, inFlight, '2'), { waitMs: 2000, verdict: 'neutral', error: { code: 'provider_overloaded' } });
  t.match(failureOf(402, inFlight), { verdict: 'fault', error: { code: 'provider_failed' } });
});

t.test('a plain answer has the client’s name of the model and none of the provider’s own fields', async (t) => {
  const whole = {
    id: 'gen-1',
    provider: 'Somebody',
    model: 'far/m',
    object: 'chat.completion',
    choices: [
      { index: 0, message: { role: 'assistant', content: 'hi' }, finish_reason: 'stop', native_finish_reason: 'x' },
      7,
    ],
    usage: { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4, prompt_tokens_details: { cached_tokens: 2 } },
  };
  const read = readPlain(JSON.stringify(whole), 'm');
  if (!('body' in read)) throw new Error('no answer');
  t.same(JSON.parse(read.body), {
    id: 'gen-1',
    model: 'm',
    object: 'chat.completion',
    choices: [{ index: 0, message: { role: 'assistant', content: 'hi' }, finish_reason: 'stop' }, 7],
    usage: whole.usage,
  });
  t.same(read.usage, { promptTokens: 3, completionTokens: 1, cachedPromptTokens: 2 });
  t.match(readPlain('{"object":"list","data":[]}', 'm'), { usage: undefined, body: String });
  t.match(readPlain('{"error":{"code":429,"message":"x"}}', 'm'), { error: { code: 'provider_overloaded' } });
  t.match(readPlain('{"choices":[{"error":{"code":502,"message":"x"}}]}', 'm'), { error: { code: 'provider_failed' } });
  t.match(readPlain('<html>', 'm'), { error: { code: 'provider_failed' } });
  t.match(readPlain('[]', 'm'), { error: { code: 'provider_failed' } });
  t.match(readPlain('{"id":"x"}', 'm'), { error: { code: 'provider_failed' } });
});

const chunk = (choices: unknown[], more: object = {}): string =>
  JSON.stringify({ id: 'gen-1', object: 'chat.completion.chunk', created: 5, model: 'far/m', choices, ...more });

/** What a client gets of these events, as objects, and how it ends. */
function readAll(payloads: readonly string[], wantUsage = false, ends = false) {
  const reader = createStreamReader('m', wantUsage);
  const news: StreamNews[] = payloads.map((payload) => reader.event(payload));
  if (ends) news.push(reader.end());
  const objects = news.flatMap((item) =>
    'sse' in item && item.sse !== '' ? [JSON.parse(item.sse.slice('data: '.length)) as Record<string, unknown>] : [],
  );
  return { objects, last: news.at(-1) as StreamNews, news };
}

const USAGE = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
const OPENROUTER = [
  chunk([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }], { provider: 'X' }),
  chunk([{ index: 0, delta: { role: 'assistant', content: 'a' }, finish_reason: null }], { provider: 'X' }),
  chunk([{ index: 0, delta: { role: 'assistant', content: 'b' }, finish_reason: null }], { id: 'gen-2', created: 6 }),
  chunk([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: 'stop', native_finish_reason: 'eos' }]),
  chunk([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: 'stop' }], { usage: USAGE }),
];

t.test('OpenRouter’s stream becomes one role, one id, one finish and usage in its own chunk', async (t) => {
  const { objects, last, news } = readAll([...OPENROUTER, '[DONE]'], true);
  t.same(objects, [
    {
      id: 'gen-1',
      object: 'chat.completion.chunk',
      created: 5,
      model: 'm',
      choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }],
    },
    {
      id: 'gen-1',
      object: 'chat.completion.chunk',
      created: 5,
      model: 'm',
      choices: [{ index: 0, delta: { content: 'a' }, finish_reason: null }],
    },
    {
      id: 'gen-1',
      object: 'chat.completion.chunk',
      created: 5,
      model: 'm',
      choices: [{ index: 0, delta: { content: 'b' }, finish_reason: null }],
    },
    {
      id: 'gen-1',
      object: 'chat.completion.chunk',
      created: 5,
      model: 'm',
      choices: [{ index: 0, delta: { content: '' }, finish_reason: 'stop' }],
    },
    { id: 'gen-1', object: 'chat.completion.chunk', created: 5, model: 'm', choices: [], usage: USAGE },
  ]);
  t.match(last, { kind: 'done', usage: { promptTokens: 3, completionTokens: 2 } });
  t.same(
    news.map((item) => item.kind === 'chunk' && item.says),
    [false, true, true, true, false, false],
  );
  t.equal(readAll([...OPENROUTER, '[DONE]']).objects.length, 4, 'no usage chunk for a client that did not ask');
});

t.test('a stream without [DONE] is whole when its choices have finished, and cut when not', async (t) => {
  t.match(readAll(OPENROUTER, false, true).last, { kind: 'done' });
  t.match(readAll(OPENROUTER.slice(0, 2), false, true).last, { kind: 'failed', failure: { verdict: 'fault' } });
  t.match(readAll(['[DONE]']).last, { kind: 'failed' });
  const two = [
    chunk([
      { index: 0, delta: {}, finish_reason: 'stop' },
      { index: 1, delta: { content: 'x' } },
    ]),
  ];
  t.match(readAll(two, false, true).last, { kind: 'failed' }, 'one of two choices has not finished');
});

t.test('an error inside a 200 is an error, wherever it stands', async (t) => {
  const numeric = JSON.stringify({ error: { code: 429, message: 'slow down' } });
  t.match(readAll([numeric]).last, { kind: 'failed', failure: { error: { code: 'provider_overloaded' } } });
  const inMiddle = chunk([{ index: 0, delta: { content: '' }, finish_reason: 'error' }], {
    error: { code: 502, message: 'gone' },
  });
  t.match(readAll([...OPENROUTER.slice(0, 2), inMiddle]).last, { kind: 'failed', failure: { verdict: 'fault' } });
  const bare = chunk([{ index: 0, delta: { content: '' }, finish_reason: 'error' }]);
  t.match(readAll([bare]).last, { kind: 'failed' });
  const inChoice = chunk([{ index: 0, error: { code: 503, message: 'x' } }]);
  t.match(readAll([inChoice]).last, { kind: 'failed', failure: { verdict: 'neutral' } });
  t.match(readAll(['not json']).last, { kind: 'failed' });
  t.match(readAll(['[1]']).last, { kind: 'failed' });
});

t.test('completions have texts and no roles, chunks without choices say nothing, choices are bounded', async (t) => {
  const text = (index: number | undefined, value: string) => ({ index, text: value, finish_reason: null });
  t.same(readAll([chunk([text(undefined, 'a')])]).objects[0]?.['choices'], [
    { index: 0, text: 'a', finish_reason: null },
  ]);
  t.match(readAll([chunk([text(0, '')])]).last, { says: false });
  t.match(readAll([JSON.stringify({ id: 'x' })]).last, { kind: 'chunk', sse: '' });
  t.same(readAll([chunk([7, text(0, 'a')])]).objects.length, 1, 'what is no choice is passed over');
  const many = readAll([chunk(Array.from({ length: 200 }, (_, index) => text(index, 'a')))]);
  t.match(many.objects[0], { choices: { length: 128 } });
});
