/** The clients of `bench -- load` on servers that misbehave: every end is counted by what it was, and none is waited for. */
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { LoadRecorder } from '../../bench/load/figures.ts';
import { createHttpClient } from '../../bench/load/http_client.ts';
import { endpointUrl } from '../../bench/load/target.ts';

async function serve(t: Test, listener: RequestListener): Promise<{ server: Server; url: URL }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/chat/completions`) };
}

const event = (chunk: object): string => `data: ${JSON.stringify(chunk)}\n\n`;
const content = (text: string): string => event({ choices: [{ index: 0, delta: { content: text } }] });
const ROLE = event({ choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] });
const DONE = 'data: [DONE]\n\n';

function open(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
}

/** What becomes of one request at a server. */
async function figuresOf(t: Test, answer: (response: ServerResponse) => void, timeoutMs = 10_000) {
  const { url } = await serve(t, (request, response) => {
    request.resume();
    request.on('end', () => answer(response));
  });
  const recorder = new LoadRecorder({ ttftMs: 10_000, tpotMs: 10_000 }, performance.now());
  const client = createHttpClient({ url, timeoutMs, keepAlive: false }, recorder);
  await client.send('{}', performance.now());
  client.close();
  return recorder.figures();
}

t.test('a whole answer is good, and its tokens are those that the server counts', async (t) => {
  const figures = await figuresOf(t, (response) => {
    open(response);
    response.write(`${ROLE}${content('a')}`);
    setTimeout(() => {
      response.write(content('b') + content('c'));
      response.end(event({ choices: [], usage: { completion_tokens: 9 } }) + DONE);
    }, 300);
  });
  t.match(figures, { ok: 1, failed: 0, tokens: 3, goodput: 1, gap: { count: 1 }, itl: { count: 2 } });
  t.ok(figures.gap.maxMs >= 100, `the gap was about 300 ms, not ${figures.gap.maxMs}`);
  t.ok(Math.abs(figures.itl.maxMs - figures.gap.maxMs / 2) < 2, 'two tokens that came together share it');
});

t.test('every way to fail has its word', async (t) => {
  const cases: readonly (readonly [code: string, answer: (response: ServerResponse) => void])[] = [
    ['http_429_queue_full', (r) => r.writeHead(429).end('{"error":{"code":"queue_full","type":"x"}}')],
    ['http_503_server_error', (r) => r.writeHead(503).end('{"error":{"code":null,"type":"server_error"}}')],
    ['http_502', (r) => r.writeHead(502).end('<html>bad gateway</html>')],
    ['http_404', (r) => r.writeHead(404).end('{"error":{"code":404}}')],
    ['http_302', (r) => r.writeHead(302, { location: '/elsewhere' }).end()],
    ['stream_engine_died', (r) => (open(r), r.end(content('a') + event({ error: { code: 'engine_died' } }) + DONE))],
    ['stream_error', (r) => (open(r), r.end(event({ error: {} }) + DONE))],
    ['finish_abort', (r) => (open(r), r.end(event({ choices: [{ text: 'x', finish_reason: 'abort' }] }) + DONE))],
    ['bad_json', (r) => (open(r), r.end(`data: {"choi\n\n${DONE}`))],
    ['bad_json', (r) => (open(r), r.end(`data: 5\n\n${DONE}`))],
    ['cut', (r) => (open(r), r.end(content('a')))],
    ['cut_econnreset', (r) => (open(r), r.write(content('a'), () => r.destroy()))],
    ['econnreset', (r) => r.destroy()],
  ];
  for (const [code, answer] of cases) t.match(await figuresOf(t, answer), { ok: 0, errors: { [code]: 1 } }, code);
});

t.test('silence ends by the time limit, before and after the first token', async (t) => {
  t.match(await figuresOf(t, () => undefined, 100), { errors: { timeout: 1 } });
  t.match(await figuresOf(t, (r) => (open(r), r.write(content('a'))), 200), { errors: { timeout: 1 } });
});

t.test('a server that nobody runs is an error, not a crash', async (t) => {
  const { server, url } = await serve(t, () => undefined);
  await new Promise((resolve) => server.close(resolve));
  const recorder = new LoadRecorder({ ttftMs: 1, tpotMs: 1 }, performance.now());
  const client = createHttpClient({ url, timeoutMs: 5000, keepAlive: false }, recorder);
  await client.send('{}', performance.now());
  t.match(recorder.figures(), { failed: 1, errors: { econnrefused: 1 } });
});

t.test('the endpoint is found from a server, from its /v1 and from itself', async (t) => {
  const of = (given: string) => endpointUrl(given, 'chat').href;
  t.equal(of('http://h:8000'), 'http://h:8000/v1/chat/completions');
  t.equal(of('http://h:8000/v1/'), 'http://h:8000/v1/chat/completions');
  t.equal(of('https://h/api/v1'), 'https://h/api/v1/chat/completions');
  t.equal(of('http://h/v1/chat/completions'), 'http://h/v1/chat/completions');
  t.equal(endpointUrl('http://h', 'completions').pathname, '/v1/completions');
  t.throws(() => of('h:8000'), { code: 'invalid_value' });
  t.throws(() => of('nothing'), { code: 'invalid_value' });
});
