/** The registry of errors: what callers get to see, and what must never leak. */
import t from 'tap';
import {
  CodedError,
  ERRORS,
  type ErrorCode,
  OUTCOMES,
  outcomeOf,
  toCodedError,
  toOpenAiBody,
} from '../../lib/errors.ts';

t.test('the OpenAI shape has a string message, a type, a param and a code', async (t) => {
  const body = toOpenAiBody(new CodedError('invalid_value', 'Field n must be at least 1.', { param: 'n' }));
  t.same(JSON.parse(JSON.stringify(body)), {
    error: { message: 'Field n must be at least 1.', type: 'invalid_request_error', param: 'n', code: 'invalid_value' },
  });
  t.equal(toOpenAiBody(new CodedError('overloaded', 'Busy.')).error.param, null);
});

t.test('a foreign error becomes internal without its message, and keeps it as the cause', async (t) => {
  const foreign = new Error('password is hunter2');
  const coded = toCodedError(foreign);
  t.equal(coded.code, 'internal');
  t.notMatch(JSON.stringify(toOpenAiBody(coded)), /hunter2/);
  t.equal(coded.cause, foreign);
  const own = new CodedError('draining', 'Stopping.', { retryAfterMs: 1_500 });
  t.equal(toCodedError(own), own);
  t.equal(own.retryAfterMs, 1_500);
  t.equal(own.spec.http, 503);
  t.notOk('cause' in own);
});

t.test('each code has a sound mapping that agrees with itself', async (t) => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    const { http, retry, type, when, next } = ERRORS[code];
    t.ok(http >= 400 && http <= 599, `${code}: HTTP status ${http}`);
    t.match(when, /^[A-Z].*\.$/, `${code}: when is a sentence`);
    t.match(next, /^[A-Z].*[.]$/, `${code}: next is a sentence`);
    if (retry) t.ok([429, 500, 502, 503, 504].includes(http), `${code}: SDKs retry ${http}`);
    if (http === 401) t.equal(type, 'authentication_error');
    if (http === 403) t.equal(type, 'permission_error');
    if (http === 429) t.equal(type, 'rate_limit_error');
  }
});

t.test('an end counts as one of the outcomes that service levels are counted in', async (t) => {
  t.equal(outcomeOf('ok'), 'ok');
  t.equal(outcomeOf('cancelled'), 'cancelled');
  t.equal(outcomeOf('overloaded'), 'rejected');
  t.equal(outcomeOf('model_not_found'), 'client_error');
  t.equal(outcomeOf('engine_died'), 'error');
  for (const code of Object.keys(ERRORS) as ErrorCode[]) t.ok(OUTCOMES.includes(outcomeOf(code)), code);
});
