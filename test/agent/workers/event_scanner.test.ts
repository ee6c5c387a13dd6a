/** The scanner of event streams against recorded streams, with JSON.parse as oracle. */
import fc from 'fast-check';
import t from 'tap';
import { EventScanner, type ScannerOptions } from '../../../agent/workers/event_scanner.ts';
import { HttpReader } from '../../../agent/workers/http_reader.ts';
import { cutAt, fixture } from '../support/bytes.ts';

interface Scanned {
  text: string;
  ids: number[];
  done: boolean;
  finish: string | undefined;
  usage: unknown;
  error: string | undefined;
  cutShort: boolean;
  garbage?: string;
}

const DEFAULTS: ScannerOptions = { wantUsage: false, wantTokenIds: false, maxEventBytes: 65_536 };

function scan(pieces: readonly Buffer[], options: Partial<ScannerOptions> = {}, flushEach = true): Scanned {
  let text = '';
  const ids: number[] = [];
  const scanner = new EventScanner({ ...DEFAULTS, ...options }, (buffer, start, end, some) => {
    text += buffer.toString('latin1', start, end);
    ids.push(...some);
  });
  let garbage: string | undefined;
  try {
    for (const piece of pieces) {
      scanner.push(piece, 0, piece.length);
      if (flushEach) scanner.flush();
    }
    scanner.flush();
  } catch (error) {
    garbage = (error as { code?: string }).code ?? String(error);
  }
  const { sawDone: done, finishReason: finish, usage, errorText: error, cutShort } = scanner;
  return { text, ids, done, finish, usage, error, cutShort, ...(garbage === undefined ? {} : { garbage }) };
}

function bodyOf(name: string): Buffer {
  const pieces: Buffer[] = [];
  const reader = new HttpReader({
    onHead: () => undefined,
    onBody: (buffer, start, end) => pieces.push(Buffer.from(buffer.subarray(start, end))),
    onComplete: () => undefined,
  });
  const bytes = fixture(name);
  reader.push(bytes, 0, bytes.length);
  return Buffer.concat(pieces);
}

type Chunk = {
  choices?: { finish_reason?: string | null; token_ids?: number[] | null; prompt_token_ids?: number[] | null }[];
  usage?: Record<string, number> | null;
  prompt_token_ids?: number[] | null;
  error?: unknown;
};

/** The same stream by way of JSON.parse. */
function oracle(body: Buffer, wantUsage: boolean, wantTokenIds: boolean) {
  const chunks: unknown[] = [];
  const ids: number[] = [];
  let finish: string | undefined;
  let usage: Record<string, number> | undefined;
  for (const event of body.toString('latin1').split('\n\n')) {
    if (event === '' || event === 'data: [DONE]') continue;
    const chunk = JSON.parse(event.slice(6)) as Chunk;
    if (chunk.error !== undefined) continue;
    for (const choice of chunk.choices ?? []) {
      ids.push(...(choice.token_ids ?? []));
      finish = choice.finish_reason ?? finish;
      if (!wantTokenIds && Array.isArray(choice.token_ids)) delete choice.token_ids;
      if (!wantTokenIds && Array.isArray(choice.prompt_token_ids)) delete choice.prompt_token_ids;
    }
    if (!wantTokenIds && Array.isArray(chunk.prompt_token_ids)) delete chunk.prompt_token_ids;
    if (chunk.choices?.length === 0 && chunk.usage != null) {
      usage = chunk.usage;
      if (!wantUsage) continue;
    }
    chunks.push(chunk);
  }
  return { chunks, ids, finish, usage };
}

const parseEvents = (text: string): unknown[] =>
  text
    .split('\n\n')
    .filter((event) => event !== '')
    .map((event) => JSON.parse(event.slice(6)) as unknown);

const STREAMS = [
  'chat-stream.http',
  'chat-stream-token-ids.http',
  'chat-stream-multibyte.http',
  'chat-stream-two-choices.http',
  'chat-stream-interval-8.http',
  'chat-stream-logprobs.http',
  'chat-stream-tool.http',
  'chat-stream-continuous-usage.http',
  'completions-stream-token-ids.http',
  'completions-stream-from-ids.http',
  'sigterm-40-stream.http',
  'core-killed-stream.http',
];

t.test('gives what parsing each chunk would give, for each wish of the client', async (t) => {
  for (const name of STREAMS) {
    const body = bodyOf(name);
    for (const wantUsage of [false, true]) {
      for (const wantTokenIds of [false, true]) {
        const ours = scan([Buffer.from(body)], { wantUsage, wantTokenIds });
        const theirs = oracle(body, wantUsage, wantTokenIds);
        t.same(parseEvents(ours.text), theirs.chunks, `${name} chunks, usage ${wantUsage}, ids ${wantTokenIds}`);
        t.same(ours.ids, theirs.ids, `${name} ids`);
        t.equal(ours.finish, theirs.finish, `${name} finish reason`);
        t.ok(ours.done && !ours.cutShort, `${name} is whole`);
        t.equal(
          (ours.usage as { completionTokens?: number } | undefined)?.completionTokens,
          theirs.usage?.['completion_tokens'],
        );
        if (wantUsage && wantTokenIds && name !== 'core-killed-stream.http') {
          t.equal(`${ours.text}data: [DONE]\n\n`, body.toString('latin1'), `${name} is passed on byte for byte`);
        }
      }
    }
  }
});

t.test('an error event is taken out of the stream and kept', async (t) => {
  const result = scan([bodyOf('core-killed-stream.http')]);
  t.match(result.error, /EngineCore/);
  t.notMatch(result.text, /"error"/);
});

t.test('a cut at any byte changes nothing', async (t) => {
  for (const name of STREAMS) {
    const body = bodyOf(name);
    const whole = scan([Buffer.from(body)]);
    for (let at = 0; at <= body.length; at++) {
      const result = scan(cutAt(body, at));
      if (JSON.stringify(result) !== JSON.stringify(whole)) t.fail(`${name} differs when it is cut at ${at}`);
    }
    t.same(scan([...body].map((byte) => Buffer.from([byte]))), whole, `${name} byte by byte`);
  }
});

t.test('many cuts, and several pieces of one read, change nothing', async (t) => {
  const body = bodyOf('chat-stream-multibyte.http');
  const whole = scan([Buffer.from(body)]);
  fc.assert(
    fc.property(fc.array(fc.nat(body.length), { maxLength: 12 }), fc.boolean(), (places, flushEach) => {
      const pieces = cutAt(body, ...places.toSorted((a, b) => a - b));
      return JSON.stringify(scan(pieces, {}, flushEach)) === JSON.stringify(whole);
    }),
    { numRuns: 400 },
  );
  t.pass();
});

t.test('pieces that lie apart in one buffer are joined in place', async (t) => {
  // As a chunked body does: chunk sizes stand between the events of one read.
  const events = bodyOf('chat-stream-token-ids.http')
    .toString('latin1')
    .split(/(?<=\n\n)/);
  const gap = '\r\nd8\r\n';
  const buffer = Buffer.from(gap + events.join(gap), 'latin1');
  let text = '';
  let frames = 0;
  const scanner = new EventScanner(DEFAULTS, (from, start, end) => {
    frames += 1;
    text += from.toString('latin1', start, end);
  });
  let at = 0;
  for (const event of events) {
    at += gap.length;
    scanner.push(buffer, at, at + event.length);
    at += event.length;
  }
  scanner.flush();
  t.equal(text, scan([bodyOf('chat-stream-token-ids.http')]).text);
  t.equal(frames, 1);
});

t.test('text that looks like a key is text', async (t) => {
  const content =
    '","token_ids":[1,2],"finish_reason":"abort","choices":[],"usage":{"prompt_tokens":1}\\"token_ids":[3]';
  const chunk = (extra: string): string =>
    `data: {"id":"a","choices":[{"index":0,"delta":{"content":${JSON.stringify(content)}},"finish_reason":null${extra}}]}\n\n`;
  const result = scan([Buffer.from(chunk(',"token_ids":[7]') + chunk(''))]);
  t.same(result.ids, [7]);
  t.equal(result.finish, undefined);
  t.equal(result.usage, undefined);
  t.equal(result.text, chunk('') + chunk(''));
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom('"', '\\', 'token_ids', ':', '[1]', '{', '}', ',', 'finish_reason', '\n', 'é'),
      }),
      (text) => {
        const plain = `data: {"choices":[{"delta":{"content":${JSON.stringify(text)}},"finish_reason":null}]}\n\n`;
        const withIds = plain.replace('null}]}\n\n', 'null,"token_ids":[5]}]}\n\n');
        const scanned = scan([Buffer.from(plain + withIds)]);
        return (
          scanned.text === Buffer.from(plain + plain).toString('latin1') &&
          scanned.ids.length === 1 &&
          scanned.finish === undefined
        );
      },
    ),
    { numRuns: 1000 },
  );
});

t.test('an abort of one choice is not hidden by the end of another', async (t) => {
  const end = (index: number, reason: string): string =>
    `data: {"choices":[{"index":${index},"delta":{},"finish_reason":"${reason}"}]}\n\n`;
  t.equal(scan([Buffer.from(end(0, 'abort') + end(1, 'stop'))]).finish, 'abort');
});

t.test('comments and blank lines are skipped, also before an event', async (t) => {
  const result = scan([Buffer.from(': ping\n\n\n\n: a\ndata: {"choices":[]}\n\ndata:{"choices":[]}\n\n: end\n\n')]);
  t.equal(result.text, 'data: {"choices":[]}\n\ndata:{"choices":[]}\n\n');
});

t.test('what is no chunk is garbage', async (t) => {
  for (const bytes of [
    'event: x\ndata: {}\n\n',
    'hello\n\n',
    'data: 17\n\n',
    'data: [DONT]\n\n',
    'data: \n\n',
    '<html>\n\n',
  ]) {
    t.equal(scan([Buffer.from(bytes)]).garbage, 'engine_garbage', JSON.stringify(bytes));
  }
});

t.test('what came in one read before garbage is given all the same', async (t) => {
  const good = (text: string, id: number): string =>
    `data: {"id":"c","choices":[{"index":0,"delta":{"content":"${text}"},"finish_reason":null,"token_ids":[${id}]}]}\n\n`;
  for (const bad of ['hello\n\n', 'data: {"id":\n\n', 'data: [DONT]\n\n']) {
    let text = '';
    const ids: number[] = [];
    const scanner = new EventScanner(DEFAULTS, (buffer, start, end, some) => {
      text += buffer.toString('latin1', start, end);
      ids.push(...some);
    });
    const read = Buffer.from(good('a', 7) + good('b', 8) + bad + good('c', 9));
    t.throws(() => scanner.push(read, 0, read.length), { code: 'engine_garbage' });
    t.equal(text, '');
    scanner.flush();
    t.same(
      [...text.matchAll(/"content":"(.)"/g)].map(([, letter]) => letter),
      ['a', 'b'],
      bad,
    );
    t.same(ids, [7, 8]);
  }
});

t.test('an event longer than the bound is garbage, before it is whole', async (t) => {
  const long = Buffer.from(`data: {"a":"${'x'.repeat(2000)}`);
  t.equal(scan(cutAt(long, 500, 1000, 1500), { maxEventBytes: 1200 }).garbage, 'engine_garbage');
  t.equal(scan(cutAt(long, 500, 1000, 1500), { maxEventBytes: 4000 }).garbage, undefined);
});

t.test('a chunk that is no JSON is garbage', async (t) => {
  for (const ids of ['[1,]', '[,1]', '[1,,2]', '[1', '[1 x]', 'nul']) {
    const chunk = `data: {"choices":[{"finish_reason":null,"token_ids":${ids}}]}\n\n`;
    t.equal(scan([Buffer.from(chunk)]).garbage, 'engine_garbage', ids);
  }
});

t.test('ids that are none stay where they are', async (t) => {
  for (const ids of ['[-1]', '[99999999999]', '[4294967296]', '"x"', '[12345678901]', 'null', '[1.5]', '["1"]']) {
    const chunk = `data: {"choices":[{"finish_reason":null,"token_ids":${ids}}]}\n\n`;
    const result = scan([Buffer.from(chunk)]);
    t.same(result.ids, [], ids);
    t.equal(result.text, chunk);
  }
  const empty = scan([Buffer.from('data: {"choices":[{"finish_reason":null,"token_ids":[]}]}\n\n')]);
  t.equal(empty.text, 'data: {"choices":[{"finish_reason":null}]}\n\n');
  const blanks = scan([Buffer.from('data: {"choices":[{"token_ids":[1, 2],"a":1}]}\n\n')]);
  t.same(blanks.ids, [1, 2]);
  t.equal(blanks.text, 'data: {"choices":[{"a":1}]}\n\n');
});
