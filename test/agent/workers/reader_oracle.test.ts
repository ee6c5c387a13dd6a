/**
 * The two hot readers together, HTTP and events, against general parsers: Node's HTTP client and JSON.parse. Each recorded
 * answer of a real vLLM is cut at each of its bytes, and given byte by byte; random answers are broken at random.
 */
import fc from 'fast-check';
import { readdirSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import t from 'tap';
import { EventScanner } from '../../../agent/workers/event_scanner.ts';
import { HttpReader } from '../../../agent/workers/http_reader.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { cutAt, fixture } from '../support/bytes.ts';

/** What a client makes of an answer. */
interface Meaning {
  status: number;
  /** Text of all choices, by choice. */
  text: Record<string, string>;
  ids: number[];
  finishReason: string | undefined;
  promptTokens: number | undefined;
  error: string | undefined;
  done: boolean;
  whole: boolean;
}

interface Choice {
  readonly index: number;
  readonly text?: string;
  readonly delta?: { readonly content?: string | null };
  readonly token_ids?: readonly number[] | null;
  readonly finish_reason?: string | null;
}

interface Chunk {
  readonly error?: unknown;
  readonly choices?: readonly Choice[];
  readonly usage?: { readonly prompt_tokens: number } | null;
}

const emptyMeaning = (): Meaning => ({
  status: 0,
  text: {},
  ids: [],
  finishReason: undefined,
  promptTokens: undefined,
  error: undefined,
  done: false,
  whole: false,
});

/** Adds the events of `sse` by JSON.parse; `ids`: whether the ids are taken from there. */
function addEvents(into: Meaning, sse: string, ids: boolean): void {
  for (const event of sse.split('\n\n').filter((one) => one !== '')) {
    const data = event.replace(/^data: /, '');
    if (data === '[DONE]') {
      into.done = true;
      continue;
    }
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error !== undefined) {
      into.error ??= data;
      continue;
    }
    // The last chunk tells the sum; with continuous usage each tells one.
    if (chunk.choices?.length === 0) into.promptTokens = chunk.usage?.prompt_tokens;
    for (const choice of chunk.choices ?? []) {
      const text = choice.text ?? choice.delta?.content ?? '';
      if (choice.finish_reason === 'abort') {
        into.finishReason = 'abort';
        continue;
      }
      into.text[choice.index] = (into.text[choice.index] ?? '') + text;
      if (ids) into.ids.push(...(choice.token_ids ?? []));
      if (choice.finish_reason != null && into.finishReason !== 'abort') into.finishReason = choice.finish_reason;
    }
  }
}

/** What our readers give: the prepared bytes, and what they found in them. */
interface Raw {
  readonly sse: string;
  readonly meaning: Meaning;
}

function readRaw(pieces: readonly Buffer[]): Raw {
  const meaning = emptyMeaning();
  let sse = '';
  const scanner = new EventScanner(
    { wantUsage: true, wantTokenIds: false, maxEventBytes: 1 << 20 },
    (buffer, start, end, ids) => {
      sse += buffer.toString('utf8', start, end);
      meaning.ids.push(...ids);
    },
  );
  const reader = new HttpReader({
    onHead: (head) => {
      meaning.status = head.status;
    },
    onBody: (buffer, start, end) => scanner.push(buffer, start, end),
    onComplete: () => {
      meaning.whole = true;
    },
  });
  for (const piece of pieces) {
    reader.push(piece, 0, piece.length);
    scanner.flush();
  }
  reader.closed();
  meaning.done = scanner.sawDone;
  meaning.finishReason = scanner.finishReason;
  meaning.error = scanner.errorText;
  meaning.promptTokens = scanner.usage?.promptTokens;
  return { sse, meaning };
}

/** The same, with the texts that a client finds in the bytes. */
function meaningOf({ sse, meaning }: Raw): Meaning {
  const parsed = emptyMeaning();
  addEvents(parsed, sse, false);
  return { ...meaning, text: parsed.text };
}

interface NodeAnswer {
  readonly status: number;
  readonly body: string;
  readonly whole: boolean;
}

/** What Node's client makes of the bytes, after which the connection is closed. */
async function askNode(bytes: Buffer): Promise<NodeAnswer> {
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => socket.end(bytes));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const answer = await new Promise<NodeAnswer>((resolve) => {
    const request = http.get({ port, host: '127.0.0.1', agent: false }, (response) => {
      const pieces: Buffer[] = [];
      const end = (whole: boolean): void =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(pieces).toString('latin1'), whole });
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('end', () => end(response.complete));
      response.on('error', () => end(false));
    });
    request.on('error', () => resolve({ status: 0, body: '', whole: false }));
  });
  server.close();
  return answer;
}

const folder = path.join(packageRoot(), 'test', 'fixtures', 'vllm-0.32');
const streams = readdirSync(folder).filter(
  (name) => name.endsWith('.http') && fixture(name).includes('content-type: text/event-stream'),
);

t.test('a recorded stream means the same to our readers at every cut, and byte by byte', async (t) => {
  t.ok(streams.length > 8, 'the recordings were found');
  for (const name of streams) {
    const bytes = fixture(name);
    const node = await askNode(bytes);
    const theirs = emptyMeaning();
    addEvents(theirs, Buffer.from(node.body, 'latin1').toString('utf8'), true);
    theirs.status = node.status;
    theirs.whole = node.whole;
    const whole = readRaw([Buffer.from(bytes)]);
    t.same(meaningOf(whole), theirs, name);
    const wanted = JSON.stringify(whole);
    let differs: number | undefined;
    for (let at = 1; at < bytes.length && differs === undefined; at++)
      if (JSON.stringify(readRaw(cutAt(bytes, at))) !== wanted) differs = at;
    t.equal(differs, undefined, `${name} at each byte`);
    t.same(readRaw([...bytes].map((byte) => Buffer.from([byte]))), whole, `${name} byte by byte`);
  }
});

interface Read {
  readonly status: number;
  readonly body: string;
  readonly whole: boolean;
  readonly error: string | undefined;
}

function readHttp(pieces: readonly Buffer[]): Read {
  let status = 0;
  let whole = false;
  let body = '';
  const reader = new HttpReader({
    onHead: (head) => {
      status = head.status;
    },
    onBody: (buffer, start, end) => {
      body += buffer.toString('latin1', start, end);
    },
    onComplete: () => {
      whole = true;
    },
  });
  try {
    for (const piece of pieces) reader.push(piece, 0, piece.length);
    reader.closed();
  } catch (error) {
    return { status, body, whole, error: (error as { code?: string }).code };
  }
  return { status, body, whole, error: undefined };
}

const text = fc.string({ unit: fc.constantFrom('a', 'b', '0', '\r', '\n', '\0', ' ', ':', 'é'), maxLength: 30 });

/** One chunk, sound or with one thing wrong with it. */
const chunkText = fc
  .tuple(
    text,
    fc.constantFrom(
      'sound',
      'sound',
      'sound',
      'sound',
      'sound',
      'long',
      'short',
      'sign',
      'hex',
      'lf',
      'nul',
      'extension',
      'zeros',
    ),
  )
  .map(([data, how]) => {
    const bytes = Buffer.from(data, 'latin1').length;
    const size = bytes.toString(16);
    if (bytes === 0) return '';
    const end = `${data}\r\n`;
    const lines: Readonly<Record<string, string>> = {
      sound: `${size}\r\n${end}`,
      long: `${(bytes + 1).toString(16)}\r\n${end}`,
      short: `${(bytes - 1).toString(16)}\r\n${end}`,
      sign: `+${size}\r\n${end}`,
      hex: `0x${size}\r\n${end}`,
      lf: `${size}\n${end}`,
      nul: `${size}\0\r\n${end}`,
      extension: `${size};name="v"\r\n${end}`,
      zeros: `00${size}\r\n${end}`,
    };
    return lines[how] as string;
  });

const chunkedAnswer = fc
  .tuple(fc.array(chunkText, { maxLength: 5 }), fc.constantFrom('', 'x-sum: 1\r\n', 'a: b\r\nc: d\r\n'), fc.boolean())
  .map(
    ([chunks, trailer, ends]) =>
      `transfer-encoding: chunked\r\n\r\n${chunks.join('')}${ends ? `0\r\n${trailer}\r\n` : ''}`,
  );

const countedAnswer = fc
  .tuple(text, fc.integer({ min: -3, max: 3 }))
  .map(([body, off]) => `content-length: ${Math.max(0, Buffer.from(body, 'latin1').length + off)}\r\n\r\n${body}`);

const untilClose = text.map((body) => `\r\n${body}`);

const answers = fc
  .tuple(
    fc.constantFrom('', 'HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'),
    fc.constantFrom('', 'connection: close\r\n', 'x: y\r\nX-Y: z\r\n', `long: ${'v'.repeat(9000)}\r\n`),
    fc.oneof(chunkedAnswer, countedAnswer, untilClose),
  )
  .map(([before, headers, rest]) => Buffer.from(`${before}HTTP/1.1 200 OK\r\n${headers}${rest}`, 'latin1'));

t.test(
  'a random answer, sound or broken: we take for whole only what Node takes for whole, with the same body',
  async (t) => {
    let whole = 0;
    await fc.assert(
      fc.asyncProperty(answers, fc.array(fc.nat(200), { maxLength: 4 }), async (bytes, cuts) => {
        const places = cuts.filter((at) => at < bytes.length).sort((a, b) => a - b);
        const read = readHttp(cutAt(bytes, ...places));
        const once = readHttp([Buffer.from(bytes)]);
        if (JSON.stringify({ ...read, body: '' }) !== JSON.stringify({ ...once, body: '' })) return false;
        if (read.error !== undefined) return read.error === 'engine_garbage';
        const node = await askNode(bytes);
        if (read.whole) whole += 1;
        return !read.whole || (node.whole && node.status === read.status && node.body === read.body);
      }),
      { numRuns: 400 },
    );
    t.ok(whole > 50, `${whole} of them were whole`);
  },
);

t.test('any bytes at all: no throw but the coded one, and never more body than there are bytes', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), fc.nat(400), (noise, headed, cut) => {
      const head = headed ? 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n' : '';
      const bytes = Buffer.concat([Buffer.from(head), noise]);
      const read = readHttp(cutAt(bytes, Math.min(cut, bytes.length)));
      return (read.error === undefined || read.error === 'engine_garbage') && read.body.length <= bytes.length;
    }),
    { numRuns: 1000 },
  );
  t.pass();
});
