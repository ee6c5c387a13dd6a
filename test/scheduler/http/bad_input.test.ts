/**
 * Every bad input that comes over HTTP gets its coded error in OpenAI's shape with a request id, and the server goes on.
 */
import { connect } from 'node:net';
import t from 'tap';
import {
  call,
  KEYS,
  PLAIN_BODY,
  sendRaw,
  startDoor,
  STREAM_BODY,
  until,
  type Answer,
  type TestDoor,
} from '../../support/http_door.ts';

const CHAT = '/v1/chat/completions';

let door: TestDoor;
t.before(async () => {
  door = await startDoor({
    maxBodyBytes: 20_000,
    maxJsonDepth: 20,
    maxHeaderBytes: 8192,
    headersTimeoutMs: 300,
    requestTimeoutMs: 600,
  });
});
t.teardown(() => door.close());

type Assertions = Pick<typeof t, 'equal' | 'match' | 'type' | 'ok'>;

/** The error of an answer, after checking what every error answer has. */
function errorOf(
  t: Assertions,
  answer: Answer,
  status: number,
): { code: string; param: string | null; message: string } {
  t.equal(answer.status, status);
  t.match(answer.headers['x-request-id'], /^[A-Za-z0-9._:-]+$/, 'has a request id');
  t.match(answer.headers['x-should-retry'], /^(true|false)$/);
  t.match(answer.headers['content-type'], /^application\/json/);
  t.equal(answer.headers['x-content-type-options'], 'nosniff');
  const { error } = JSON.parse(answer.text) as { error: { code: string; param: string | null; message: string } };
  t.type(error.message, 'string');
  t.ok('param' in error);
  return error;
}

const chat = (fields: object): string =>
  JSON.stringify({ model: 'org/model', messages: [{ role: 'user', content: 'Hi' }], ...fields });

const BODIES: readonly [string, string | Buffer, string, string | null][] = [
  ['an empty body', '', 'malformed_json', null],
  ['cut JSON', '{"model":', 'malformed_json', 'model'],
  ['an array', '[]', 'malformed_json', null],
  ['text after the object', '{} {}', 'malformed_json', null],
  ['a duplicate key', '{"model":"a","model":"b"}', 'duplicate_key', 'model'],
  ['a duplicate key by escape', '{"model":"a","mod\\u0065l":"b","messages":[]}', 'duplicate_key', 'model'],
  ['a nested bomb', `{"messages":${'['.repeat(5000)}${']'.repeat(5000)}}`, 'too_deep', 'messages'],
  [
    'bad UTF-8',
    Buffer.concat([Buffer.from('{"model":"'), Buffer.from([0xff]), Buffer.from('"}')]),
    'invalid_utf8',
    'model',
  ],
  [
    'an overlong slash',
    Buffer.concat([Buffer.from('{"model":"'), Buffer.from([0xc0, 0xaf]), Buffer.from('"}')]),
    'invalid_utf8',
    'model',
  ],
  ['a UTF-16 body', Buffer.from('{"model":"a"}', 'utf16le'), 'malformed_json', null],
  ['no model', '{"messages":[{"role":"user","content":"Hi"}]}', 'missing_field', 'model'],
  ['a model that is a number', chat({ model: 7 }), 'invalid_value', 'model'],
  ['no messages', '{"model":"m"}', 'missing_field', 'messages'],
  ['empty messages', chat({ messages: [] }), 'invalid_value', 'messages'],
  ['messages that are text', chat({ messages: 'Hi' }), 'invalid_value', 'messages'],
  ['a role that is none', chat({ messages: [{ role: 'root', content: 'x' }] }), 'invalid_value', 'messages[0].role'],
  ['stream as text', chat({ stream: 'yes' }), 'invalid_value', 'stream'],
  ['n of a million', chat({ n: 1_000_000 }), 'invalid_value', 'n'],
  ['max_tokens with a fraction', chat({ max_tokens: 1.5 }), 'invalid_value', 'max_tokens'],
  [
    'kv_transfer_params',
    chat({ kv_transfer_params: { remote_host: '10.0.0.1' } }),
    'unknown_field',
    'kv_transfer_params',
  ],
  ['cache_salt', chat({ cache_salt: 'other-tenant' }), 'unknown_field', 'cache_salt'],
  ['priority', chat({ priority: -100 }), 'unknown_field', 'priority'],
  ['chat_template', chat({ chat_template: '{{ 1 }}' }), 'unknown_field', 'chat_template'],
  [
    '__proto__',
    '{"__proto__":{"model":"x"},"model":"m","messages":[{"role":"user","content":"x"}]}',
    'unknown_field',
    '__proto__',
  ],
  [
    'a metadata address as image',
    chat({
      messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://169.254.169.254/' } }] }],
    }),
    'invalid_value',
    'messages[0].content[0].image_url.url',
  ],
];

for (const [what, body, code, param] of BODIES) {
  t.test(`${what} is refused as ${code}`, async (t) => {
    const answer = await call(door.port, {
      path: CHAT,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    const error = errorOf(t, answer, 400);
    t.equal(error.code, code);
    t.equal(error.param, param);
    t.equal(answer.headers['x-should-retry'], 'false');
  });
}

t.test('a body over the limit gets its 413, announced or in chunks', async (t) => {
  const big = chat({ user: 'x'.repeat(30_000) });
  t.equal(errorOf(t, await call(door.port, { path: CHAT, body: big }), 413).code, 'body_too_large');
  const huge = chat({ user: 'x'.repeat(70_000) });
  t.equal(errorOf(t, await call(door.port, { path: CHAT, body: huge }), 413).code, 'body_too_large');
  const text = await sendRaw(door.port, [
    `POST ${CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-user\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`,
    `7530\r\n${'x'.repeat(30_000)}\r\n0\r\n\r\n`,
  ]);
  t.match(text, /^HTTP\/1.1 413 /);
  t.match(text, /body_too_large/);
});

t.test('another content type is 415', async (t) => {
  for (const type of [
    'text/plain',
    'application/xml',
    'multipart/form-data; boundary=x',
    'application/x-www-form-urlencoded',
    'application/jsonx',
    'application/json garbage',
    'application/json; charset=utf-16',
    'application/json; charset="latin1"',
  ]) {
    const answer = await call(door.port, { path: CHAT, body: PLAIN_BODY, headers: { 'content-type': type } });
    t.equal(errorOf(t, answer, 415).code, 'unsupported_media_type');
  }
  const zipped = await call(door.port, { path: CHAT, body: PLAIN_BODY, headers: { 'content-encoding': 'gzip' } });
  t.equal(errorOf(t, zipped, 415).code, 'unsupported_media_type');
});

t.test('a charset that says what JSON is anyway passes', async (t) => {
  for (const type of ['application/json; charset=utf-8', 'Application/JSON;charset="UTF-8"', 'application/json;']) {
    const answer = await call(door.port, { path: CHAT, body: '{}', headers: { 'content-type': type } });
    t.equal(errorOf(t, answer, 400).code, 'missing_field', type);
  }
});

t.test('a client that closes after its one request may send its oversized body to the end', async (t) => {
  const head = `${POST}connection: close\r\ncontent-length: 70000\r\n\r\n`;
  const pieces = [head, ...Array.from({ length: 7 }, () => ' '.repeat(10_000))];
  const socket = connect(door.port, '127.0.0.1');
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString()));
  for (const piece of pieces) {
    await new Promise<void>((resolve, reject) => socket.write(piece, (error) => (error ? reject(error) : resolve())));
    await until(() => piece !== pieces[3] || text.includes('\r\n\r\n{'), 'the answer');
  }
  await until(() => text.includes('body_too_large'), 'the whole answer');
  t.match(text, /^HTTP\/1\.1 413 /);
  socket.destroy();
});

t.test('unknown paths, methods, trailing and doubled slashes', async (t) => {
  t.equal(errorOf(t, await call(door.port, { path: '/nope', key: null }), 404).code, 'route_not_found');
  t.equal(errorOf(t, await call(door.port, { path: '/v1/models/' }), 404).code, 'model_not_found');
  t.equal(errorOf(t, await call(door.port, { path: `${CHAT}/`, body: PLAIN_BODY }), 404).code, 'route_not_found');
  t.equal(
    errorOf(t, await call(door.port, { path: '//v1/chat/completions', body: PLAIN_BODY }), 404).code,
    'route_not_found',
  );
  const wrong = await call(door.port, { path: CHAT });
  t.equal(errorOf(t, wrong, 405).code, 'method_not_allowed');
  t.equal(wrong.headers['allow'], 'POST, OPTIONS');
  const removed = await call(door.port, { path: '/v1/models', method: 'DELETE' });
  t.equal(errorOf(t, removed, 405).code, 'method_not_allowed');
  t.equal(removed.headers['allow'], 'GET, HEAD, OPTIONS');
  const options = await call(door.port, { path: CHAT, method: 'OPTIONS', key: null });
  t.equal(options.status, 204);
  t.equal(options.headers['allow'], 'POST, OPTIONS');
  t.equal(options.headers['access-control-allow-origin'], undefined);
  const head = await call(door.port, { path: '/v1/models', method: 'HEAD' });
  t.equal(head.status, 200);
  t.equal(head.text, '');
  t.equal((await call(door.port, { path: '/v1/models', method: 'HEAD', key: null })).status, 401);
  t.equal(errorOf(t, await call(door.port, { path: '/v1/models/%zz' }), 400).code, 'malformed_request');
  const asset = await call(door.port, { path: '/docs/static/%2e%2e%2fpackage.json' });
  t.equal(errorOf(t, asset, 404).code, 'route_not_found');
});

t.test('no key, a wrong key and a key without the role', async (t) => {
  for (const key of [null, 'wrong', "' OR 1=1 --", '%', '']) {
    const answer = await call(door.port, { path: CHAT, body: PLAIN_BODY, key });
    t.equal(errorOf(t, answer, 401).code, 'unauthenticated');
    t.equal(answer.headers['www-authenticate'], 'Bearer');
  }
  const answer = await call(door.port, { path: CHAT, body: PLAIN_BODY, key: KEYS.operator });
  t.equal(errorOf(t, answer, 403).code, 'permission_denied');
  t.equal((await call(door.port, { path: '/metrics', key: null })).status, 401);
  t.equal((await call(door.port, { path: '/metrics', key: KEYS.user })).status, 403);
  t.equal((await call(door.port, { path: '/metrics', key: KEYS.operator })).status, 200);
  t.equal(door.generator.runs.length, 0, 'nothing of all this reached an engine');
});

t.test('a request id that is unsafe is replaced', async (t) => {
  for (const id of ['a b', 'x'.repeat(200), '../../etc', '<script>']) {
    const answer = await call(door.port, { path: '/v1/models', headers: { 'x-request-id': id } });
    t.match(answer.headers['x-request-id'], /^req_[a-z2-7]{24}$/);
  }
});

const POST = `POST ${CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-user\r\ncontent-type: application/json\r\n`;
const BODY_CHUNK = `${STREAM_BODY.length.toString(16)}\r\n${STREAM_BODY}\r\n0\r\n\r\n`;

const SMUGGLING: readonly [string, string][] = [
  [
    'content-length and transfer-encoding',
    `${POST}content-length: ${STREAM_BODY.length}\r\ntransfer-encoding: chunked\r\n\r\n${BODY_CHUNK}`,
  ],
  ['two content-lengths', `${POST}content-length: 1\r\ncontent-length: ${STREAM_BODY.length}\r\n\r\n${STREAM_BODY}`],
  ['a content-length list', `${POST}content-length: 5, ${STREAM_BODY.length}\r\n\r\n${STREAM_BODY}`],
  ['a signed content-length', `${POST}content-length: +${STREAM_BODY.length}\r\n\r\n${STREAM_BODY}`],
  ['a folded header', `${POST}x-a: b\r\n c\r\ncontent-length: ${STREAM_BODY.length}\r\n\r\n${STREAM_BODY}`],
  ['a space before the colon', `${POST}content-length : ${STREAM_BODY.length}\r\n\r\n${STREAM_BODY}`],
  ['bare line feeds', `${POST.replaceAll('\r\n', '\n')}content-length: ${STREAM_BODY.length}\n\n${STREAM_BODY}`],
  ['a bare carriage return', `${POST}x-a: b\rcontent-length: 3\r\n\r\n{}`],
  ['a NUL in a header', `${POST}x-a: b\0c\r\n\r\n`],
  ['an unknown transfer coding', `${POST}transfer-encoding: chunked, cow\r\n\r\n${BODY_CHUNK}`],
  ['a transfer coding beside chunked', `${POST}transfer-encoding: gzip, chunked\r\n\r\n${BODY_CHUNK}`],
  ['chunks in HTTP/1.0', `${POST.replace('1.1', '1.0')}transfer-encoding: chunked\r\n\r\n${BODY_CHUNK}`],
  ['HTTP/2.0 as text', `GET /v1/models HTTP/2.0\r\nhost: x\r\nauthorization: Bearer sk-user\r\n\r\n`],
  ['HTTP/0.9', 'GET /health/live\r\n\r\n'],
  ['a host that is none', `GET /v1/models HTTP/1.1\r\nhost: a b/@c\r\nauthorization: Bearer sk-user\r\n\r\n`],
  ['an unknown expectation', `${POST}expect: 200-ok\r\ncontent-length: 2\r\n\r\n{}`],
  ['a bad chunk size', `${POST}transfer-encoding: chunked\r\n\r\nzz\r\n${STREAM_BODY}\r\n0\r\n\r\n`],
  ['a chunk longer than its size', `${POST}transfer-encoding: chunked\r\n\r\n2\r\n${STREAM_BODY}\r\n0\r\n\r\n`],
  ['two hosts', `GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\nauthorization: Bearer sk-user\r\n\r\n`],
  ['no host', `GET /v1/models HTTP/1.1\r\nauthorization: Bearer sk-user\r\n\r\n`],
  ['an unknown method', `BREW /v1/models HTTP/1.1\r\nhost: x\r\n\r\n`],
  ['a method in small letters', `post ${CHAT} HTTP/1.1\r\nhost: x\r\n\r\n`],
  ['HTTP/2 on this port', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['TLS on this port', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
];

for (const [what, bytes] of SMUGGLING) {
  t.test(`${what} is refused with one coded answer and the connection is closed`, async (t) => {
    const before = door.generator.runs.length;
    const text = await sendRaw(door.port, [bytes, 'GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n']);
    t.match(text, /^HTTP\/1\.1 400 /);
    t.equal(text.split(/HTTP\/1\.1 \d/).length, 2, 'exactly one answer');
    t.match(text, /x-request-id: req_/i);
    t.match(text, /"code":"malformed_request"/);
    t.equal(door.generator.runs.length, before, 'nothing was started');
  });
}

t.test('a host is a name, an address, either with a port, or empty', async (t) => {
  for (const host of ['x', 'a-b.example:8080', '127.0.0.1:1', '[::1]:8080', '']) {
    const text = await sendRaw(door.port, [`GET /health/live HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`]);
    t.match(text, /^HTTP\/1\.1 200 /, host);
  }
});

t.test('a client that waits for 100-continue gets it', async (t) => {
  const text = await sendRaw(door.port, [
    `${POST}expect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n`,
    '{}',
  ]);
  t.match(text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 400 [^]*missing_field/);
});

t.test('a proxy request is refused with a code', async (t) => {
  const text = await sendRaw(door.port, ['CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n']);
  t.match(text, /^HTTP\/1\.1 405 Method Not Allowed\r\n/);
  t.match(text, /"code":"method_not_allowed"/);
  t.match(text, /x-request-id: req_/i);
});

t.test('huge chunk extensions are 413', async (t) => {
  const text = await sendRaw(door.port, [
    `${POST}transfer-encoding: chunked\r\n\r\n2;a=${'b'.repeat(40_000)}\r\n{}\r\n0\r\n\r\n`,
  ]);
  t.match(text, /^HTTP\/1\.1 413 Payload Too Large\r\n[^]*body_too_large/);
});

t.test('huge headers are 431', async (t) => {
  const text = await sendRaw(door.port, [`GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: ${'a'.repeat(10_000)}\r\n\r\n`]);
  t.match(text, /^HTTP\/1\.1 431 /);
  t.match(text, /"code":"header_too_large"/);
  t.match(text, /x-request-id: req_/i);
});

t.test('a client that dribbles its headers or its body is answered and closed', async (t) => {
  const headers = await sendRaw(door.port, ['GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: ']);
  t.match(headers, /^HTTP\/1\.1 400 [^]*did not arrive in time/);
  const body = await sendRaw(door.port, [`${POST}content-length: 500\r\n\r\n{"mod`]);
  t.match(body, /^HTTP\/1\.1 400 [^]*did not arrive in time/);
});

t.test('an upgrade on a route that takes none is refused at once', async (t) => {
  const text = await sendRaw(door.port, [
    `${POST}connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\ncontent-length: 500\r\n\r\n`,
  ]);
  t.match(text, /^HTTP\/1\.1 400 /);
  t.match(text, /malformed_request/);
  const socket = await sendRaw(door.port, [
    'GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-user\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  ]);
  t.match(socket, /^HTTP\/1\.1 400 [^]*"code":"malformed_request"/);
});

t.test('garbage behind a running stream cuts it instead of writing into it', async (t) => {
  const before = door.generator.runs.length;
  const done = sendRaw(
    door.port,
    [`${POST}content-length: ${STREAM_BODY.length}\r\n\r\n${STREAM_BODY}`, '\0\0GARBAGE\r\n\r\n'],
    50,
  );
  const run = await door.generator.run(before);
  run.sink.onHead();
  run.tokens('a');
  const text = await done;
  t.equal(text.split('HTTP/1.1').length, 2, 'no second status line inside the stream');
  await until(() => run.cancels.length > 0, 'cancel');
  t.same(run.cancels, ['client_gone']);
});

t.test('after all of this the server answers as ever', async (t) => {
  t.equal((await call(door.port, { path: '/health/live', key: null })).status, 200);
});
