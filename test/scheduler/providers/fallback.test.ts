/** Requests that the fleet cannot take, at providers on loopback that speak the dialects. */
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import { createMetrics } from '../../../lib/io/metrics.ts';
import { systemClock } from '../../../lib/io/system.ts';
import { createFallbackGenerator } from '../../../scheduler/adapters/providers/fallback_generator.ts';
import { createProviderFigures, showProviders } from '../../../scheduler/adapters/providers/figures.ts';
import { openAgent } from '../../../scheduler/adapters/providers/provider_call.ts';
import { createProviderBook } from '../../../scheduler/core/providers/book.ts';
import type { ProviderSpec } from '../../../scheduler/core/providers/contract.ts';
import { createPlanner } from '../../../scheduler/core/providers/plan.ts';
import type { AdmittedRequest, Generation, GenerationSink, Generator } from '../../../scheduler/ports.ts';
import { eventually } from '../../support/child.ts';
import {
  answering,
  chunk,
  events,
  type ProviderServer,
  type Script,
  sse,
  startProvider,
  streaming,
} from '../../support/provider_server.ts';
import { recordingDoor, request } from '../fakes.ts';

const KEY = 'sk-canary-0123456789';
const OPEN = 'open' as TenantId;

/** A fleet that the test plays. */
interface FakeFleet extends Generator {
  refuse: CodedError | undefined;
  readonly started: { readonly sink: GenerationSink; granted: number; cancelled: string | undefined }[];
}

function fakeFleet(refuse?: CodedError): FakeFleet {
  const fleet: FakeFleet = {
    refuse,
    started: [],
    start(asked, sink): Generation {
      if (fleet.refuse !== undefined) throw fleet.refuse;
      const run: FakeFleet['started'][number] = { sink, granted: 0, cancelled: undefined };
      fleet.started.push(run);
      return {
        id: asked.id,
        grant: (bytes) => void (run.granted += bytes),
        cancel: (reason) => void (run.cancelled = reason),
      };
    },
    cancel: () => false,
  };
  return fleet;
}

interface Setup {
  readonly scripts?: readonly Script[][];
  readonly specs?: readonly Partial<ProviderSpec>[];
  readonly fleet?: FakeFleet;
  readonly idleTimeoutMs?: number;
  readonly mode?: string;
}

const NO_ENGINE = new CodedError('no_engine', 'No engine.');

async function setUp(owner: { teardown(task: () => Promise<void>): void }, setup: Setup = {}) {
  const { scripts = [[streaming(events.openai)]], specs = [], idleTimeoutMs = 5000 } = setup;
  const servers: ProviderServer[] = [];
  for (const list of scripts) servers.push(await startProvider(...list));
  const providers = servers.map(
    (_server, at): ProviderSpec => ({
      name: `p${at}`,
      dialect: 'openai',
      leavesFleet: true,
      models: { m: 'far/model' },
      promptPricePerMillion: 1,
      outputPricePerMillion: 4,
      maxRunningRequests: 8,
      allowDataCollection: false,
      ...specs[at],
    }),
  );
  const fleet = setup.fleet ?? fakeFleet(NO_ENGINE);
  const metrics = createMetrics({ processMetrics: false });
  const book = createProviderBook(providers);
  const lines: unknown[] = [];
  showProviders(metrics, book);
  const agents = servers.map(({ url }) => openAgent(new URL(url), 8));
  const generator = createFallbackGenerator({
    inner: fleet,
    planner: createPlanner({
      providers,
      fallbacks: { m: providers.map(({ name }) => name) },
      leaveFleetTenants: [OPEN],
    }),
    clock: systemClock,
    logger: { info: (...line: unknown[]) => void lines.push(line) } as never,
    book,
    figures: createProviderFigures(metrics, providers),
    requestTimeoutMs: 20_000,
    addressOf: (spec) => {
      const at = providers.indexOf(spec);
      return {
        url: new URL(servers[at]?.url ?? ''),
        apiKey: KEY,
        agent: agents[at] as ReturnType<typeof openAgent>,
        connectTimeoutMs: 5000,
        idleTimeoutMs,
      };
    },
    modeOf: () => setup.mode,
  });
  owner.teardown(async () => {
    for (const agent of agents) agent.destroy();
    await Promise.all(servers.map((server) => server.close()));
  });
  const metric = async (name: string): Promise<string> =>
    (await metrics.render())
      .split('\n')
      .filter((line) => line.startsWith(name))
      .join('\n');
  return { generator, servers, fleet, book, metric, lines, state: () => book.views()[0]?.breaker.state };
}

function door() {
  const base = recordingDoor();
  return Object.assign(base, { onDegraded: (mode: string) => void base.calls.push(`degraded:${mode}`) });
}

const ask = (change: Partial<AdmittedRequest> = {}): AdmittedRequest =>
  request({
    tenant: OPEN,
    body: Buffer.from('{"model":"m","messages":[],"stream":true,"return_token_ids":true}'),
    ...change,
  });

const over = (sink: ReturnType<typeof door>): Promise<void> =>
  eventually('the answer is over', () => /^(done|error)/.test(sink.calls.at(-1) ?? ''));

const textOf = (calls: readonly string[]): string =>
  calls
    .filter((call) => call.startsWith('tokens:'))
    .flatMap((call) => call.slice('tokens:'.length).split('\n\n'))
    .filter((event) => event !== '')
    .map((event) => JSON.parse(event.slice('data: '.length)) as { choices: { delta: { content?: string } }[] })
    .flatMap(({ choices }) => choices.map(({ delta }) => delta.content ?? ''))
    .join('');

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
    const { generator, servers, metric } = await setUp(t, {
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
