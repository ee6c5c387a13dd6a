/** Requests that the fleet cannot take, at providers on loopback that speak the dialects. */
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import { eventually } from '../../support/child.ts';
import { answering, chunk, events, type Script, sse, streaming } from '../../support/provider_server.ts';
import { ask, door, fakeFleet, KEY, over, setUp, textOf } from './setup.ts';

for (const dialect of ['openai', 'openrouter'] as const) {
  await t.test(`a request that no engine can take is served in the dialect of ${dialect}`, async (t) => {
    const { generator, servers, metric, lines } = await setUp(t, {
      scripts: [[streaming(events[dialect])]],
      specs: [{ dialect }],
    });
    const sink = door();
    generator.start(ask({ wantUsage: true }), sink, 65_536);
    t.equal(generator.running, 1);
    await over(sink);
    t.same(sink.calls.slice(0, 2), ['degraded:provider:p0', 'head'], 'the name comes before the head');
    t.equal(textOf(sink.calls), 'far away');
    t.equal(sink.calls.at(-1), 'done');
    t.equal(sink.calls.filter((call) => call.includes('"finish_reason":"stop"')).length, 1);
    t.equal(sink.calls.filter((call) => call.includes('"role"')).length, 1);
    t.match(sink.calls.at(-2), /"choices":\[\],"usage":/);
    t.match(sink.usage, { promptTokens: 9, completionTokens: 2 });
    const [asked] = servers[0]?.asked ?? [];
    t.equal(asked?.path, '/api/v1/chat/completions');
    t.equal(asked?.headers.authorization, `Bearer ${KEY}`);
    t.equal(asked?.body['model'], 'far/model');
    t.notOk(Object.hasOwn(asked?.body ?? {}, 'return_token_ids'));
    t.equal(generator.running, 0);
    await generator.idle();
    t.equal(await metric('sophia_degraded_total'), 'sophia_degraded_total{mode="provider:p0"} 1');
    t.equal(
      await metric('sophia_provider_requests_total'),
      'sophia_provider_requests_total{provider="p0",code="ok"} 1',
    );
    t.match(await metric('sophia_provider_cost_total'), /} 0\.000017$/);
    t.match(await metric('sophia_provider_breaker{'), /state="closed"} 1/);
    t.notMatch(JSON.stringify(lines), /canary/);
  });
}

await t.test(
  'a prompt of a tenant that did not allow it stays, and a second pool serves it all the same',
  async (t) => {
    const { generator, servers, metric, log } = await setUp(t, {
      scripts: [[streaming(events.openai)], [streaming(events.openai)]],
      specs: [{}, { leavesFleet: false }],
    });
    const sink = door();
    generator.start(ask({ tenant: 'closed' as TenantId }), sink, 65_536);
    await over(sink);
    t.equal(servers[0]?.asked.length, 0);
    t.equal(servers[1]?.asked.length, 1);
    t.equal(sink.calls[0], 'degraded:secondary_pool');
    t.match(await metric('sophia_provider_refusals_total'), /provider="p0",reason="data_policy"} 1/);
    t.match(log.find(ask().id), {
      outcome: 'finished',
      errorCode: '',
      providers: [
        { provider: 'p0', outcome: 'passed_over', why: 'data_policy' },
        { provider: 'p1', outcome: 'answered', why: '' },
      ],
    });
  },
);

await t.test('without an allowed provider the client is told what the fleet said', async (t) => {
  const { generator, servers } = await setUp(t);
  t.throws(() => generator.start(ask({ tenant: 'closed' as TenantId }), door(), 1), { code: 'no_engine' });
  const draining = fakeFleet(new CodedError('draining', 'Stopping.'));
  const other = await setUp(t, { fleet: draining });
  t.throws(() => other.generator.start(ask(), door(), 1), { code: 'draining' });
  t.throws(() => generator.start(ask({ body: Buffer.from('{"guided_regex":"a"}') }), door(), 1), { code: 'no_engine' });
  t.same([servers[0]?.asked.length, other.servers[0]?.asked.length], [0, 0]);
});

await t.test('the next provider is asked while nothing was sent, whatever form the failure has', async (t) => {
  const failures: [string, Script][] = [
    ['a 500', answering(500, 'oops')],
    ['a 429', answering(429, { error: { code: 429, message: 'slow' } }, { 'retry-after': '1' })],
    ['an error as the only event of a 200', streaming(sse({ error: { code: 502, message: 'gone' } }))],
    [
      'an error after a role',
      streaming(sse(chunk({ delta: { role: 'assistant', content: '' } }), { error: { code: 500, message: 'x' } })),
    ],
    ['an error in a plain 200', answering(200, { error: { code: 503, message: 'x' } })],
    ['a plain answer to a stream', answering(200, { choices: [] })],
    ['html', answering(200, '<html>')],
    ['a redirect', answering(307, '', { location: 'http://127.0.0.1:1/' })],
    ['a cut before the head', (response) => void response.destroy()],
    [
      'an endless event',
      (response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        for (let at = 0; at < 9; at++) response.write(`data: ${'x'.repeat(1024 * 1024)}`);
      },
    ],
    ['silence', () => {}],
    [
      'an endless error',
      (response) => {
        response.writeHead(500);
        response.write('x'.repeat(200_000));
      },
    ],
  ];
  for (const [name, script] of failures) {
    const { generator, servers } = await setUp(t, {
      scripts: [[script], [streaming(events.openai)]],
      idleTimeoutMs: name === 'silence' ? 200 : 5000,
    });
    const sink = door();
    generator.start(ask(), sink, 65_536);
    await over(sink);
    t.equal(textOf(sink.calls), 'far away', name);
    t.equal(sink.calls[0], 'degraded:provider:p1', name);
    t.equal(servers[0]?.asked.length, 1, name);
  }
});

await t.test('what was sent is not mixed with another answer: the stream ends with an error', async (t) => {
  const cut: Script = (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(sse(chunk({ delta: { role: 'assistant', content: 'far' } })), () => response.destroy());
  };
  const { generator, servers } = await setUp(t, { scripts: [[cut], [streaming(events.openai)]] });
  const sink = door();
  generator.start(ask(), sink, 65_536);
  await over(sink);
  t.equal(textOf(sink.calls), 'far');
  t.equal(sink.calls.at(-1), 'error:provider_failed');
  t.equal(servers[1]?.asked.length, 0);
});

await t.test('when every provider fails the client is told what helps it most', async (t) => {
  const bad = await setUp(t, {
    scripts: [[answering(400, { error: { message: 'too many tools' } })], [answering(500, '')]],
  });
  const refused = door();
  bad.generator.start(ask(), refused, 1);
  await over(refused);
  t.match(refused.error, { code: 'provider_rejected', message: 'too many tools' });
  const down = await setUp(t, { scripts: [[answering(500, '')]] });
  const fleetSays = door();
  down.generator.start(ask(), fleetSays, 1);
  await over(fleetSays);
  t.equal(fleetSays.error?.code, 'no_engine');
  const only = await setUp(t, {
    scripts: [[answering(401, { error: { message: `Incorrect API key provided: ${KEY}` } })]],
    fleet: fakeFleet(new CodedError('model_not_found', 'Unknown.')),
  });
  const unknown = door();
  only.generator.start(ask(), unknown, 1);
  await over(unknown);
  t.equal(unknown.error?.code, 'provider_failed', 'a model of providers only is not unknown');
  t.notMatch(unknown.error?.message, /canary/);
  t.notMatch(JSON.stringify(only.lines), /canary/);
});

await t.test('a breaker opens, lets one request through after its pause, and closes when that is served', async (t) => {
  const { generator, servers, state, metric } = await setUp(t, {
    scripts: [[answering(500, ''), answering(500, ''), answering(500, ''), streaming(events.openai)]],
  });
  for (let at = 0; at < 3; at++) {
    const sink = door();
    generator.start(ask({ id: `r${at}` as RequestId }), sink, 65_536);
    await over(sink);
  }
  t.equal(state(), 'open');
  t.throws(() => generator.start(ask(), door(), 1), { code: 'no_engine' }, 'at once, without a call');
  t.equal(servers[0]?.asked.length, 3);
  t.match(await metric('sophia_provider_refusals_total'), /reason="breaker"} 1/);
  const sink = door();
  await eventually('the pause is over', () => {
    try {
      generator.start(ask(), sink, 65_536);
      return true;
    } catch {
      // The breaker is open still.
      return false;
    }
  });
  await over(sink);
  t.equal(sink.calls.at(-1), 'done');
  t.equal(state(), 'closed');
  t.equal(await metric('sophia_provider_breaker_openings'), 'sophia_provider_breaker_openings{provider="p0"} 1');
});
