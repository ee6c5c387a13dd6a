/**
 * What a request may give a model to read: messages, parts, prompts, and no address that an engine would fetch.
 */
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { prepareRequest, type PreparedRequest, type RequestLimits } from '../../../lib/request/prepare.ts';
import type { Endpoint } from '../../../scheduler/ports.ts';

const LIMITS: RequestLimits = { maxBodyBytes: 100_000, maxDepth: 16, allowedEngineFields: new Set() };

function prepare(
  body: string | object,
  endpoint: Endpoint = 'chat',
  limits: Partial<RequestLimits> = {},
  envelope?: { model?: string; wantTokenIds?: boolean },
): PreparedRequest {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const bytes = new TextEncoder().encode(text);
  return prepareRequest({
    bytes,
    endpoint,
    limits: { ...LIMITS, ...limits },
    ...(envelope === undefined ? {} : { envelope }),
  });
}

function refusal(run: () => unknown): { code: string; param: string | undefined } {
  try {
    run();
  } catch (thrown) {
    if (thrown instanceof CodedError) return { code: thrown.code, param: thrown.param };
    throw thrown;
  }
  return { code: 'accepted', param: undefined };
}

const USER = { role: 'user', content: 'Hi' };
const withContent = (content: unknown, role = 'user'): object => ({ model: 'm', messages: [{ role, content }] });

t.test('messages', async (t) => {
  t.equal(refusal(() => prepare({ model: 'm' })).code, 'missing_field');
  t.equal(refusal(() => prepare({ model: 'm', messages: null })).code, 'missing_field');
  for (const [messages, param] of [
    [[], 'messages'],
    [['Hi'], 'messages[0]'],
    [[null], 'messages[0]'],
    [[USER, { role: 'wizard', content: '' }], 'messages[1].role'],
    [[{ content: 'x' }], 'messages[0].role'],
    [[{ role: 'user' }], 'messages[0].content'],
    [[{ role: 'user', content: 5 }], 'messages[0].content'],
    [[{ role: 'user', content: [] }], 'messages[0].content'],
  ] as const) {
    t.same(
      refusal(() => prepare({ model: 'm', messages })),
      { code: 'invalid_value', param },
    );
  }
  const tool_calls = [{ id: 'x', type: 'function', function: { name: 'f', arguments: '{}' } }];
  for (const message of [
    { role: 'assistant', tool_calls },
    { role: 'assistant', content: null },
    { role: 'assistant', content: [] },
    { role: 'tool', tool_call_id: 'x', content: '1' },
  ]) {
    t.equal(prepare({ model: 'm', messages: [USER, message] }).model, 'm');
  }
});

t.test('content parts', async (t) => {
  const data = 'data:image/png;base64,AAAA';
  for (const part of [
    { type: 'text', text: 'x' },
    { type: 'image_url', image_url: { url: data, detail: 'low' } },
    { type: 'image_url', image_url: data },
    { type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } },
    { type: 'image_url', image_url: null },
    { type: 'file', file: { list: [{ url: data }, 5] } },
  ]) {
    t.equal(prepare(withContent([part])).model, 'm', JSON.stringify(part));
  }
  for (const [part, param] of [
    ['x', 'messages[0].content[0]'],
    [{ text: 'x' }, 'messages[0].content[0].type'],
    [{ type: 'image_embeds', image_embeds: 'x' }, 'messages[0].content[0].type'],
    [{ type: 'text' }, 'messages[0].content[0].text'],
    [{ type: 'image_url', image_url: { url: 5 } }, 'messages[0].content[0].image_url.url'],
    [{ type: 'text', text: 'x', a: { b: { c: { d: { e: {} } } } } }, 'messages[0].content[0].a.b.c.d.e'],
  ] as const) {
    t.same(
      refusal(() => prepare(withContent([part]))),
      { code: 'invalid_value', param },
    );
  }
  const keyed = { type: 'image_url', image_url: { url: data }, uuid: 'other-tenants-picture' };
  t.same(
    refusal(() => prepare(withContent([keyed]))),
    { code: 'unknown_field', param: 'messages[0].content[0].uuid' },
  );
});

t.test('no address leaves the fleet on behalf of a caller, however it is spelt or hidden', async (t) => {
  const urls = [
    'http://169.254.169.254/latest',
    'https://x.example/a.png',
    'file:///etc/passwd',
    'HTTP://x',
    ' data:x',
    'DATA:x',
    'gopher://x',
    '//x/y',
    '',
  ];
  for (const url of urls) {
    for (const part of [
      { type: 'image_url', image_url: { url } },
      { type: 'image_url', image_url: url },
      { type: 'text', text: 'x', image_url: url },
      { type: 'video_url', video_url: { url } },
      { type: 'audio_url', audio_url: { url } },
      { type: 'input_image', input_image: url },
      { type: 'input_image', image_url: url },
      { type: 'file', file: { list: [{ url }] } },
    ]) {
      t.equal(refusal(() => prepare(withContent([part], 'tool'))).code, 'invalid_value', JSON.stringify(part));
    }
  }
  const open = { allowRemoteMedia: true };
  const part = { type: 'image_url', image_url: { url: 'https://x.example/a.png' } };
  t.equal(prepare(withContent([part]), 'chat', open).model, 'm');
  const file = { type: 'image_url', image_url: { url: 'file:///etc/passwd' } };
  t.equal(refusal(() => prepare(withContent([file]), 'chat', open)).code, 'invalid_value');
});

t.test('prompts and inputs: texts, ids and lists of them, nothing empty', async (t) => {
  for (const value of ['x', ['x', 'y'], [1, 2], [[1], [2, 3]], [0]]) {
    t.equal(prepare({ model: 'm', prompt: value }, 'completions').model, 'm');
    t.equal(prepare({ model: 'm', input: value }, 'embeddings').model, 'm');
  }
  for (const value of ['', [], [''], [[]], ['x', 1], [1, 'x'], [-1], [1.5], [[1], 'x'], [null], [2 ** 33]]) {
    t.same(
      refusal(() => prepare({ model: 'm', prompt: value }, 'completions')),
      { code: 'invalid_value', param: 'prompt' },
    );
    t.same(
      refusal(() => prepare({ model: 'm', input: value }, 'embeddings')),
      { code: 'invalid_value', param: 'input' },
    );
  }
  t.same(
    refusal(() => prepare({ model: 'm', prompt: {} }, 'completions')),
    { code: 'invalid_value', param: 'prompt' },
  );
  t.same(
    refusal(() => prepare({ model: 'm' }, 'completions')),
    { code: 'missing_field', param: 'prompt' },
  );
});
