/** Who serves a request, the fleet or a provider, and how an answer of a provider is ended and paced. */
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId } from '../../../lib/ids.ts';
import { systemClock } from '../../../lib/io/system.ts';
import type { Generation } from '../../../scheduler/ports.ts';
import { eventually } from '../../support/child.ts';
import { answering, chunk, events, type Script, sse, streaming } from '../../support/provider_server.ts';
import { ask, door, fakeFleet, type FakeFleet, OPEN, over, type Setup, setUp, textOf } from './setup.ts';

const endless: Script = (response, asked) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const more = (): void => {
    if (asked.gone || response.destroyed) return;
    const event = sse(chunk({ delta: { content: 'x'.repeat(1000) } }));
    if (response.write(event)) setTimeout(more, 1);
    else response.once('drain', more);
  };
  more();
};

await t.test('a client that goes away, an order and a stop end the call, and no breaker hears of it', async (t) => {
  const { generator, servers, book, metric } = await setUp(t, { scripts: [[endless]] });
  const ways: ((sink: ReturnType<typeof door>, running: Generation) => void)[] = [
    (_sink, running) => running.cancel('client_gone'),
    () => t.equal(generator.cancel('req-1' as RequestId, OPEN), true),
    () => generator.abortAll(new CodedError('draining', 'Stopping.')),
  ];
  for (const [at, end] of ways.entries()) {
    const sink = door();
    const running = generator.start(ask(), sink, 1_000_000);
    await eventually('text has come', () => textOf(sink.calls) !== '');
    t.throws(() => generator.start(ask(), door(), 1), { code: 'already_exists' });
    end(sink, running);
    running.cancel('twice');
    await eventually('the provider is told', () => servers[0]?.asked[at]?.gone === true);
    t.equal(generator.running, 0);
    t.equal(sink.calls.at(-1)?.startsWith('error'), at > 0);
  }
  t.match(book.views(), [{ running: 0, breaker: { state: 'closed', faults: 0 } }]);
  t.match(await metric('sophia_provider_requests_total'), /code="cancelled"} 3/);
  t.equal(generator.cancel('req-1' as RequestId, OPEN), false);
});

await t.test('a deadline ends the call', async (t) => {
  const { generator, servers } = await setUp(t, { scripts: [[() => {}]] });
  const sink = door();
  generator.start(ask({ deadlineAtMs: systemClock.monotonicMs() + 100 }), sink, 1);
  await over(sink);
  t.equal(sink.error?.code, 'deadline_exceeded');
  await eventually('the provider is told', () => servers[0]?.asked[0]?.gone === true);
});

await t.test('a kept connection that the provider closed meanwhile is no fault of its', async (t) => {
  const cut: Script = (response) => void response.destroy();
  const { generator, servers, metric } = await setUp(t, {
    scripts: [[streaming(events.openai), cut, streaming(events.openai)]],
  });
  for (const id of ['r1', 'r2']) {
    const sink = door();
    generator.start(ask({ id: id as RequestId }), sink, 65_536);
    await over(sink);
    t.equal(sink.calls.at(-1), 'done');
  }
  t.equal(servers[0]?.asked.length, 3, 'the second was sent twice');
  t.match(await metric('sophia_provider_requests_total'), /code="ok"} 2$/);
});

await t.test('an answer is whole at [DONE], also when the provider leaves the connection open', async (t) => {
  const open: Script = (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(events.openai);
  };
  const { generator, servers } = await setUp(t, { scripts: [[open]] });
  const sink = door();
  generator.start(ask(), sink, 65_536);
  await over(sink);
  t.equal(sink.calls.at(-1), 'done');
  await eventually('the connection is given up', () => servers[0]?.asked[0]?.gone === true);
});

await t.test('a client that does not read holds the provider up, and more credit lets it go on', async (t) => {
  const { generator } = await setUp(t, { scripts: [[endless]] });
  const sink = door();
  const running = generator.start(ask(), sink, 4096);
  await eventually('the credit is used up', () => textOf(sink.calls).length >= 3000);
  let before = -1;
  await eventually('it stands still', async () => {
    const same = textOf(sink.calls).length === before;
    before = textOf(sink.calls).length;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return same && textOf(sink.calls).length === before;
  });
  t.ok(before < 300_000, `${before} characters came for a credit of 4,096 bytes and one read of the socket`);
  running.grant(1_000_000);
  await eventually('it goes on', () => textOf(sink.calls).length > before);
  running.cancel('enough');
});

await t.test('a plain answer and embeddings come whole', async (t) => {
  const answer = {
    id: 'a',
    choices: [{ index: 0, message: { role: 'assistant', content: 'far' }, finish_reason: 'stop' }],
    provider: 'X',
  };
  const { generator, servers } = await setUp(t, {
    scripts: [[answering(200, answer), answering(200, { object: 'list', data: [] })]],
  });
  const sink = door();
  generator.start(ask({ stream: false, body: Buffer.from('{"model":"m","messages":[]}') }), sink, 1000);
  await over(sink);
  t.same(sink.calls.slice(0, 2), ['degraded:provider:p0', 'head']);
  t.match(sink.calls[2], /^body:\{"id":"a","choices":\[.*"model":"m"\}:last$/);
  t.notMatch(sink.calls[2], /provider/);
  const list = door();
  generator.start(
    ask({ stream: false, endpoint: 'embeddings', body: Buffer.from('{"model":"m","input":"x"}') }),
    list,
    1000,
  );
  await over(list);
  t.equal(servers[0]?.asked[1]?.path, '/api/v1/embeddings');
  t.equal(servers[0]?.connections, 1, 'the connection is used again');
});

await t.test('what the fleet serves passes through, with the name of its mode when it has one', async (t) => {
  const { generator, fleet, servers, metric } = await setUp(t, { fleet: fakeFleet(), mode: 'panic' });
  const sink = door();
  const running = generator.start(ask(), sink, 1);
  const run = fleet.started[0] as FakeFleet['started'][number];
  run.sink.onHead();
  run.sink.onTokens(Buffer.from('t'), Buffer.alloc(0), 0);
  running.grant(7);
  t.equal(run.granted, 7);
  run.sink.onError(new CodedError('engine_died', 'Gone.'));
  t.same(sink.calls, ['degraded:panic', 'head', 'tokens:t', 'error:engine_died'], 'what was sent is not mixed');
  t.equal(servers[0]?.asked.length, 0);
  t.equal(await metric('sophia_degraded_total'), 'sophia_degraded_total{mode="panic"} 1');
  const plain = door();
  generator.start(ask({ stream: false }), plain, 1);
  const second = fleet.started[1] as FakeFleet['started'][number];
  second.sink.onBody(Buffer.from('b'), true);
  t.equal(second.sink.onRestart?.(), false, 'a door that cannot forget');
  second.sink.onDone({});
  t.same(plain.calls, ['body:b:last', 'done']);
});

await t.test(
  'an engine that dies before anything was sent is followed by a provider, also when a body can be taken back',
  async (t) => {
    const { generator, fleet } = await setUp(t, { fleet: fakeFleet() });
    const sink = door();
    generator.start(ask(), sink, 65_536);
    fleet.started[0]?.sink.onHead();
    fleet.started[0]?.sink.onError(new CodedError('engine_died', 'Gone.'));
    await over(sink);
    t.equal(textOf(sink.calls), 'far away');
    t.same(
      sink.calls.slice(0, 2),
      ['head', 'degraded:provider:p0'],
      'the head had gone: the door tells it in its own way',
    );
    const forgetful = Object.assign(door(), { onRestart: () => true });
    generator.start(ask(), forgetful, 65_536);
    fleet.started[1]?.sink.onBody(Buffer.from('half'), false);
    fleet.started[1]?.sink.onError(new CodedError('stream_lost', 'Cut.'));
    await over(forgetful);
    t.equal(textOf(forgetful.calls), 'far away');
  },
);

await t.test(
  'a request that waits keeps its place while a provider is asked, and is served by the first to answer',
  async (t) => {
    const queued = { position: 1 };
    const { generator, fleet, servers, metric } = await setUp(t, {
      fleet: fakeFleet(),
      scripts: [[() => {}, streaming(events.openai)]],
    });
    const first = door();
    generator.start(ask(), first, 65_536);
    const one = fleet.started[0] as FakeFleet['started'][number];
    t.equal(one.sink.onQueued?.(queued), false);
    t.equal(one.sink.onQueued?.(queued), false);
    await eventually('the provider is asked', () => servers[0]?.asked.length === 1);
    t.equal(one.sink.onQueued?.(queued), false, 'nothing is told meanwhile');
    one.sink.onHead();
    await eventually('the provider is told', () => servers[0]?.asked[0]?.gone === true);
    t.equal(generator.running, 0, 'it is the fleet’s alone');
    one.sink.onDone({});
    t.same(first.calls, ['head', 'done']);
    t.match(await metric('sophia_provider_requests_total'), /code="superseded"} 1/);
    const second = door();
    generator.start(ask({ id: 'r2' as RequestId }), second, 65_536);
    const two = fleet.started[1] as FakeFleet['started'][number];
    two.sink.onQueued?.(queued);
    await over(second);
    t.equal(two.cancelled, 'served by a provider');
    t.equal(textOf(second.calls), 'far away');
  },
);

await t.test('a waiting request whose providers fail waits on and is told its place', async (t) => {
  const queued = { position: 1 };
  const { generator, fleet, metric } = await setUp(t, { fleet: fakeFleet(), scripts: [[answering(500, '')]] });
  const sink = Object.assign(door(), { onQueued: () => true });
  generator.start(ask(), sink, 65_536);
  const run = fleet.started[0] as FakeFleet['started'][number];
  run.sink.onQueued?.(queued);
  await eventually('the provider failed', async () =>
    (await metric('sophia_provider_requests_total')).includes('provider_failed'),
  );
  t.equal(run.sink.onQueued?.(queued), true);
  t.same(sink.calls, []);
  run.sink.onError(new CodedError('overloaded', 'Waited too long.'));
  t.same(sink.calls, ['error:overloaded']);
});

await t.test(
  'the fleet gives up while a provider is asked: its answer is waited for, unless the request itself is over',
  async (t) => {
    const late: Script = (response) =>
      void setTimeout(() => void streaming(events.openai)(response, undefined as never), 300);
    const { generator, fleet, servers } = await setUp(t, { fleet: fakeFleet(), scripts: [[late, () => {}]] });
    const sink = door();
    generator.start(ask(), sink, 65_536);
    fleet.started[0]?.sink.onQueued?.({ position: 1 });
    await eventually('the provider is asked', () => servers[0]?.asked.length === 1);
    fleet.started[0]?.sink.onError(new CodedError('overloaded', 'Waited too long.'));
    await over(sink);
    t.equal(textOf(sink.calls), 'far away');
    const ended = door();
    generator.start(ask(), ended, 65_536);
    fleet.started[1]?.sink.onQueued?.({ position: 1 });
    await eventually('the provider is asked', () => servers[0]?.asked.length === 2);
    fleet.started[1]?.sink.onError(new CodedError('deadline_exceeded', 'Late.'));
    t.same(ended.calls, ['error:deadline_exceeded']);
    await eventually('the provider is told', () => servers[0]?.asked[1]?.gone === true);
  },
);

await t.test('what a provider served is told as its own, and once', async (t) => {
  const told: string[] = [];
  const usage: Setup['usage'] = {
    handedOver: () => void told.push('handed over'),
    ended: (_request, provider, outcome, used) => void told.push(`${provider} ${outcome} ${used?.completionTokens}`),
  };
  const broken: Script = (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(sse(chunk({ delta: { content: 'begun' } })), () => response.destroy());
  };
  const { generator } = await setUp(t, { scripts: [[streaming(events.openai), broken, endless]], usage });
  for (const id of ['r1', 'r2']) {
    const sink = door();
    generator.start(ask({ id: id as RequestId }), sink, 65_536);
    await over(sink);
  }
  const sink = door();
  const running = generator.start(ask({ id: 'r3' as RequestId }), sink, 65_536);
  await eventually('text has come', () => textOf(sink.calls) !== '');
  running.cancel('client_gone');
  t.match(told, [
    'handed over',
    'p0 ok 2',
    'handed over',
    /^p0 \w+ undefined$/,
    'handed over',
    'p0 cancelled undefined',
  ]);
  t.equal(told.length, 6);
});
