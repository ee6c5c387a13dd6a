/** How an engine's errors and figures are understood, from answers of a real vLLM. */
import t from 'tap';
import { mapEngineError, mapStreamError, readUsage, usageInTail } from '../../../agent/workers/engine_answers.ts';
import { fixture } from '../support/bytes.ts';

function answer(name: string): { status: number; body: string } {
  const text = fixture(name).toString('utf8');
  return { status: Number(text.slice(9, 12)), body: text.slice(text.indexOf('\r\n\r\n') + 4) };
}

t.test('recorded errors get their codes', async (t) => {
  const cases: Readonly<Record<string, string>> = {
    'error-too-long.http': 'context_length_exceeded',
    'error-too-long-stream.http': 'context_length_exceeded',
    'error-unknown-model.http': 'engine_rejected',
    'error-bad-json.http': 'engine_rejected',
    'error-wrong-type.http': 'engine_rejected',
    'error-wrong-value.http': 'engine_rejected',
    'error-unknown-path.http': 'engine_rejected',
    'error-embeddings.http': 'engine_rejected',
    'sigterm-40-late.http': 'engine_failed',
    'core-killed-plain.http': 'engine_failed',
  };
  for (const [name, code] of Object.entries(cases)) {
    const { status, body } = answer(name);
    const mapped = mapEngineError(status, body, undefined);
    t.equal(mapped.failure.code, code, name);
    t.equal(mapped.status, status);
    t.not(mapped.failure.message, '', name);
  }
});

t.test('the engine names the parameter and the time to wait', async (t) => {
  const mapped = mapEngineError(429, '{"error":{"message":"busy","param":"max_tokens"}}', '7');
  t.same(mapped, {
    status: 429,
    failure: { code: 'engine_overloaded', message: 'busy', param: 'max_tokens', retryAfterMs: 7000 },
  });
  t.equal(mapEngineError(503, '', 'Wed, 21 Oct 2026 07:28:00 GMT').failure.retryAfterMs, undefined);
});

t.test('any other answer has a code and a message too', async (t) => {
  const code = (status: number, body: string): string => mapEngineError(status, body, undefined).failure.code;
  t.equal(code(500, '<html>'), 'engine_failed');
  t.equal(code(401, 'null'), 'engine_rejected');
  t.equal(code(302, '{}'), 'engine_garbage');
  t.equal(mapEngineError(500, '[]', undefined).failure.message, 'The engine answered with status 500.');
  t.equal(mapEngineError(400, '{"error":"no"}', undefined).failure.message, 'no');
  t.equal(mapEngineError(404, '{"detail":"Not Found"}', undefined).failure.message, 'Not Found');
  t.equal(mapEngineError(400, '{"message":"old shape","param":"n"}', undefined).failure.param, 'n');
  t.equal(mapEngineError(400, `{"error":{"message":"${'x'.repeat(9000)}"}}`, undefined).failure.message.length, 2000);
});

t.test('an error inside a stream', async (t) => {
  t.same(mapStreamError('{"error":{"message":"EngineCore encountered an issue.","code":500}}'), {
    status: 500,
    failure: { code: 'engine_failed', message: 'EngineCore encountered an issue.' },
  });
  t.equal(mapStreamError('{"error":{"message":"bad","code":400}}').failure.code, 'engine_rejected');
  t.equal(mapStreamError('not json').failure.code, 'engine_failed');
});

t.test('usage is read, or unknown', async (t) => {
  t.same(readUsage('{"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}'), {
    promptTokens: 3,
    completionTokens: 2,
    cachedPromptTokens: 1,
  });
  t.equal(readUsage('{"usage":null}'), undefined);
  t.equal(readUsage('{'), undefined);
  const { body } = answer('chat.http');
  t.same(usageInTail(Buffer.from(body).subarray(-500)), readUsage(body));
  t.match(usageInTail(Buffer.from(body)), { promptTokens: Number });
  t.equal(usageInTail(Buffer.from('no figures')), undefined);
  t.equal(usageInTail(Buffer.from('"usage":{"prompt_tokens":1')), undefined);
});
