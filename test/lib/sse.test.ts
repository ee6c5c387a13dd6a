/** The SSE splitter: however the network cuts the bytes, the events are the same. */
import fc from 'fast-check';
import t from 'tap';
import { createSseSplitter, formatSseEvent, SSE_DONE } from '../../lib/sse.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

function split(parts: readonly Uint8Array[], maxEventBytes = 1_000_000): string[] {
  const splitter = createSseSplitter({ maxEventBytes });
  // Each part is pushed in a buffer that is overwritten afterwards, as a socket's read buffer is.
  return parts.flatMap((part) => {
    const reused = Buffer.from(part);
    const events = splitter.push(reused).map(decode);
    reused.fill(0x2a);
    return events;
  });
}

const SAMPLES: readonly (readonly [name: string, stream: string, events: readonly string[]])[] = [
  ['two events', 'data: {"a":1}\n\ndata: [DONE]\n\n', ['{"a":1}', '[DONE]']],
  ['no space after the colon', 'data:x\n\n', ['x']],
  ['only one space is removed', 'data:  x\n\n', [' x']],
  ['several data lines are joined', 'data: a\ndata: b\ndata:\ndata: c\n\n', ['a\nb\n\nc']],
  ['CRLF', 'data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n', ['a\nb', 'c']],
  ['CR alone', 'data: a\rdata: b\r\rdata: c\r\r', ['a\nb', 'c']],
  ['mixed line ends', 'data: a\r\ndata: b\n\rdata: c\n\n', ['a\nb', 'c']],
  ['comments and other fields', ': ping\n\nevent: x\nid: 7\nretry: 3\ndata: a\n: in between\ndata: b\n\n', ['a\nb']],
  ['an event without data is none', 'event: x\n\ndata: a\n\n', ['a']],
  ['empty data is an event', 'data\n\ndata:\n\n', ['', '']],
  ['a field that begins like data', 'dataset: x\ndat: y\ndata: a\n\n', ['a']],
  ['a byte order mark at the start', '\ufeffdata: a\n\n', ['a']],
  ['a byte order mark later is content', 'data: a\n\n\ufeffdata: b\n\n', ['a']],
  ['multi-byte text', 'data: {"t":"日本語 🎉 é"}\n\n', ['{"t":"日本語 🎉 é"}']],
  ['an unfinished event gives nothing', 'data: a\n\ndata: b\n', ['a']],
  ['blank lines between events', 'data: a\n\n\n\ndata: b\n\n', ['a', 'b']],
  ['nothing', '', []],
];

for (const [name, stream, events] of SAMPLES) {
  t.test(`${name}: whole, byte by byte, and cut at every place`, async (t) => {
    const bytes = encode(stream);
    t.same(split([bytes]), events);
    t.same(split(Array.from(bytes, (byte) => Uint8Array.of(byte))), events);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const got = split([bytes.subarray(0, cut), new Uint8Array(0), bytes.subarray(cut)]);
      if (JSON.stringify(got) !== JSON.stringify(events)) t.same(got, events, `cut at ${cut}`);
    }
  });
}

/** A plain reading of the standard, on whole text: the oracle. */
function referenceEvents(stream: string): string[] {
  const events: string[] = [];
  let data: string[] = [];
  const lines = stream.replace(/^\ufeff/, '').split(/\r\n|\n|\r/);
  for (const line of lines.slice(0, -1)) {
    if (line === '') {
      if (data.length > 0) events.push(data.join('\n'));
      data = [];
    } else if (line === 'data') data.push('');
    else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  return events;
}

const piece = fc.constantFrom(
  'data: ',
  'data:',
  'data',
  '\n',
  '\n\n',
  '\r\n',
  '\r',
  ': x',
  ' ',
  'é',
  '🎉',
  '{"a":1}',
  'id: 1',
  '\ufeff',
);

t.test('any stream in any cuts gives what the standard gives for the whole', async () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.array(fc.nat(200), { maxLength: 12 }), (pieces, cutPlaces) => {
      const stream = pieces.join('');
      const bytes = encode(stream);
      const cuts = [0, ...cutPlaces.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length];
      const parts = cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end));
      return JSON.stringify(split(parts)) === JSON.stringify(referenceEvents(stream));
    }),
    { numRuns: 2_000 },
  );
});

t.test('an event over the bound is garbage, whole or in pieces', async (t) => {
  const whole = createSseSplitter({ maxEventBytes: 20 });
  t.same(whole.push(encode('data: 12345678901234\n\n')).length, 1, 'exactly at the bound');
  t.throws(() => whole.push(encode('data: 123456789012345\n\n')), { code: 'engine_garbage' });
  const pieces = createSseSplitter({ maxEventBytes: 20 });
  pieces.push(encode('data: 1234567890'));
  t.equal(pieces.pendingBytes, 16);
  t.throws(() => pieces.push(encode('12345')), { code: 'engine_garbage' });
  const lines = createSseSplitter({ maxEventBytes: 20 });
  lines.push(encode('data: 123\ndata: 456\n'));
  t.throws(() => lines.push(encode('data')), { code: 'engine_garbage' });
  const comment = createSseSplitter({ maxEventBytes: 20 });
  t.throws(() => comment.push(encode(`: ${'x'.repeat(30)}`)), { code: 'engine_garbage' });
});

t.test('what the writer writes, the splitter reads', async (t) => {
  const stream = formatSseEvent('{"a":"b\\n"}') + SSE_DONE;
  t.same(split([encode(stream)]), ['{"a":"b\\n"}', '[DONE]']);
});
