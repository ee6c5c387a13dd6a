/** Who may answer instead of the fleet, in which order, and what providers are held to. */
import t from 'tap';
import type { TenantId } from '../../../../lib/ids.ts';
import { createProviderBook } from '../../../../scheduler/core/providers/book.ts';
import type { FallbackRules, ProviderSpec } from '../../../../scheduler/core/providers/contract.ts';
import { degradedModes, modeOfDecision, modeOfProvider } from '../../../../scheduler/core/providers/modes.ts';
import { outgoingBody } from '../../../../scheduler/core/providers/outgoing.ts';
import { createPlanner, mayFollow } from '../../../../scheduler/core/providers/plan.ts';
import { costOf } from '../../../../scheduler/core/providers/price.ts';
import { checkAddress, checkRules } from '../../../../scheduler/core/providers/rules.ts';

const spec = (name: string, change: Partial<ProviderSpec> = {}): ProviderSpec => ({
  name,
  dialect: 'openai',
  leavesFleet: true,
  models: { m: `${name}/m` },
  promptPricePerMillion: 0,
  outputPricePerMillion: 0,
  maxRunningRequests: 2,
  allowDataCollection: false,
  ...change,
});

const POOL = spec('pool-b', { leavesFleet: false });
const OUTSIDE = spec('outside');
const RULES: FallbackRules = {
  providers: [OUTSIDE, POOL],
  fallbacks: { m: ['pool-b', 'outside'] },
  leaveFleetTenants: ['open'],
};

const asked = (tenant: string, change: { model?: string; wantTokenIds?: boolean } = {}) => ({
  tenant: tenant as TenantId,
  model: 'm',
  wantTokenIds: false,
  ...change,
});

t.test('prompts leave the fleet only for a tenant that allowed it', async (t) => {
  const plan = createPlanner(RULES);
  t.same(plan(asked('closed')), { allowed: [POOL], refused: [{ provider: 'outside', by: 'data_policy' }] });
  t.same(plan(asked('open')), { allowed: [POOL, OUTSIDE], refused: [] }, 'in the order of the list');
  t.same(plan(asked('open', { model: 'other' })), { allowed: [], refused: [] });
  t.same(plan(asked('open', { model: 'constructor' })), { allowed: [], refused: [] });
  t.same(
    plan(asked('open', { wantTokenIds: true })).refused.map(({ by }) => by),
    ['token_ids', 'token_ids'],
    'no provider has the token ids of our engines',
  );
});

t.test('a provider follows where the fleet could not, never where the request or the client ended it', async (t) => {
  for (const code of ['no_engine', 'overloaded', 'engine_died', 'stream_lost', 'model_not_found'] as const)
    t.ok(mayFollow(code), code);
  for (const code of ['cancelled', 'deadline_exceeded', 'invalid_value', 'draining', 'already_exists'] as const)
    t.notOk(mayFollow(code), code);
});

t.test('rules that would fail in an outage only are refused at the start', async (t) => {
  checkRules(RULES);
  const refused = (change: Partial<FallbackRules>, why: RegExp) =>
    t.throws(() => checkRules({ ...RULES, ...change }), { code: 'invalid_config', message: why });
  refused({ providers: [POOL, POOL] }, /same name/);
  refused({ fallbacks: { m: ['nobody'] } }, /nobody, which is not among/);
  refused({ fallbacks: { m: ['pool-b', 'pool-b'] } }, /twice/);
  refused({ fallbacks: { x: ['pool-b'] } }, /no name for the model x/);
  refused({ fallbacks: { toString: ['pool-b'] } }, /no name for the model toString/);
});

t.test('prompts leave the fleet over https only', async (t) => {
  t.throws(() => checkAddress('p', new URL('http://example.org/v1'), true), { code: 'invalid_config' });
  for (const [address, leaves] of [
    ['https://example.org/v1', true],
    ['http://127.0.0.1:9/v1', true],
    ['http://pool-b.internal/v1', false],
  ] as const) {
    checkAddress('p', new URL(address), leaves);
    t.pass(address);
  }
});

t.test('every degraded mode has one name out of a known few', async (t) => {
  t.same(degradedModes(RULES.providers), ['panic', 'stale', 'provider:outside', 'secondary_pool']);
  t.equal(modeOfProvider(POOL), 'secondary_pool');
  t.equal(modeOfProvider(OUTSIDE), 'provider:outside');
  t.equal(modeOfDecision('panic'), 'panic');
  t.equal(modeOfDecision('normal'), undefined);
  t.equal(modeOfDecision(undefined), undefined);
});

t.test(
  'a breaker opens after faults in a row, lets one through after its pause, and closes when that is served',
  async (t) => {
    const book = createProviderBook([OUTSIDE]);
    const state = () => book.views()[0]?.breaker.state;
    const begin = (nowMs: number) => {
      const turn = book.begin('outside', nowMs);
      if (typeof turn === 'string') throw new Error(turn);
      return turn;
    };
    for (const atMs of [0, 1]) begin(atMs).ended('fault', atMs);
    t.equal(state(), 'closed');
    const last = begin(2);
    last.ended('fault', 2);
    last.ended('fault', 2);
    t.equal(state(), 'open');
    t.equal(book.begin('outside', 3), 'breaker');
    const probe = begin(503);
    t.equal(state(), 'half_open');
    t.equal(book.begin('outside', 504), 'breaker', 'one at a time');
    probe.spoke(505);
    probe.ended('fault', 506);
    t.equal(book.begin('outside', 1005), 'breaker', 'the next pause is longer');
    const second = begin(1507);
    second.spoke(1508);
    second.ended('success', 1509);
    t.equal(state(), 'closed');
    t.equal(book.views()[0]?.breaker.opened, 2);
  },
);

t.test('a provider has a bound on what it has at once, and is left alone when it asked for that', async (t) => {
  const book = createProviderBook([OUTSIDE]);
  const turns = [book.begin('outside', 0), book.begin('outside', 0)];
  t.equal(book.begin('outside', 0), 'busy');
  const [first, second] = turns;
  if (typeof first !== 'object' || typeof second !== 'object') throw new Error('no turn');
  first.spoke(1);
  first.ended('neutral', 1000, 5000);
  t.equal(book.begin('outside', 5999), 'told_to_wait');
  t.equal(typeof book.begin('outside', 6000), 'object');
  second.ended('neutral', 6000, 86_400_000);
  t.equal(book.begin('outside', 65_999), 'told_to_wait');
  t.equal(typeof book.begin('outside', 66_000), 'object', 'a day is not believed');
  t.equal(book.views()[0]?.running, 2);
});

t.test('a clock that stepped back holds no provider off', async (t) => {
  const book = createProviderBook([OUTSIDE]);
  const turn = book.begin('outside', 1_000_000);
  if (typeof turn === 'string') throw new Error(turn);
  turn.ended('neutral', 1_000_000, 60_000);
  t.equal(typeof book.begin('outside', 10), 'object');
});

t.test('the price is that of the list', async (t) => {
  const list = { promptPricePerMillion: 2, outputPricePerMillion: 10 };
  t.equal(costOf(list, { promptTokens: 500_000, completionTokens: 100_000 }), 2);
  t.equal(costOf(list, {}), 0);
  t.equal(costOf(list, undefined), 0);
});

t.test('a provider gets its own name of the model and nothing that only the fleet wished for', async (t) => {
  const text = '{"model":"m", "temperature": 0.70, "return_token_ids":true,"messages":[]}';
  const order = (body: string) => ({ endpoint: 'chat' as const, model: 'm', body: Buffer.from(body) });
  const sent = (out: ReturnType<typeof outgoingBody>) => ('body' in out ? Buffer.from(out.body).toString() : out);
  t.equal(sent(outgoingBody(OUTSIDE, order(text))), '{"model":"outside/m", "temperature": 0.70,"messages":[]}');
  const router = { ...OUTSIDE, dialect: 'openrouter' as const };
  t.same(JSON.parse(sent(outgoingBody(router, order(text))) as string), {
    model: 'outside/m',
    temperature: 0.7,
    messages: [],
    provider: { data_collection: 'deny' },
  });
  t.notMatch(sent(outgoingBody({ ...router, allowDataCollection: true }, order(text))), /data_collection/);
  const options = '{"model":"m","stream_options":{"continuous_usage_stats":true,"include_usage":true}}';
  t.equal(sent(outgoingBody(OUTSIDE, order(options))), '{"model":"outside/m","stream_options":{"include_usage":true}}');
  t.same(outgoingBody(OUTSIDE, order('{"model":"m","top_k":3}')), { unknownField: 'top_k' });
  t.ok('body' in outgoingBody(router, order('{"model":"m","top_k":3}')));
  t.same(outgoingBody(router, order('{"model":"m","guided_regex":"a"}')), { unknownField: 'guided_regex' });
  t.same(outgoingBody(OUTSIDE, order('not json')), { unknownField: '' });
});
