/** The log: what a line holds, in each format, and that no credential gets into it by any way. */
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createLogger, type LoggerOptions } from '../../../lib/io/logger.ts';
import { startChild } from '../../support/child.ts';

function capture(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const logger = createLogger({
    name: 'test',
    level: 'debug',
    destination: { write: (line) => void lines.push(line) },
    ...options,
  });
  return { logger, lines, last: () => JSON.parse(lines.at(-1) as string) as Record<string, unknown> };
}

t.test('a line is JSON with level, time, name, message and the ids of its child logger', async (t) => {
  const { logger, last } = capture();
  logger.child({ requestId: 'req_1', node: 'a' }).info({ tokens: 3 }, 'done');
  t.match(last(), { level: 'info', name: 'test', requestId: 'req_1', node: 'a', tokens: 3, msg: 'done' });
  t.match(last()['time'], /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
});

t.test('lines below the level are not written', async (t) => {
  const { logger, lines } = capture({ level: 'warn' });
  logger.info('no');
  logger.warn('yes');
  t.equal(lines.length, 1);
});

const CANARY = 'canary-5f2c';
const SECRET_FIELDS = [
  'authorization',
  'Authorization',
  'cookie',
  'set-cookie',
  'apiKey',
  'api_key',
  'X-API-Key',
  'token',
  'accessToken',
  'password',
  'clientSecret',
  'private_key',
  'sec-websocket-protocol',
];

t.test('a field with a telling name loses its value at each of four levels', async (t) => {
  const { logger, lines } = capture();
  for (const name of SECRET_FIELDS) {
    const secret = { [name]: CANARY, kept: 'kept' };
    logger.info(
      {
        ...secret,
        a: secret,
        b: { c: secret, d: { e: secret } },
        list: [secret, { inner: [CANARY].length ? secret : 0 }],
      },
      'x',
    );
    logger.child({ ...secret, headers: secret }).warn('child');
  }
  t.notMatch(lines.join(''), CANARY);
  t.match(lines[0], /"kept":"kept"/);
  t.match(lines[0], /"authorization":"\[redacted\]"/);
});

t.test('nothing deeper than four levels is written at all', async (t) => {
  const { logger, lines } = capture();
  logger.info({ a: { b: { c: { d: { e: { password: CANARY, x: CANARY } } } } } }, 'x');
  t.notMatch(lines.join(''), CANARY);
});

t.test('what looks like a key or a token is cut out of messages, values, errors, stacks and causes', async (t) => {
  const { logger, lines } = capture();
  const secrets = [
    'sk-abcd1234-ZyXwVuTsRqPo9876',
    'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl-canary',
    'hf_AbCdEfGhIjKlMnOpQrSt',
  ];
  for (const secret of secrets) {
    const cause = new Error(`inner ${secret}`);
    const error = new Error(`outer ${secret}`, { cause });
    logger.info(`message ${secret}!`);
    logger.info({ note: `value ${secret}`, url: `http://x/?key=${secret}&b=1` }, 'x');
    logger.error({ err: error }, 'failed');
    logger.error(error);
    logger.error({ other: { failure: error } }, 'failed');
  }
  logger.info({ header: 'Bearer abcdefgh12345678' }, 'authorization: bearer abcdefgh12345678');
  const all = lines.join('');
  for (const secret of [...secrets, 'abcdefgh12345678']) t.notMatch(all, secret);
  t.match(all, /message \[redacted\]!/);
  t.match(all, /key=\[redacted\]&b=1/);
  for (const line of lines) t.doesNotThrow(() => JSON.parse(line) as unknown, 'still JSON');
});

t.test('ordinary words that begin alike stay', async (t) => {
  const { logger, last } = capture();
  const words = 'task-scheduler sk-1 disk-usage-is-high risk-assessment eyJ hf_x bearer of news';
  logger.info(words);
  t.equal(last()['msg'], words);
});

t.test('an error becomes type, message, code, stack and cause', async (t) => {
  const { logger, last } = capture();
  const error = Object.assign(new TypeError('outer', { cause: new Error('inner') }), {
    code: 'E_X',
    response: { body: 'big' },
  });
  logger.error({ err: error }, 'failed');
  t.match(last()['err'], {
    type: 'TypeError',
    message: 'outer',
    code: 'E_X',
    stack: /TypeError: outer/,
    cause: { message: 'inner' },
  });
  t.notMatch(JSON.stringify(last()), /big/, 'fields that libraries hang on errors stay out');
});

t.test('huge and odd values make a bounded line', async (t) => {
  const { logger, lines } = capture();
  const circular: Record<string, unknown> = { n: 1 };
  circular['self'] = circular;
  logger.info(
    { circular, bytes: Buffer.alloc(1_000_000), wide: Array.from({ length: 100_000 }, (_, i) => i), when: new Date(0) },
    'x',
  );
  logger.info(Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`k${index}`, index])), 'wide');
  let chain = new Error('end');
  for (let i = 0; i < 50; i++) chain = new Error(`link ${i}`, { cause: chain });
  logger.info({ err: chain, x: undefined, y: null }, 'deep');
  for (const line of lines) t.ok(line.length < 10_000, `${line.length} characters`);
  t.match(lines[0], /1970-01-01T00:00:00/);
  t.match(lines[0], /\[1000000 bytes\]/);
});

t.test('a request and its answer are named, without headers, query or body', async (t) => {
  const { logger, last } = capture();
  const req = { method: 'POST', url: `/v1/x?key=${CANARY}`, headers: { host: CANARY }, body: CANARY };
  logger.child({ requestId: 'req_1' }).info({ req, res: { statusCode: 200, payload: CANARY } }, 'answered');
  t.match(last(), { requestId: 'req_1', req: { method: 'POST', path: '/v1/x' }, res: { statusCode: 200 } });
  logger.info({ req: { method: 'GET' } }, 'odd');
  t.match(last(), { req: { method: 'GET' } });
  logger.child({ a: 1 }).child({ password: CANARY }).info('grandchild');
  t.match(last(), { a: 1, password: '[redacted]' });
  t.notMatch(JSON.stringify(last()), CANARY);
});

t.test('journald gets its priority before each line', async (t) => {
  const { logger, lines } = capture({ format: 'journald', level: 'trace' });
  logger.trace('x');
  logger.debug('x');
  logger.info('x');
  logger.warn('x');
  logger.error('x');
  logger.fatal('x');
  t.same(
    lines.map((line) => line.slice(0, 4)),
    ['<7>{', '<7>{', '<6>{', '<4>{', '<3>{', '<2>{'],
  );
});

t.test('a person gets a line with time, level, message and fields, and the stack of an error', async (t) => {
  const { logger, lines } = capture({ pretty: true });
  logger.info({ port: 1, note: 'a b' }, 'listening');
  t.match(lines[0], /^\d\d:\d\d:\d\d\.\d{3} INFO {2}test: listening port=1 note=a b\n$/);
  logger.error({ err: new Error('boom') }, 'failed');
  t.match(lines[1], /ERROR test: failed\n {2}Error: boom\n +at /);
  logger.error({ err: 'text' });
  t.match(lines[2], /ERROR test: \n {2}"text"/);
});

t.test('the last line before the exit reaches standard error', async (t) => {
  const module = fileURLToPath(new URL('../../../lib/io/logger.js', import.meta.url));
  const script = `import { createLogger } from ${JSON.stringify(module)};
    createLogger({ name: 'x', level: 'info' }).fatal('the very last words'); process.exit(3);`;
  const child = startChild(t, { args: ['--input-type=module', '-e', script] });
  t.equal((await child.exited).code, 3);
  t.match(child.stderr(), /the very last words/);
  t.equal(child.stdout(), '', 'standard output stays free');
});
