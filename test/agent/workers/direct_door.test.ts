/** The direct listener before an engine that the test plays: slow clients, cut sockets, malformed bytes, a taken port. */
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { callDirect, openDirect } from '../../support/direct.ts';
import { until } from '../../support/fake_scheduler.ts';
import { DIRECT_INCARNATION, MAX_BODY_BYTES, startDirectStand } from '../support/direct_stand.ts';

const BODY = { model: 'm', prompt: 'Hi', stream: true };

/** Sends bytes as they are, and gives all that comes until the end. */
function raw(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    let text = '';
    socket.on('data', (part) => {
      text += part.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });
}

t.test('a stream is passed on token by token, and its lease is told from begin to end', async (t) => {
  const stand = await startDirectStand(t);
  const ticket = await stand.ticket();
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
  const call = openDirect({ url: stand.url, ticket, body: BODY, headers: { traceparent } });
  const exchange = await stand.exchange(0);
  t.match(exchange.headers, new RegExp(`x-request-id: req_1\r\ntraceparent: ${traceparent}`));
  t.match(JSON.parse(exchange.body), { return_token_ids: true, stream_options: { include_usage: true } });
  exchange.begin();
  exchange.token(5);
  t.match(await call.begun, 't5', 'the first token leaves at once');
  exchange.token(6);
  exchange.event('{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}');
  exchange.finish();
  const { text, headers, status } = await call.answer;
  t.equal(status, 200);
  t.match(headers, { 'content-type': 'text/event-stream', 'x-request-id': 'req_1', 'x-accel-buffering': 'no' });
  t.notMatch(text, 'token_ids');
  t.notMatch(text, 'usage', 'what was not asked for is cut');
  t.ok(text.endsWith('data: [DONE]\n\n'));
  await until(() => stand.leases().length === 3, 'the end of the lease');
  t.match(stand.leases(), [
    { lease: 'tkt_1', phase: 'DIRECT_PHASE_BEGUN' },
    { lease: 'tkt_1', phase: 'DIRECT_PHASE_FIRST_TOKEN' },
    { lease: 'tkt_1', phase: 'DIRECT_PHASE_ENDED', code: '', promptTokens: 3, completionTokens: 2 },
  ]);
});

t.test('an engine that tells no ids has its first token at the second event', async (t) => {
  const stand = await startDirectStand(t);
  const call = openDirect({ url: stand.url, ticket: await stand.ticket(), body: BODY });
  const exchange = await stand.exchange(0);
  exchange.begin();
  exchange.event('{"choices":[{"index":0,"text":"","finish_reason":null}]}');
  await call.begun;
  t.equal(stand.leases().length, 1);
  exchange.event('{"choices":[{"index":0,"text":"a","finish_reason":null}]}');
  await until(() => stand.leases().length === 2, 'the first token');
  exchange.finish();
  t.match(await call.answer, { status: 200 });
});

t.test('an engine that answers with an error, or breaks off, is told as its scheduler would', async (t) => {
  const stand = await startDirectStand(t);
  const ask = async (body: object = BODY) => openDirect({ url: stand.url, ticket: await stand.ticket(), body });
  const refused = await ask();
  (await stand.exchange(0)).json(400, { error: { message: 'bad seed', param: 'seed', type: 'x', code: 400 } });
  const answer = await refused.answer;
  t.match(answer, { status: 400, code: 'engine_rejected' });
  t.match(answer.headers, { 'x-request-id': 'req_1', 'x-should-retry': 'false' });
  t.match(answer.text, /bad seed.*"param":"seed"/);
  const busy = await ask();
  (await stand.exchange(1)).json(503, {});
  t.match(await busy.answer, { status: 503, code: 'engine_overloaded' });
  const cut = await ask();
  const third = await stand.exchange(2);
  third.begin();
  third.token(1);
  await cut.begun;
  third.socket.destroy();
  const broken = await cut.answer;
  t.match(broken, { status: 200, code: 'engine_died' });
  t.notMatch(broken.text, /\[DONE\]/);
  const codes = () => stand.leases().flatMap(({ phase, code }) => (phase === 'DIRECT_PHASE_ENDED' ? [code] : []));
  await until(() => codes().length === 3, 'the ends of the leases');
  t.same(codes(), ['engine_rejected', 'engine_overloaded', 'engine_died']);
});

t.test('a plain answer comes whole, and a large one in pieces', async (t) => {
  const stand = await startDirectStand(t);
  const small = openDirect({ url: stand.url, ticket: await stand.ticket(), body: { ...BODY, stream: false } });
  (await stand.exchange(0)).json(200, { choices: [{ text: 'ok' }], usage: { prompt_tokens: 1, completion_tokens: 1 } });
  const answer = await small.answer;
  t.match(answer.headers, { 'content-type': 'application/json; charset=utf-8', 'content-length': /^\d+$/ });
  t.match(JSON.parse(answer.text), { choices: [{ text: 'ok' }] });
  const large = openDirect({ url: stand.url, ticket: await stand.ticket(), body: { ...BODY, stream: false } });
  const text = 'x'.repeat(5 << 20);
  (await stand.exchange(1)).json(200, { choices: [{ text }] });
  const whole = await large.answer;
  t.equal((JSON.parse(whole.text) as { choices: { text: string }[] }).choices[0]?.text, text);
  const half = openDirect({ url: stand.url, ticket: await stand.ticket(), body: { ...BODY, stream: false } });
  const third = await stand.exchange(2);
  third.socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000000\r\n\r\n{');
  third.socket.write('x'.repeat(4 << 20));
  t.equal((await half.response).statusCode, 200);
  third.socket.destroy();
  await t.rejects(half.answer, 'a begun body that is not whole ends with a cut connection');
});

t.test('a client that does not read holds back its engine, and no other', async (t) => {
  const stand = await startDirectStand(t);
  const slow = openDirect({ url: stand.url, ticket: await stand.ticket(), body: BODY });
  const exchange = await stand.exchange(0);
  exchange.begin();
  exchange.token(1);
  const response = await slow.response;
  response.pause();
  // More than the kernel's buffers take, so that what is held back is seen at the engine.
  for (let i = 0; i < 4096; i++) exchange.token(2, 'y'.repeat(8192));
  let left = -1;
  await until(async () => {
    const before = left;
    await sleep(300);
    left = exchange.socket.writableLength;
    return left === before;
  }, 'the flow to stop');
  t.ok(left > 8 << 20, `${left} bytes stay with the engine while its client takes nothing`);
  const other = openDirect({ url: stand.url, ticket: await stand.ticket(), body: BODY });
  const second = await stand.exchange(1);
  second.begin();
  second.token(1);
  second.finish();
  t.match(await other.answer, { status: 200 });
  response.resume();
  await until(() => exchange.socket.writableLength === 0, 'all to flow when the client reads again', 30_000);
  exchange.finish();
  t.match((await slow.answer).text, /\[DONE\]/);
});

t.test('a client that takes nothing for too long is given up, and a silent stream gets a comment', async (t) => {
  const stand = await startDirectStand(t, { pingPeriodMs: 100, stallTimeoutMs: 400 });
  const silent = openDirect({ url: stand.url, ticket: await stand.ticket(), body: BODY });
  const first = await stand.exchange(0);
  first.begin();
  first.token(1);
  await silent.begun;
  await sleep(500);
  first.finish();
  t.match((await silent.answer).text, /: ping\n\n/);
  const stalled = openDirect({ url: stand.url, ticket: await stand.ticket(), body: BODY });
  const exchange = await stand.exchange(1);
  exchange.begin();
  (await stalled.response).pause();
  for (let i = 0; i < 2000; i++) exchange.token(2, 'y'.repeat(8192));
  await until(() => exchange.gone(), 'the engine to be let go');
  await until(() => stand.leases().at(-1)?.code === 'cancelled', 'the end of the lease');
});

t.test('a lease is said again while its request runs', async (t) => {
  const stand = await startDirectStand(t, { leaseMs: 600 });
  const call = openDirect({ url: stand.url, ticket: await stand.ticket(), body: BODY });
  const exchange = await stand.exchange(0);
  await until(() => stand.leases().filter(({ phase }) => phase === 'DIRECT_PHASE_HELD').length >= 2, 'two more words');
  call.leave();
  await until(() => exchange.gone(), 'the engine to be let go, in prefill');
  await until(() => stand.leases().at(-1)?.code === 'cancelled', 'the end of the lease');
});

t.test('a deadline of the ticket ends the request', async (t) => {
  const stand = await startDirectStand(t);
  const call = openDirect({ url: stand.url, ticket: await stand.ticket({ lim: 100 }), body: BODY });
  t.match(await call.answer, { status: 504, code: 'deadline_exceeded' });
});

t.test(
  'bytes that are no sound HTTP get a coded error or a closed connection, and the listener lives on',
  async (t) => {
    const stand = await startDirectStand(t);
    const { port } = stand;
    const ticket = await stand.ticket();
    const head = `POST /v1/completions HTTP/1.1\r\nauthorization: Bearer ${ticket}\r\n`;
    const json = 'content-type: application/json\r\n';
    const end = 'connection: close\r\n\r\n';
    const cases: readonly (readonly [string, string, RegExp])[] = [
      ['no HTTP', 'hello\r\n\r\n', /^HTTP\/1\.1 400 .*malformed_request/s],
      ['two hosts', `${head}host: a\r\nhost: b\r\n${json}content-length: 0\r\n${end}`, /malformed_request/],
      ['no host', `${head}${json}content-length: 0\r\n${end}`, /^HTTP\/1\.1 400/],
      ['two lengths', `${head}host: a\r\n${json}content-length: 1\r\ncontent-length: 2\r\n${end}`, /malformed_request/],
      [
        'a length and chunks',
        `${head}host: a\r\n${json}content-length: 1\r\ntransfer-encoding: chunked\r\n${end}`,
        /malformed_request/,
      ],
      [
        'another coding',
        `${head}host: a\r\n${json}transfer-encoding: gzip, chunked\r\n${end}0\r\n\r\n`,
        /malformed_request/,
      ],
      [
        'another expectation',
        `${head}host: a\r\n${json}expect: tea\r\ncontent-length: 2\r\n${end}{}`,
        /malformed_request/,
      ],
      ['no body', `${head}host: a\r\n${json}content-length: 0\r\n${end}`, /malformed_json/],
      [
        'a compressed body',
        `${head}host: a\r\n${json}content-encoding: gzip\r\ncontent-length: 2\r\n${end}{}`,
        /unsupported_media_type/,
      ],
      [
        'another charset',
        `${head}host: a\r\ncontent-type: application/json; charset=latin1\r\ncontent-length: 2\r\n${end}{}`,
        /unsupported_media_type/,
      ],
      ['headers without end', `${head}host: a\r\nx: ${'y'.repeat(20_000)}\r\n${end}`, /header_too_large/],
      [
        'chunks beyond the bound',
        `${head}host: a\r\n${json}transfer-encoding: chunked\r\n${end}fffff\r\n${'z'.repeat(0xfffff)}\r\n0\r\n\r\n`,
        /body_too_large/,
      ],
    ];
    for (const [name, bytes, expected] of cases) t.match(await raw(port, bytes).catch(String), expected, name);
    // A client that goes away within its body.
    const half = net.connect(port, '127.0.0.1', () => {
      half.write(`${head}host: a\r\n${json}content-length: 100\r\n\r\n{"model"`, () => half.destroy());
    });
    await until(() => (stand.refusals()['malformed_request'] ?? 0) >= 7, 'the cut body to be counted');
    const call = openDirect({ url: stand.url, ticket, body: BODY, headers: { expect: '100-continue' } });
    (await stand.exchange(0)).json(429, {});
    t.match(await call.answer, { status: 503 }, 'the ticket is still good, and leave to go on is given');
    t.equal(stand.engine.exchanges.length, 1);
  },
);

t.test('a body of the largest size is taken', async (t) => {
  const stand = await startDirectStand(t, {}, (exchange) => exchange.json(200, { choices: [] }));
  const empty = JSON.stringify({ model: 'm', prompt: '' }).length;
  const body = JSON.stringify({ model: 'm', prompt: 'p'.repeat(MAX_BODY_BYTES - empty) });
  t.match(await callDirect({ url: stand.url, ticket: await stand.ticket(), body }), { status: 200 });
});

t.test('an engine that drains or is gone refuses, the ticket is spent and the lease ends', async (t) => {
  const stand = await startDirectStand(t);
  const address = { kind: 'unix', path: stand.engine.path } as const;
  const target = { engine: 'raw', incarnation: DIRECT_INCARNATION, address };
  stand.tell({ kind: 'targets', targets: [{ ...target, draining: true }] });
  const ticket = await stand.ticket();
  const refused = await callDirect({ url: stand.url, ticket, body: BODY });
  t.match(refused, { status: 503, code: 'draining' });
  t.match(await callDirect({ url: stand.url, ticket, body: BODY }), { code: 'ticket_used' });
  await until(() => stand.leases().at(-1)?.code === 'draining', 'the end of the lease');
  stand.tell({ kind: 'targets', targets: [{ ...target, maxConcurrentRequests: 0 }] });
  const full = await callDirect({ url: stand.url, ticket: await stand.ticket(), body: BODY });
  t.match(full, { status: 503, code: 'engine_overloaded' });
});

t.test('used tickets are remembered up to a bound, and then no more are taken', async (t) => {
  const stand = await startDirectStand(t, { maxUsedTickets: 2 }, (exchange) => exchange.json(200, { choices: [] }));
  const body = { model: 'm', prompt: 'x' };
  for (const status of [200, 200, 429])
    t.match(await callDirect({ url: stand.url, ticket: await stand.ticket(), body }), { status });
  t.same(stand.refusals(), { overloaded: 1 });
});

t.test('more connections than may be are dropped and counted', async (t) => {
  const stand = await startDirectStand(t, { maxConnections: 2 });
  const sockets = Array.from({ length: 4 }, () => net.connect(stand.port, '127.0.0.1').on('error', () => undefined));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  await until(() => (stand.refusals()['overloaded'] ?? 0) === 2, 'two to be dropped');
});

t.test('a taken port is told, and tried again until it is free', async (t) => {
  const other = net.createServer().listen(0, '127.0.0.1');
  await until(() => other.listening, 'the other program');
  const { port } = other.address() as net.AddressInfo;
  const starting = startDirectStand(t, { port });
  await sleep(300);
  other.close();
  const stand = await starting;
  t.equal(stand.port, port);
  t.match(stand.reports()[0], { what: 'closed', code: 'address_in_use', reason: 'EADDRINUSE' });
});

t.test('a thread that stops ends its streams with a coded error', async (t) => {
  const stand = await startDirectStand(t);
  const call = openDirect({ url: stand.url, ticket: await stand.ticket(), body: BODY });
  const exchange = await stand.exchange(0);
  exchange.begin();
  exchange.token(1);
  await call.begun;
  await stand.stop();
  t.match(await call.answer, { status: 200, code: 'engine_died' });
  t.match(stand.leases().at(-1), { phase: 'DIRECT_PHASE_ENDED', code: 'engine_died' });
});
