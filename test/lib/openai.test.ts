/** OpenAI objects: the error event inside a stream, and usage that is known or unknown but never invented. */
import fc from 'fast-check';
import t from 'tap';
import { CodedError } from '../../lib/errors.ts';
import { chunkErrorEvent, parseUsage } from '../../lib/openai.ts';
import { createSseSplitter } from '../../lib/sse.ts';

t.test('an error in a stream is one event whose data is the error object', async (t) => {
  const event = chunkErrorEvent(new CodedError('engine_died', 'It died:\n\n"data: [DONE]"', { param: 'model' }));
  const payloads = createSseSplitter({ maxEventBytes: 1_000 }).push(new TextEncoder().encode(event));
  t.equal(payloads.length, 1, 'a line break in a message cannot end the event');
  const body = JSON.parse(new TextDecoder().decode(payloads[0])) as { error: Record<string, unknown> };
  t.equal(body.error['code'], 'engine_died');
  t.equal(body.error['type'], 'server_error');
});

t.test('usage is read, and its total is the sum', async (t) => {
  t.same(parseUsage({ prompt_tokens: 7, completion_tokens: 5, total_tokens: 99 }), {
    prompt_tokens: 7,
    completion_tokens: 5,
    total_tokens: 12,
  });
  t.same(parseUsage({ prompt_tokens: 7, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 4 } }), {
    prompt_tokens: 7,
    completion_tokens: 1,
    total_tokens: 8,
    prompt_tokens_details: { cached_tokens: 4 },
  });
  t.same(parseUsage({ prompt_tokens: 3, prompt_tokens_details: null }), {
    prompt_tokens: 3,
    completion_tokens: 0,
    total_tokens: 3,
  });
});

t.test('usage that is not sound is unknown, not zero', async (t) => {
  const unsound = [
    undefined,
    null,
    3,
    'x',
    {},
    { completion_tokens: 4 },
    { prompt_tokens: -1, completion_tokens: 0 },
    { prompt_tokens: 1.5, completion_tokens: 0 },
    { prompt_tokens: '1', completion_tokens: 0 },
    { prompt_tokens: 1, completion_tokens: Number.NaN },
    { prompt_tokens: 1, completion_tokens: null },
  ];
  for (const value of unsound) t.equal(parseUsage(value), undefined, JSON.stringify(value) ?? 'undefined');
});

t.test('whatever an engine sends as usage, reading it does not throw', async () => {
  fc.assert(
    fc.property(fc.anything(), (value) => {
      const usage = parseUsage(value);
      return usage === undefined || usage.total_tokens === usage.prompt_tokens + usage.completion_tokens;
    }),
  );
});
