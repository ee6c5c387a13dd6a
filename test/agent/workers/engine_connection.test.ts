/** Connections to an engine: reuse, retry, limits in time, garbage, and engines that go away. */
import { mkdtempSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { encodeRequest, EnginePool, type ExchangeSink } from '../../../agent/workers/engine_connection.ts';
import type { EngineAddress } from '../../../agent/ports.ts';
import { removeFolder, until } from '../../support/fake_scheduler.ts';

const LIMITS = { connectTimeoutMs: 2000, idleSocketMs: 3000, maxIdle: 4 };
const REQUEST = {
  method: 'POST' as const,
  path: '/v1/completions',
  headers: [['x-request-id', 'r1']] as const,
  body: Buffer.from('{"a":1}'),
};
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

interface Engine {
  readonly address: EngineAddress;
  readonly sockets: net.Socket[];
  readonly requests: string[];
}

/** A server that hands each request, with the number of its connection, to `answer`. */
async function engine(
  t: { teardown: (work: () => void) => unknown },
  answer: (socket: net.Socket, connection: number, request: number) => void,
): Promise<Engine> {
  const sockets: net.Socket[] = [];
  const requests: string[] = [];
  const server = net.createServer((socket) => {
    const connection = sockets.push(socket);
    let request = 0;
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => {
      requests.push(bytes.toString('latin1'));
      request += 1;
      answer(socket, connection, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as net.AddressInfo;
  return { address: { kind: 'tcp', host: '127.0.0.1', port }, sockets, requests };
}

interface Result {
  status?: number;
  body: string;
  outcome?: string;
}

function send(pool: EnginePool, onExchange?: (exchange: ReturnType<EnginePool['send']>) => void): Promise<Result> {
  return new Promise((resolve) => {
    const result: Result = { body: '' };
    const sink: ExchangeSink = {
      onHead: (head) => {
        result.status = head.status;
      },
      onBody: (buffer, start, end) => {
        result.body += buffer.toString('latin1', start, end);
      },
      onReadEnd: () => undefined,
      onComplete: () => resolve({ ...result, outcome: 'complete' }),
      onFailed: (error) => resolve({ ...result, outcome: error.code }),
    };
    onExchange?.(pool.send(REQUEST, sink));
    if (onExchange === undefined) pool.send(REQUEST, sink);
  });
}

const poolOf = (t: { teardown: (work: () => void) => unknown }, address: EngineAddress, limits = {}): EnginePool => {
  const pool = new EnginePool(address, { ...LIMITS, ...limits });
  t.teardown(() => pool.destroy());
  return pool;
};

t.test('one connection carries request after request', async (t) => {
  const { address, sockets, requests } = await engine(t, (socket) => socket.write(OK));
  const pool = poolOf(t, address);
  for (let i = 0; i < 3; i++) t.same(await send(pool), { status: 200, body: 'ok', outcome: 'complete' });
  t.equal(sockets.length, 1);
  t.equal(
    requests[0],
    'POST /v1/completions HTTP/1.1\r\nhost: engine\r\naccept: */*\r\nconnection: keep-alive\r\nx-request-id: r1\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{"a":1}',
  );
});

t.test('requests at the same time get connections of their own, and few idle ones are kept', async (t) => {
  const { address, sockets } = await engine(t, (socket) => setTimeout(() => socket.write(OK), 50));
  const pool = poolOf(t, address);
  const all = await Promise.all(Array.from({ length: 8 }, () => send(pool)));
  t.ok(all.every((one) => one.outcome === 'complete'));
  t.equal(sockets.length, 8);
  await until(() => sockets.filter((socket) => !socket.destroyed).length === 4, 'the surplus to be closed');
});

t.test('an idle connection that the engine closes as it is used again is replaced by a fresh one', async (t) => {
  const { address, sockets } = await engine(t, (socket, connection, request) => {
    if (connection === 1 && request === 2) socket.destroy();
    else socket.write(OK);
  });
  const pool = poolOf(t, address);
  t.equal((await send(pool)).outcome, 'complete');
  t.equal((await send(pool)).outcome, 'complete');
  t.equal(sockets.length, 2);
});

t.test('a fresh connection that is closed without an answer is not tried again', async (t) => {
  const { address, sockets } = await engine(t, (socket) => socket.destroy());
  t.equal((await send(poolOf(t, address))).outcome, 'engine_died');
  t.equal(sockets.length, 1);
});

t.test('a reused connection that is closed after the first byte of an answer is not tried again', async (t) => {
  const { address, sockets } = await engine(t, (socket, _connection, request) => {
    if (request === 1) socket.write(OK);
    else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf', () => socket.destroy());
  });
  const pool = poolOf(t, address);
  await send(pool);
  t.equal((await send(pool)).outcome, 'engine_died');
  t.equal(sockets.length, 1);
});

t.test('connections grow old', async (t) => {
  const { address, sockets } = await engine(t, (socket) => socket.write(OK));
  const pool = poolOf(t, address, { idleSocketMs: 30 });
  await send(pool);
  await new Promise((resolve) => setTimeout(resolve, 60));
  await send(pool);
  t.equal(sockets.length, 2, 'an old one is not used again');
  await new Promise((resolve) => setTimeout(resolve, 60));
  pool.sweep();
  await until(() => sockets.every((socket) => socket.destroyed), 'all to be closed');
});

t.test('a close-delimited answer is whole when the engine closes', async (t) => {
  const { address } = await engine(t, (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nto the end'));
  t.same(await send(poolOf(t, address)), { status: 200, body: 'to the end', outcome: 'complete' });
});

t.test('garbage fails the request and closes the connection', async (t) => {
  const { address, sockets } = await engine(t, (socket) => socket.write('220 smtp ready\r\n'));
  t.equal((await send(poolOf(t, address))).outcome, 'engine_garbage');
  await until(() => sockets[0]?.destroyed === true, 'the connection to be closed');
});

t.test('bytes on an idle connection end it', async (t) => {
  const { address, sockets } = await engine(t, (socket) => socket.write(OK));
  const pool = poolOf(t, address);
  await send(pool);
  sockets[0]?.write('unasked');
  await until(() => sockets[0]?.destroyed === true, 'the connection to be closed');
  t.equal((await send(pool)).outcome, 'complete');
});

t.test('nobody listening is unreachable, over TCP and over a Unix socket', async (t) => {
  const { address, sockets } = await engine(t, () => undefined);
  t.equal(sockets.length, 0);
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-sock-'));
  t.equal(
    (await send(poolOf(t, { kind: 'unix', path: path.join(folder, 'none.sock') }))).outcome,
    'engine_unreachable',
  );
  t.equal((await send(poolOf(t, { ...address, port: 1 } as EngineAddress))).outcome, 'engine_unreachable');
  await removeFolder(folder);
});

t.test('a destroyed pool fails what runs', async (t) => {
  const { address, requests } = await engine(t, () => undefined);
  const pool = poolOf(t, address);
  const running = send(pool);
  await until(() => requests.length === 1, 'the request');
  pool.destroy();
  t.equal((await running).outcome, 'engine_died');
});

t.test('an abort closes the connection, also before it is made, and says nothing more', async (t) => {
  const { address, sockets, requests } = await engine(t, () => undefined);
  const pool = poolOf(t, address);
  let said = false;
  void send(pool, (exchange) => setTimeout(() => exchange.abort(), 30)).then(() => {
    said = true;
  });
  await until(() => requests.length === 1, 'the request');
  await until(() => sockets[0]?.destroyed === true, 'the connection to be closed');
  void send(pool, (exchange) => exchange.abort());
  await new Promise((resolve) => setTimeout(resolve, 30));
  t.equal(requests.length, 1);
  t.equal(said, false);
});

t.test('a paused exchange reads nothing until it is resumed', async (t) => {
  const { address } = await engine(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 400000\r\n\r\n');
    socket.write(Buffer.alloc(400_000, 'x'));
  });
  let exchange: ReturnType<EnginePool['send']> | undefined;
  const running = send(poolOf(t, address), (made) => {
    exchange = made;
    made.pause();
  });
  let ended = false;
  void running.then(() => {
    ended = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(ended, false);
  exchange?.resume();
  t.equal((await running).body.length, 400_000);
});

t.test('a header value with a line break is refused', async (t) => {
  t.throws(() => encodeRequest({ ...REQUEST, headers: [['traceparent', 'a\r\nb: c']] }), {
    code: 'invalid_value',
    param: 'traceparent',
  });
  t.equal(
    encodeRequest({ ...REQUEST, method: 'GET', body: Buffer.alloc(0) })
      .toString()
      .includes('content-length'),
    false,
  );
});

t.test('an engine on a port is asked with its key', async (t) => {
  const server = net.createServer();
  const seen = new Promise<string>((resolve) => {
    server.on('connection', (socket) => socket.once('data', (bytes: Buffer) => resolve(bytes.toString('latin1'))));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const limits = { connectTimeoutMs: 5000, idleSocketMs: 1000, maxIdle: 1 };
  const pool = new EnginePool({ kind: 'tcp', host: '127.0.0.1', port, apiKey: 'secret' }, limits);
  t.teardown(() => {
    pool.destroy();
    server.close();
  });
  const nothing = (): void => undefined;
  pool.send(REQUEST, new Proxy({}, { get: () => nothing }) as ExchangeSink);
  t.match(await seen, /\r\nauthorization: Bearer secret\r\n/);
});
