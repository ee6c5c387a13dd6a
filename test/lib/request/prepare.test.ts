/**
 * What becomes of a request body, and what is refused; examples for the rules, properties for what must always hold.
 */
import fc from 'fast-check';
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { FIELDS, jsonTypeOf, kindAccepts, wordsFor } from '../../../lib/request/fields.ts';
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

function textOf(prepared: PreparedRequest): string {
  return new TextDecoder().decode(prepared.body);
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
const CHAT = { model: 'm', messages: [USER] };

t.test('a plain chat goes on byte for byte', async (t) => {
  const body = '{ "model":"m", "messages":[{"role":"user","content":"\\u00e9\\/ 1.0e0"}],\n"temperature":1.0e-1 }';
  const prepared = prepare(body);
  t.equal(textOf(prepared), body);
  t.match(prepared, { model: 'm', stream: false, wantUsage: true, wantTokenIds: false });
});

t.test('a stream asks for usage and token ids, whatever the client asked', async (t) => {
  const prepared = prepare('{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}');
  t.equal(
    textOf(prepared),
    '{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"return_token_ids":true,"stream_options":{"include_usage":true}}',
  );
  t.match(prepared, { stream: true, wantUsage: false, wantTokenIds: false });
  const asked = prepare({
    ...CHAT,
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
    return_token_ids: true,
  });
  t.match(asked, { wantUsage: true, wantTokenIds: true });
  t.same(JSON.parse(textOf(asked)).stream_options, { include_usage: true, continuous_usage_stats: true });
  const unasked = prepare({
    ...CHAT,
    stream: true,
    stream_options: { continuous_usage_stats: true },
    return_token_ids: false,
  });
  t.match(unasked, { wantUsage: false, wantTokenIds: false });
  t.same(JSON.parse(textOf(unasked)).stream_options, { include_usage: true });
  t.equal(JSON.parse(textOf(unasked)).return_token_ids, true);
  t.equal(prepare({ ...CHAT, stream: true, stream_options: null }).wantUsage, false);
  t.equal(prepare({ ...CHAT, stream: null }).stream, false);
});

t.test('token ids of a plain answer are asked for only when wanted', async (t) => {
  t.notMatch(textOf(prepare(CHAT)), 'return_token_ids');
  const byEnvelope = prepare(CHAT, 'chat', {}, { wantTokenIds: true });
  t.equal(byEnvelope.wantTokenIds, true);
  t.equal(JSON.parse(textOf(byEnvelope)).return_token_ids, true);
});

t.test('stream_options: unknown members, wrong types, without stream', async (t) => {
  const stream_options = { include_usage: true };
  t.same(
    refusal(() => prepare({ ...CHAT, stream_options })),
    { code: 'invalid_value', param: 'stream_options' },
  );
  const wrong = { ...CHAT, stream: true, stream_options: { include_usage: 'yes' } };
  t.same(
    refusal(() => prepare(wrong)),
    { code: 'invalid_value', param: 'stream_options.include_usage' },
  );
  const unknown = { ...CHAT, stream: true, stream_options: { x: true } };
  t.same(
    refusal(() => prepare(unknown)),
    { code: 'unknown_field', param: 'stream_options.x' },
  );
  t.equal(prepare({ ...CHAT, stream: true, stream_options: { include_usage: null } }).wantUsage, false);
});

t.test('embeddings: a null encoding_format is dropped, everything else stays', async (t) => {
  t.equal(
    textOf(prepare('{"model":"m","encoding_format":null,"input":"x"}', 'embeddings')),
    '{"model":"m","input":"x"}',
  );
  const body = '{"model":"m","encoding_format":"base64","input":"x"}';
  t.equal(textOf(prepare(body, 'embeddings')), body);
  t.same(
    refusal(() => prepare({ model: 'm', input: 'x', stream: true }, 'embeddings')),
    { code: 'unknown_field', param: 'stream' },
  );
});

t.test('the envelope names the same model or none', async (t) => {
  t.equal(prepare(CHAT, 'chat', {}, { model: 'm' }).model, 'm');
  t.same(
    refusal(() => prepare(CHAT, 'chat', {}, { model: 'n' })),
    { code: 'invalid_value', param: 'model' },
  );
});

t.test('model: absent, null, empty, too long', async (t) => {
  t.same(
    refusal(() => prepare({ messages: [USER] })),
    { code: 'missing_field', param: 'model' },
  );
  for (const model of [null, '', 'x'.repeat(513), 1, {}]) {
    t.equal(refusal(() => prepare({ ...CHAT, model })).param, 'model');
  }
});

t.test('what is not public passes only by the allow-list', async (t) => {
  for (const field of [
    'kv_transfer_params',
    'cache_salt',
    'priority',
    'chat_template',
    'chat_template_kwargs',
    'mm_processor_kwargs',
    'request_id',
    'prompt_logprobs',
    'logits_processors',
    'brand_new',
  ]) {
    const kind = FIELDS.chat.get(field)?.kind;
    const value = kind === 'object' ? {} : kind === 'integer' ? 1 : kind === 'array' ? [] : 'x';
    t.same(
      refusal(() => prepare({ ...CHAT, [field]: value })),
      { code: 'unknown_field', param: field },
    );
    t.equal(prepare({ ...CHAT, [field]: value }, 'chat', { allowedEngineFields: new Set([field]) }).model, 'm');
  }
  const allowed = { allowedEngineFields: new Set(['priority']) };
  t.same(
    refusal(() => prepare({ ...CHAT, priority: 'high' }, 'chat', allowed)),
    { code: 'invalid_value', param: 'priority' },
  );
  const long = 'z'.repeat(100);
  t.equal(refusal(() => prepare({ ...CHAT, [long]: 1 })).param, `${'z'.repeat(64)}...`);
});

t.test('every public field passes with a value of its kind, and null means not set', async (t) => {
  const samples: Readonly<Record<string, string>> = {
    string: '"x"',
    number: '0.5',
    integer: '2',
    boolean: 'true',
    object: '{}',
    array: '[]',
    string_or_array: '"x"',
    string_or_object: '{}',
    any: '1',
  };
  const own = {
    chat: ['messages', '[{"role":"user","content":"x"}]'],
    completions: ['prompt', '"x"'],
    embeddings: ['input', '"x"'],
  };
  for (const endpoint of ['chat', 'completions', 'embeddings'] as const) {
    const [key, value] = own[endpoint] as [string, string];
    for (const [name, rule] of FIELDS[endpoint]) {
      if (['model', key, 'stream', 'stream_options'].includes(name) || rule.engineInternal === true) continue;
      for (const sample of [samples[rule.kind], 'null']) {
        const body = `{"model":"m","${key}":${value},"${name}":${sample}}`;
        t.equal(refusal(() => prepare(body, endpoint)).code, 'accepted', `${endpoint}.${name} = ${sample}`);
      }
    }
  }
});

t.test('numbers: whole where they must be, within their bounds, finite', async (t) => {
  for (const [field, value] of [
    ['n', '0'],
    ['n', '129'],
    ['n', '1.5'],
    ['max_tokens', '-1'],
    ['temperature', '1e999'],
    ['seed', '0.5'],
    ['top_logprobs', '-1'],
  ] as const) {
    const body = `{"model":"m","messages":[{"role":"user","content":"x"}],"${field}":${value}}`;
    t.same(
      refusal(() => prepare(body)),
      { code: 'invalid_value', param: field },
    );
  }
  t.equal(prepare('{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":1e2}').model, 'm');
});

t.test('the body as a whole: size, syntax, depth, UTF-8, keys', async (t) => {
  t.equal(refusal(() => prepare({ ...CHAT, user: 'x'.repeat(100_000) })).code, 'body_too_large');
  t.same(
    refusal(() => prepare('{')),
    { code: 'malformed_json', param: undefined },
  );
  t.equal(refusal(() => prepare('{"messages":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}')).code, 'too_deep');
  t.same(
    refusal(() => prepare('{"model":"a","model":"b"}')),
    { code: 'duplicate_key', param: 'model' },
  );
  t.equal(
    refusal(() => prepare('{"model":"m","messages":[{"role":"user","role":"system","content":"x"}]}')).code,
    'duplicate_key',
  );
});

t.test('kinds and their words', async (t) => {
  t.equal(jsonTypeOf('-'.charCodeAt(0)), 'number');
  t.equal(kindAccepts('string_or_array', 'object'), false);
  t.equal(kindAccepts('string_or_object', 'array'), false);
  t.equal(kindAccepts('any', 'null'), true);
  for (const kind of ['string', 'any'] as const) t.type(wordsFor(kind), 'string');
});

t.test('property: an accepted body means the same to the engine, apart from the spliced members', async (t) => {
  const field = fc.constantFrom(
    'temperature',
    'top_p',
    'user',
    'stop',
    'seed',
    'logit_bias',
    'return_token_ids',
    'stream_options',
    'unknown',
  );
  const fields = fc.dictionary(field, fc.jsonValue({ maxDepth: 3 }));
  fc.assert(
    fc.property(fields, fc.string(), fc.boolean(), fc.constantFrom(0, 1, 2), (extra, content, stream, indent) => {
      const body = { ...extra, model: 'm', messages: [{ role: 'user', content }], stream };
      let prepared: PreparedRequest;
      try {
        prepared = prepare(JSON.stringify(body, null, indent));
      } catch (thrown) {
        return thrown instanceof CodedError;
      }
      const sent = JSON.parse(textOf(prepared)) as Record<string, unknown>;
      const spliced = new Set(['stream_options', 'return_token_ids']);
      for (const [key, value] of Object.entries(JSON.parse(JSON.stringify(body)) as Record<string, unknown>)) {
        if (!spliced.has(key)) t.same(sent[key], value);
      }
      return (
        !stream ||
        (sent['return_token_ids'] === true && (sent['stream_options'] as { include_usage: boolean }).include_usage)
      );
    }),
    { numRuns: 300 },
  );
});

t.test('property: whatever the bytes, the answer is a request or a coded error', async () => {
  const mostlyJson = fc.json({ maxDepth: 5 }).map((text) => new TextEncoder().encode(text));
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 200 }), mostlyJson),
      fc.constantFrom<Endpoint>('chat', 'completions', 'embeddings'),
      (bytes, endpoint) => {
        try {
          prepareRequest({ bytes, endpoint, limits: LIMITS });
          return true;
        } catch (thrown) {
          return thrown instanceof CodedError && thrown.code !== 'internal';
        }
      },
    ),
    { numRuns: 500 },
  );
});
