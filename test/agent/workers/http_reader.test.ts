/** The HTTP reader against recorded answers of a real vLLM and against Node's own parser as oracle. */
import fc from 'fast-check';
import { readdirSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import t from 'tap';
import { HttpReader } from '../../../agent/workers/http_reader.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { cutAt, fixture } from '../support/bytes.ts';

interface Read {
  status: number;
  headers: Record<string, string>;
  body: string;
  complete: boolean;
  reusable: boolean;
  error?: string;
}

function read(pieces: readonly Buffer[], close = false): Read {
  const result: Read = { status: 0, headers: {}, body: '', complete: false, reusable: false };
  const body: Buffer[] = [];
  const reader = new HttpReader({
    onHead: (head) => {
      result.status = head.status;
      result.headers = Object.fromEntries(head.headers);
    },
    onBody: (buffer, start, end) => body.push(Buffer.from(buffer.subarray(start, end))),
    onComplete: (reusable) => {
      result.complete = true;
      result.reusable = reusable;
    },
  });
  try {
    for (const piece of pieces) reader.push(piece, 0, piece.length);
    if (close) reader.closed();
  } catch (error) {
    result.error = (error as { code?: string }).code ?? String(error);
  }
  result.body = Buffer.concat(body).toString('latin1');
  return result;
}

/** What Node's client makes of the same bytes. */
async function oracle(
  bytes: Buffer,
  close: boolean,
): Promise<{ status: number; body: string; complete: boolean; failed: boolean }> {
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => {
      socket.write(bytes);
      if (close) socket.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const result = { status: 0, body: '', complete: false, failed: false };
  await new Promise<void>((resolve) => {
    const request = http.get({ port, host: '127.0.0.1', agent: false, timeout: 300 }, (response) => {
      result.status = response.statusCode ?? 0;
      response.setEncoding('latin1');
      response.on('data', (text: string) => (result.body += text));
      response.on('end', () => {
        result.complete = response.complete;
        resolve();
      });
      response.on('error', () => {
        result.failed = true;
        resolve();
      });
    });
    request.on('timeout', () => request.destroy(new Error('late')));
    request.on('error', () => {
      result.failed = true;
      resolve();
    });
  });
  server.close();
  return result;
}

const folder = path.join(packageRoot(), 'test', 'fixtures', 'vllm-0.32');
const recorded = readdirSync(folder).filter((name) => name.endsWith('.http'));
const CUT_BY_THE_ENGINE = new Set(['sigterm-0-stream.http']);

const SAMPLES: Readonly<Record<string, { readonly bytes: string; readonly close?: boolean }>> = {
  'counted body': { bytes: 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello' },
  'empty counted body': { bytes: 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n' },
  'close-delimited body': { bytes: 'HTTP/1.0 200 OK\r\nserver: x\r\n\r\nhello', close: true },
  'no reason phrase': { bytes: 'HTTP/1.1 200 \r\ncontent-length: 1\r\n\r\nx' },
  'chunk extension': { bytes: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n' },
  trailer: {
    bytes: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\ny: 2\r\n\r\n',
  },
  'upper-case size': { bytes: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0B\r\nhello world\r\n0\r\n\r\n' },
  'interim answer first': { bytes: 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok' },
  'no content': { bytes: 'HTTP/1.1 204 No Content\r\n\r\n' },
  'blanks around a value': { bytes: 'HTTP/1.1 200 OK\r\ncontent-length: \t 2 \r\n\r\nok' },
};

t.test('reads what Node reads, from recorded answers and samples', async (t) => {
  const cases = [
    ...recorded.map((name) => ({ name, bytes: fixture(name), close: CUT_BY_THE_ENGINE.has(name) })),
    ...Object.entries(SAMPLES).map(([name, { bytes, close }]) => ({
      name,
      bytes: Buffer.from(bytes, 'latin1'),
      close: close ?? false,
    })),
  ];
  for (const { name, bytes, close } of cases) {
    const ours = read([Buffer.from(bytes)], close);
    const theirs = await oracle(bytes, close);
    t.same(
      { status: ours.status, body: ours.body, complete: ours.complete },
      { status: theirs.status, body: theirs.body, complete: theirs.complete },
      name,
    );
    t.equal(ours.error, undefined, `${name} is no garbage`);
  }
});

t.test('a cut at any byte changes nothing', async (t) => {
  for (const name of recorded.filter((file) => file !== 'metrics.http')) {
    const bytes = fixture(name);
    const whole = read([Buffer.from(bytes)]);
    let same = true;
    for (let at = 1; at < bytes.length && same; at++) {
      const pieces = cutAt(bytes, at);
      same = JSON.stringify(read(pieces)) === JSON.stringify(whole);
      if (!same) t.fail(`${name} differs when it is cut at ${at}`);
    }
    t.ok(same, `${name} at each byte`);
    t.same(read([...bytes].map((byte) => Buffer.from([byte]))), whole, `${name} byte by byte`);
  }
  for (const [name, { bytes, close }] of Object.entries(SAMPLES)) {
    const buffer = Buffer.from(bytes, 'latin1');
    const whole = read([Buffer.from(buffer)], close);
    for (let first = 0; first < buffer.length; first++) {
      for (let second = first; second < buffer.length; second++) {
        const result = read(cutAt(buffer, first, second), close);
        if (JSON.stringify(result) !== JSON.stringify(whole))
          t.fail(`${name} differs when it is cut at ${first} and ${second}`);
      }
    }
    t.ok(whole.complete, `${name} at each two bytes`);
  }
});

t.test('says whether the connection may be used again', async (t) => {
  const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n';
  t.equal(read([Buffer.from(`${ok}\r\nok`)]).reusable, true);
  t.equal(read([Buffer.from(`${ok}connection: close\r\n\r\nok`)]).reusable, false);
  t.equal(read([Buffer.from(`HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok`)]).reusable, false);
  t.equal(
    read([Buffer.from(`HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok`)]).reusable,
    true,
  );
  t.equal(read([Buffer.from('HTTP/1.1 200 OK\r\n\r\nok')], true).reusable, false);
});

t.test('an answer that ends too early is not whole', async (t) => {
  for (const bytes of [
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
    'HTTP/1.1 200 OK\r\ncon',
    '',
  ]) {
    const result = read([Buffer.from(bytes)], true);
    t.equal(result.complete, false, JSON.stringify(bytes));
    t.equal(result.error, undefined);
  }
});

t.test('garbage is refused as such', async (t) => {
  const chunked = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
  const garbage = [
    'SSH-2.0-OpenSSH_9\r\n\r\n',
    'x',
    'HTTP/2 200 OK\r\n\r\n',
    'HTTP/1.1 20 OK\r\n\r\n',
    'HTTP/1.1 200 OK\r\nno colon\r\n\r\n',
    'HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n',
    'HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n',
    'HTTP/1.1 200 OK\r\na: b\u0001c\r\n\r\n',
    'HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: 1a\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx',
    'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxy',
    `${chunked}zz\r\n`,
    `${chunked}\r\n`,
    `${chunked}123456789\r\n`,
    `${chunked}1\nx\r\n`,
    `${chunked}1\r x`,
    `${chunked}1;a\nx`,
    `${chunked}1;${'a'.repeat(2000)}`,
    `${chunked}1\r\nxy`,
    `${chunked}1\r\nx\ry`,
    `${chunked}0\r\n\r\nmore`,
    `${chunked}0\r\n${'a'.repeat(70_000)}`,
    `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(12_000)}\r\n`,
    `HTTP/1.1 200 OK\r\na: ${'b'.repeat(70_000)}`,
  ];
  for (const bytes of garbage)
    t.equal(read([Buffer.from(bytes, 'latin1')]).error, 'engine_garbage', JSON.stringify(bytes.slice(0, 70)));
});

t.test('only an empty line ends the trailer, and its lines are checked as headers are', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n';
  for (const line of ['x: y\r\n', 'x:\r\n', 'x: y\r\nz: \ta\r\n']) {
    t.equal(read([Buffer.from(head + line)]).complete, false, JSON.stringify(line));
    t.equal(read([Buffer.from(`${head}${line}\r\n`)]).complete, true, `${JSON.stringify(line)} and an empty line`);
  }
  for (const line of ['\n', 'x\n', 'x\r\n', '\rx\r\n', ': y\r\n', 'x y: z\r\n', 'x: y\n', 'x: \u0001\r\n', 'x: y\rz'])
    t.equal(read([Buffer.from(`${head}${line}`)]).error, 'engine_garbage', JSON.stringify(line));
});

t.test('no bytes make it hang or throw something else', async (t) => {
  const valid = fixture('chat-stream-token-ids.http');
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(valid.length),
      (changes, cut) => {
        const bytes = Buffer.from(valid);
        for (const [at, value] of changes) bytes[at] = value;
        const { error } = read(cutAt(bytes, cut), true);
        return error === undefined || error === 'engine_garbage';
      },
    ),
    { numRuns: 500 },
  );
  t.pass();
});
