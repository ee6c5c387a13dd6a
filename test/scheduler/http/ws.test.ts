/**
 * /ws/chat as a browser and as a program use it, through real sockets.
 */
import t from 'tap';
import { WebSocket, type ClientOptions } from 'ws';
import { CodedError } from '../../../lib/errors.ts';
import type { HttpDoorOptions } from '../../../scheduler/adapters/http/options.ts';
import { finishEvent } from '../../support/fake_generator.ts';
import { CHAT_BODY, KEYS, pumpUntilBlocked, sendRaw, startDoor, until } from '../../support/http_door.ts';

type Message = Record<string, unknown> & { type: string };

interface Client {
  readonly socket: WebSocket;
  readonly messages: Message[];
  /** The n-th message, when it has come. */
  message(n: number): Promise<Message>;
  readonly closed: Promise<{ code: number; reason: string }>;
  send(message: object | string): void;
}

function connect(port: number, protocols: string[] = [], options: ClientOptions = {}): Client {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws/chat`, protocols, options);
  const messages: Message[] = [];
  socket.on('message', (data: Buffer) => messages.push(JSON.parse(data.toString('utf8')) as Message));
  socket.on('error', () => {});
  return {
    socket,
    messages,
    async message(n) {
      await until(() => messages.length > n, `message ${n}`);
      return messages[n] as Message;
    },
    closed: new Promise((resolve) => {
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    }),
    send(message) {
      const text = typeof message === 'string' ? message : JSON.stringify(message);
      if (socket.readyState === socket.OPEN) socket.send(text);
      else socket.on('open', () => socket.send(text));
    },
  };
}

const BY_KEY = ['sophia.v1', `sophia.key.${KEYS.user}`];
const STREAM = { ...CHAT_BODY, stream: true };

async function withDoor(t: { teardown(fn: () => unknown): void }, options: Partial<HttpDoorOptions> = {}) {
  const door = await startDoor(options);
  t.teardown(() => door.close());
  return door;
}

const HANDSHAKE =
  'GET /ws/chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-user\r\nx-request-id: mine.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n';

t.test('the answer to a handshake carries the request id, also where it is refused', async (t) => {
  const { port } = await withDoor(t);
  const key = 'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
  const opened = await sendRaw(port, [
    `${HANDSHAKE}${key}sec-websocket-version: 13\r\n\r\n`,
    Buffer.from([0x88, 0x80, 0, 0, 0, 0]),
  ]);
  t.match(opened, /^HTTP\/1\.1 101 [^]*\r\nx-request-id: mine\.1\r\n/);
  for (const refused of ['sec-websocket-version: 13\r\n', `${key}sec-websocket-version: 7\r\n`]) {
    const text = await sendRaw(port, [`${HANDSHAKE}${refused}\r\n`]);
    t.match(text, /^HTTP\/1\.1 400 Bad Request\r\n[^]*x-request-id: mine\.1\r\n[^]*"code":"malformed_request"/);
  }
});

t.test('a browser authenticates by subprotocol; the key does not come back', async (t) => {
  const { port } = await withDoor(t);
  const client = connect(port, BY_KEY);
  t.same(await client.message(0), { type: 'ready' });
  t.equal(client.socket.protocol, 'sophia.v1');
  client.socket.close();
  t.equal((await client.closed).code, 1005);
});

t.test('a chat streams: start, chunks, done', async (t) => {
  const { port, generator } = await withDoor(t);
  const client = connect(port);
  client.send({ type: 'auth', key: KEYS.user });
  t.same(await client.message(0), { type: 'ready' });
  generator.onStart = (run) => {
    run.sink.onHead();
    run.tokens('Hallo');
    const two = Buffer.from(`${finishEvent()}${finishEvent()}`);
    run.sink.onTokens(two, Buffer.alloc(0), 1);
    run.sink.onDone({ promptTokens: 3, completionTokens: 2 });
  };
  client.send({ type: 'chat', id: 'c1', body: STREAM });
  await client.message(5);
  const [, start, first, second, third, done] = client.messages;
  t.match(start, { type: 'start', id: 'c1', request_id: /^req_/ });
  t.match(first, { type: 'chunk', id: 'c1', data: { choices: [{ delta: { content: 'Hallo' } }] } });
  t.match(second, { type: 'chunk', data: { choices: [{ finish_reason: 'stop' }] } });
  t.equal(third?.type, 'chunk');
  t.match(done, { type: 'done', id: 'c1', usage: { prompt_tokens: 3, completion_tokens: 2 } });
  t.match(generator.runs[0]?.request, { door: 'ws', endpoint: 'chat', model: 'org/model', stream: true });
  client.socket.close();
});

t.test('a chat that waits for an engine is told its place', async (t) => {
  const { port, generator } = await withDoor(t);
  const client = connect(port, BY_KEY);
  generator.onStart = (run) => {
    t.notOk(run.sink.onQueued?.({ position: 3, etaMs: 4000 }), 'an error has a message of its own in any case');
    run.sink.onQueued?.({ position: 1 });
    run.sink.onError(new CodedError('overloaded', 'No engine became free in time.', { retryAfterMs: 4000 }));
    run.sink.onQueued?.({ position: 1 });
  };
  client.send({ type: 'chat', id: 'c1', body: STREAM });
  await client.message(3);
  t.same(client.messages.slice(1, 3), [
    { type: 'queued', id: 'c1', position: 3, eta_ms: 4000 },
    { type: 'queued', id: 'c1', position: 1 },
  ]);
  t.match(client.messages[3], { type: 'error', id: 'c1', error: { code: 'overloaded' }, retry_after_ms: 4000 });
  client.socket.close();
});

t.test('a plain answer is one chunk', async (t) => {
  const { port, generator } = await withDoor(t);
  const client = connect(port, BY_KEY);
  generator.onStart = (run) => run.answer({ id: 'x', choices: [] });
  client.send({ type: 'chat', id: 'c1', body: CHAT_BODY });
  t.match(await client.message(2), { type: 'chunk', id: 'c1', data: { id: 'x' } });
  t.equal((await client.message(3)).type, 'done');
  client.socket.close();
});

t.test('several chats share a socket; one is cancelled and the other goes on', async (t) => {
  const { port, generator } = await withDoor(t, { wsMaxRequests: 2 });
  const client = connect(port, BY_KEY);
  client.send({ type: 'chat', id: 'a', body: STREAM });
  client.send({ type: 'chat', id: 'b', body: STREAM });
  const one = await generator.run(0);
  const two = await generator.run(1);
  client.send({ type: 'chat', id: 'a', body: STREAM });
  t.match(await client.message(1), { type: 'error', id: 'a', error: { code: 'already_exists' } });
  client.send({ type: 'chat', id: 'c', body: STREAM });
  t.match(await client.message(2), { type: 'error', id: 'c', error: { code: 'overloaded' }, should_retry: true });
  client.send({ type: 'cancel', id: 'a' });
  await until(() => one.cancels.length === 1, 'cancel');
  client.send({ type: 'cancel', id: 'a' });
  client.send({ type: 'cancel', id: 'never' });
  two.sink.onHead();
  two.tokens('still here');
  two.sink.onDone(undefined);
  await until(() => client.messages.at(-1)?.type === 'done', 'done');
  t.equal(client.messages.at(-1)?.['id'], 'b');
  t.same(one.cancels, ['cancelled']);
  client.socket.close();
});

t.test('closing the socket cancels every chat on it, once', async (t) => {
  const { port, generator, metrics } = await withDoor(t);
  const client = connect(port, BY_KEY);
  client.send({ type: 'chat', id: 'a', body: STREAM });
  client.send({ type: 'chat', id: 'b', body: STREAM });
  const one = await generator.run(0);
  const two = await generator.run(1);
  one.sink.onHead();
  client.socket.terminate();
  await until(() => one.cancels.length > 0 && two.cancels.length > 0, 'cancel');
  one.tokens('late');
  one.sink.onDone(undefined);
  t.same([one.cancels, two.cancels], [['client_gone'], ['client_gone']]);
  t.match(await metrics.render(), /chat_requests_active\{door="ws"\} 0/);
});

t.test('an error ends its chat and not the socket', async (t) => {
  const { port, generator } = await withDoor(t);
  const client = connect(port, BY_KEY);
  client.send({ type: 'chat', id: 'a', body: { ...STREAM, kv_transfer_params: {} } });
  t.match(await client.message(1), {
    type: 'error',
    id: 'a',
    error: { code: 'unknown_field', param: 'kv_transfer_params' },
  });
  client.send('{"type":"chat","id":"a","body":{"model":"x","messages":"no"}}');
  t.match(await client.message(2), { type: 'error', id: 'a', error: { code: 'invalid_value', param: 'messages' } });
  generator.refuseWith = new CodedError('no_engine', 'None is ready.', { retryAfterMs: 500 });
  client.send({ type: 'chat', id: 'a', body: STREAM });
  t.match(await client.message(3), { type: 'error', id: 'a', error: { code: 'no_engine' }, retry_after_ms: 500 });
  generator.refuseWith = undefined;
  generator.onStart = (run) => {
    run.sink.onHead();
    run.tokens('x');
    run.sink.onError(new CodedError('engine_died', 'The engine went away.'));
  };
  client.send({ type: 'chat', id: 'a', body: STREAM });
  t.match(await client.message(6), { type: 'error', id: 'a', error: { code: 'engine_died' } });
  client.socket.close();
});

const BAD_FIRST: readonly [string, object | string, number, string][] = [
  ['a wrong key', { type: 'auth', key: KEYS.stranger }, 4401, 'unauthenticated'],
  ['a key without the role', { type: 'auth', key: KEYS.operator }, 4403, 'permission_denied'],
  ['a chat before the key', { type: 'chat', id: 'a', body: STREAM }, 4401, 'unauthenticated'],
  ['no JSON', 'hello', 1007, 'malformed_json'],
  ['a key twice', '{"type":"auth","type":"auth","key":"x"}', 1007, 'duplicate_key'],
  ['an unknown type', { type: 'sudo' }, 1007, 'invalid_value'],
  ['a member too many', { type: 'auth', key: 'x', admin: true }, 1007, 'invalid_value'],
];

for (const [what, message, closeCode, code] of BAD_FIRST) {
  t.test(`${what} as first message ends the socket with ${closeCode}`, async (t) => {
    const { port, generator, logLines } = await withDoor(t);
    const client = connect(port);
    client.send(message);
    t.match(await client.message(0), { type: 'error', error: { code } });
    t.same(await client.closed, { code: closeCode, reason: code });
    t.equal(generator.runs.length, 0);
    t.notMatch(logLines.join(''), 'CANARY');
  });
}

t.test('no key in time, none at all in the query', async (t) => {
  const { port } = await withDoor(t, { wsAuthTimeoutMs: 60 });
  const late = connect(port);
  t.equal((await late.closed).code, 4408);
  const upgrade = (path: string, more = ''): string =>
    `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n${more}\r\n`;
  const byQuery = await sendRaw(port, [upgrade(`/ws/chat?key=${KEYS.user}&token=${KEYS.user}`)]);
  t.notMatch(byQuery, /"ready"/, 'a key in the query counts for nothing');
  const refused = await sendRaw(port, [upgrade('/ws/chat', 'sec-websocket-protocol: sophia.v1, sophia.key.wrong\r\n')]);
  t.match(refused, /^HTTP\/1\.1 401 [^]*"code":"unauthenticated"/);
  const stranger = await sendRaw(port, [upgrade('/ws/chat', 'origin: https://evil.example\r\n')]);
  t.match(stranger, /^HTTP\/1\.1 403 [^]*"code":"permission_denied"/);
  const same = await sendRaw(port, [upgrade('/ws/chat', 'origin: http://x\r\n')]);
  t.match(same, /^HTTP\/1\.1 101 /);
  const plain = await sendRaw(port, [
    'GET /ws/chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-user\r\nconnection: close\r\n\r\n',
  ]);
  t.match(plain, /^HTTP\/1\.1 400 [^]*"code":"malformed_request"/);
});

t.test('binary and oversized messages end the socket with their code', async (t) => {
  const { port, generator } = await withDoor(t, { wsMaxMessageBytes: 50_000 });
  const binary = connect(port, BY_KEY);
  await binary.message(0);
  binary.socket.send(Buffer.from('{}'), { binary: true });
  t.match(await binary.message(1), { type: 'error', error: { code: 'unsupported_media_type' } });
  t.equal((await binary.closed).code, 1003);

  const large = connect(port, BY_KEY);
  await large.message(0);
  large.send({ type: 'chat', id: 'a', body: { ...STREAM, user: 'x'.repeat(60_000) } });
  t.equal((await large.closed).code, 1009);

  const stranger = connect(port);
  stranger.send({ type: 'auth', key: 'x'.repeat(20_000) });
  t.equal((await stranger.closed).code, 1009, 'before authentication the bound is far lower');
  t.equal(generator.runs.length, 0);

  const member = connect(port);
  member.send({ type: 'auth', key: KEYS.user });
  await member.message(0);
  member.send({ type: 'chat', id: 'a', body: { ...STREAM, user: 'x'.repeat(40_000) } });
  await until(() => generator.runs.length === 1, 'the larger message after it');
  member.socket.close();
});

t.test('a client that answers no ping is given up; one that does stays', async (t) => {
  const { port, generator } = await withDoor(t, { wsIdleTimeoutMs: 80 });
  const deaf = connect(port, BY_KEY, { autoPong: false });
  deaf.send({ type: 'chat', id: 'a', body: STREAM });
  const run = await generator.run(0);
  const alive = connect(port, BY_KEY);
  await deaf.closed;
  await until(() => run.cancels.length === 1, 'cancel');
  await new Promise((resolve) => setTimeout(resolve, 150));
  t.equal(alive.socket.readyState, WebSocket.OPEN);
  alive.socket.close();
});

t.test('a reader that stops gets no more than its window, and everything once it reads again', async (t) => {
  const { port, generator } = await withDoor(t, { clientWindowBytes: 64 * 1024 });
  const client = connect(port, BY_KEY);
  await client.message(0);
  client.send({ type: 'chat', id: 'a', body: STREAM });
  const run = await generator.run(0);
  run.sink.onHead();
  await client.message(1);
  client.socket.pause();
  const filler = 'x'.repeat(4000);
  let sent = 0;
  let count = 0;
  const pump = (most: number): void => {
    while (sent < run.creditBytes + run.granted && count < most) {
      run.tokens(filler, count);
      count += 1;
      sent += 4100;
    }
  };
  await pumpUntilBlocked(
    () => pump(100_000),
    () => sent,
  );
  t.ok(count < 100_000, 'credit ran out');
  t.ok(sent - run.granted <= run.creditBytes + 4100);
  client.socket.resume();
  const total = count + 20;
  for (let i = 0; i < 400 && count < total; i++) {
    pump(total);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  run.sink.onDone(undefined);
  await until(() => client.messages.at(-1)?.type === 'done', 'done');
  t.equal(client.messages.filter((message) => message.type === 'chunk').length, total);
  client.socket.close();
});

t.test('draining lets chats finish, refuses new ones and closes the socket after the last', async (t) => {
  const { port, generator, door } = await withDoor(t);
  const client = connect(port, BY_KEY);
  const idle = connect(port, BY_KEY);
  await idle.message(0);
  client.send({ type: 'chat', id: 'a', body: STREAM });
  const run = await generator.run(0);
  run.sink.onHead();
  door.drain();
  t.same(await idle.closed, { code: 1001, reason: 'draining' });
  client.send({ type: 'chat', id: 'b', body: STREAM });
  t.match(await client.message(2), { type: 'error', id: 'b', error: { code: 'draining' } });
  run.tokens('end');
  run.sink.onDone(undefined);
  t.equal((await client.closed).code, 1001);
  t.equal(client.messages.at(-1)?.type, 'done');
  await door.idle();
});
