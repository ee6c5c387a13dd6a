/**
 * The routes that read, plain answers, what a browser may do, and whether the table of doors tells the truth.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { createMetrics } from '../../../lib/io/metrics.ts';
import { createLogger } from '../../../lib/io/logger.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { createActiveAnswers } from '../../../scheduler/adapters/http/active.ts';
import { buildApp } from '../../../scheduler/adapters/http/app.ts';
import { HTTP_DOOR_DEFAULTS } from '../../../scheduler/adapters/http/options.ts';
import { createWsChats } from '../../../scheduler/adapters/http/ws_route.ts';
import { DOORS, findDoor } from '../../../scheduler/core/access/doors.ts';
import { createFakeGenerator } from '../../support/fake_generator.ts';
import {
  beginCall,
  call,
  fakeAuthenticator,
  KEYS,
  MODEL,
  PLAIN_BODY,
  pumpUntilBlocked,
  startDoor,
  until,
} from '../../support/http_door.ts';

const CHAT = '/v1/chat/completions';

t.test('models are listed and shown, also with slashes in their names', async (t) => {
  const { port, fleet, close } = await startDoor();
  t.teardown(close);
  fleet.models = [MODEL, { ...MODEL, id: 'sim', simulated: true }];
  const list = await call(port, { path: '/v1/models' });
  t.equal(list.status, 200);
  t.same(JSON.parse(list.text), {
    object: 'list',
    data: [
      { id: 'org/model', object: 'model', created: 1, owned_by: 'sophia', max_model_len: 2048 },
      { id: 'sim', object: 'model', created: 1, owned_by: 'sophia', max_model_len: 2048, simulated: true },
    ],
  });
  for (const path of ['/v1/models/org%2Fmodel', '/v1/models/org/model']) {
    const one = await call(port, { path });
    t.equal(one.status, 200);
    t.equal(JSON.parse(one.text).id, 'org/model');
  }
  const none = await call(port, { path: '/v1/models/other' });
  t.equal(none.status, 404);
  t.equal(JSON.parse(none.text).error.code, 'model_not_found');
});

t.test('health tells yes or no and nothing else, to anybody', async (t) => {
  const { port, fleet, close } = await startDoor();
  t.teardown(close);
  t.match(await call(port, { path: '/health/ready', key: null }), { status: 200, text: '{"status":"ready"}' });
  fleet.isReady = false;
  t.match(await call(port, { path: '/health/ready', key: null }), { status: 503, text: '{"status":"not_ready"}' });
  t.match(await call(port, { path: '/health/live', key: null }), { status: 200, text: '{"status":"ok"}' });
});

t.test('a plain answer comes whole with its length; embeddings and completions too', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => run.answer({ endpoint: run.request.endpoint, text: 'wörld' });
  const input = JSON.stringify({ model: 'm', input: ['a'], encoding_format: null });
  const prompt = JSON.stringify({ model: 'm', prompt: 'a' });
  for (const [path, body, endpoint] of [
    [CHAT, PLAIN_BODY, 'chat'],
    ['/v1/completions', prompt, 'completions'],
    ['/v1/embeddings', input, 'embeddings'],
  ] as const) {
    const answer = await call(port, { path, body });
    t.equal(answer.status, 200);
    t.equal(Number(answer.headers['content-length']), Buffer.byteLength(answer.text));
    t.same(JSON.parse(answer.text), { endpoint, text: 'wörld' });
  }
  t.equal(Buffer.from(generator.runs[2]?.request.body ?? '').toString(), '{"model":"m","input":["a"]}');
});

t.test('a short plain answer grants nothing, a long one in halves of the window', async (t) => {
  const { port, generator, close } = await startDoor({ clientWindowBytes: 64 * 1024 });
  t.teardown(close);
  generator.onStart = (run) => run.answer({ text: 'short' });
  await call(port, { path: CHAT, body: PLAIN_BODY });
  t.equal(generator.runs[0]?.granted, 0);
  generator.onStart = (run) => {
    run.sink.onHead();
    for (let i = 0; i < 10; i++) run.sink.onBody(Buffer.alloc(16 * 1024, 0x61), i === 9);
    run.sink.onDone(undefined);
  };
  await call(port, { path: CHAT, body: PLAIN_BODY });
  t.equal(generator.runs[1]?.granted, 160 * 1024);
});

t.test('a plain answer that fails half-way is a proper error', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  generator.onStart = (run) => {
    run.sink.onHead();
    run.sink.onBody(Buffer.from('{"half":'), false);
    run.sink.onError(new CodedError('engine_died', 'The engine went away.'));
  };
  const answer = await call(port, { path: CHAT, body: PLAIN_BODY });
  t.equal(answer.status, 502);
  t.equal(JSON.parse(answer.text).error.code, 'engine_died');
});

t.test('a large plain answer is passed on in pieces; its failure cuts the connection', async (t) => {
  const { port, generator, close } = await startDoor({ clientWindowBytes: 64 * 1024 });
  t.teardown(close);
  const piece = Buffer.alloc(60_000, 0x61);
  generator.onStart = (run) => {
    run.sink.onHead();
    for (let i = 0; i < 100; i++) run.sink.onBody(piece, i === 99);
    if (generator.runs.length === 1) run.sink.onDone(undefined);
    else run.sink.onError(new CodedError('engine_died', 'The engine went away.'));
  };
  const answer = await call(port, { path: CHAT, body: PLAIN_BODY });
  t.equal(answer.status, 200);
  t.equal(answer.text.length, 6_000_000);
  await t.rejects(call(port, { path: CHAT, body: PLAIN_BODY }));
});

t.test('a slow reader of a large plain answer holds the engine back and gets it whole', async (t) => {
  const { port, generator, close } = await startDoor({ clientWindowBytes: 64 * 1024 });
  t.teardown(close);
  const { head } = beginCall(port, { path: CHAT, body: PLAIN_BODY });
  const run = await generator.run(0);
  run.sink.onHead();
  const piece = Buffer.alloc(60_000, 0x61);
  const MOST = 1500;
  let sent = 0;
  const pump = (most: number): void => {
    while (sent < most && sent * piece.length < run.creditBytes + run.granted) {
      run.sink.onBody(piece, false);
      sent += 1;
    }
  };
  pump(80);
  const response = await head;
  response.pause();
  await pumpUntilBlocked(
    () => pump(MOST),
    () => sent,
  );
  t.ok(sent < MOST, 'credit ran out');
  let bytes = 0;
  response.on('data', (part: Buffer) => {
    bytes += part.length;
  });
  response.resume();
  const total = sent + 20;
  for (let i = 0; i < 400 && sent < total; i++) {
    pump(total);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  run.sink.onDone(undefined);
  await new Promise((resolve) => response.on('end', resolve));
  t.equal(bytes, total * piece.length);
});

t.test('a client that goes away before its plain answer cancels exactly once', async (t) => {
  const { port, generator, close } = await startDoor();
  t.teardown(close);
  const { request } = beginCall(port, { path: CHAT, body: PLAIN_BODY });
  const run = await generator.run(0);
  request.destroy();
  await until(() => run.cancels.length > 0, 'cancel');
  run.answer({});
  t.same(run.cancels, ['client_gone']);
});

t.test('closing the door ends what still runs', async (t) => {
  const { port, generator, door } = await startDoor();
  const { whole } = beginCall(port, { path: CHAT, body: PLAIN_BODY });
  const failed = t.rejects(whole());
  const run = await generator.run(0);
  await door.close();
  t.same(run.cancels, ['shutdown']);
  await failed;
});

t.test('a taken port is one coded sentence', async (t) => {
  const { port, close } = await startDoor();
  t.teardown(close);
  await t.rejects(startDoor({ port }), { code: 'address_in_use', message: new RegExp(`127\\.0\\.0\\.1:${port}`) });
});

t.test('connections beyond the bound are dropped and counted; the others go on', async (t) => {
  const { port, metrics, close } = await startDoor({ maxConnections: 1 });
  t.teardown(close);
  const { Agent, get } = await import('node:http');
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  const ask = (): Promise<number> =>
    new Promise((resolve, reject) => {
      get({ port, path: '/health/live', agent }, (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      }).on('error', reject);
    });
  t.equal(await ask(), 200);
  await t.rejects(call(port, { path: '/health/live', key: null }));
  t.match(await metrics.render(), /dropped_total\{where="http_connections"\} 1/);
  t.equal(await ask(), 200);
});

t.test('no page of another origin may call, unless it is configured', async (t) => {
  const strict = await startDoor();
  t.teardown(strict.close);
  const origin = 'https://chat.example.org';
  const without = await call(strict.port, { path: '/v1/models', headers: { origin } });
  t.equal(without.headers['access-control-allow-origin'], undefined);
  const open = await startDoor({ corsOrigins: [origin] });
  t.teardown(open.close);
  const with_ = await call(open.port, { path: '/v1/models', headers: { origin } });
  t.equal(with_.headers['access-control-allow-origin'], origin);
  const other = await call(open.port, { path: '/v1/models', headers: { origin: 'https://evil.example' } });
  t.not(other.headers['access-control-allow-origin'], 'https://evil.example');
  t.not(other.headers['access-control-allow-origin'], '*');
  const headers = {
    origin,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization',
  };
  const preflight = await call(open.port, { path: CHAT, method: 'OPTIONS', key: null, headers });
  t.equal(preflight.status, 204);
  t.equal(preflight.headers['access-control-allow-origin'], origin);
});

t.test('answers carry security headers', async (t) => {
  const { port, close } = await startDoor();
  t.teardown(close);
  const { headers } = await call(port, { path: '/v1/models' });
  t.match(headers['content-security-policy'], /default-src 'none'/);
  t.equal(headers['x-content-type-options'], 'nosniff');
  t.equal(headers['x-powered-by'], undefined);
  t.equal(headers['server'], undefined);
});

t.test('/docs shows a page, and an OpenAPI file that names every public route', async (t) => {
  const { port, close } = await startDoor();
  t.teardown(close);
  const page = await call(port, { path: '/docs', key: null });
  t.ok(page.status === 200 || page.status === 302);
  const file = await call(port, { path: '/docs/json', key: null });
  const { paths } = JSON.parse(file.text) as { paths: Record<string, object> };
  for (const path of [CHAT, '/v1/completions', '/v1/embeddings', '/v1/models', '/health/live', '/metrics']) {
    t.ok(paths[path], `${path} is described`);
  }
});

t.test('a key that is refused appears in no answer, log line or metric', async (t) => {
  const { port, logLines, metrics, generator, close } = await startDoor();
  t.teardown(close);
  const answers = [
    await call(port, { path: CHAT, body: PLAIN_BODY, key: KEYS.stranger }),
    await call(port, { path: `/v1/models?key=${KEYS.stranger}`, key: KEYS.stranger }),
    await call(port, { path: '/nope', key: KEYS.stranger }),
    await call(port, { path: '/v1/models', key: null, headers: { authorization: `Basic ${KEYS.stranger}` } }),
  ];
  generator.onStart = (run) => run.sink.onError(new CodedError('engine_failed', 'It failed.'));
  answers.push(await call(port, { path: CHAT, body: PLAIN_BODY }));
  for (const answer of answers) t.notMatch(answer.text + JSON.stringify(answer.headers), 'CANARY');
  t.ok(logLines.length > 0, 'something was logged');
  t.notMatch(logLines.join(''), 'CANARY');
  const text = await metrics.render();
  t.notMatch(text, 'CANARY');
  t.match(text, /auth_failures_total\{door="http",reason="unauthenticated"\} 3/);
});

t.test('the table of doors and the registered routes are the same', async (t) => {
  const metrics = createMetrics({ processMetrics: false });
  const logger = createLogger({ name: 'test', level: 'silent' });
  const active = createActiveAnswers(
    { windowBytes: 1, coalesceMs: 0, pingIntervalMs: 1000, stallTimeoutMs: 1000 },
    systemClock,
    metrics,
  );
  const deps = {
    generator: createFakeGenerator(),
    fleet: { models: () => [], ready: () => ({ ok: true, reason: '' }) },
    authenticator: fakeAuthenticator,
    metrics,
    logger,
    clock: systemClock,
    random: systemRandom,
  };
  const routes: string[] = [];
  const app = await buildApp(
    { deps, options: HTTP_DOOR_DEFAULTS, active, wsChats: createWsChats(), isDraining: () => false },
    (method, url) => routes.push(`${method} ${url}`),
  );
  t.teardown(async () => {
    active.close();
    await app.close();
  });
  const used = new Set<string>();
  for (const route of routes) {
    const [method = '', url = ''] = route.split(' ');
    const door = findDoor('http', url, method === 'HEAD' ? 'GET' : (method as 'GET'));
    t.ok(door, `${route} is in the table`);
    if (door !== undefined) used.add(door.id);
  }
  const listed = DOORS.filter((door) => door.listener === 'http').map((door) => door.id);
  t.same([...used].sort(), listed.sort(), 'every listed door exists');
  t.throws(() => app.get('/backdoor', () => 'x'), 'a route that is not listed cannot be registered');
});

t.test('docs/DOORS.md is what the table says', async (t) => {
  const { renderDoors } = await import('../../../cli/generate/docs_doors.ts');
  t.equal(readFileSync(join(packageRoot(), 'docs/DOORS.md'), 'utf8'), renderDoors());
});
