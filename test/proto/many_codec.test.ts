/** Batches of GenerateMany: our writer and reader agree with each other and with a general protobuf library. */
import fc from 'fast-check';
import t from 'tap';
import { inferenceMessages } from '../../proto/load.ts';
import { decodeManyResponse, ENTRY, EntryBatch } from '../../proto/many_codec.ts';

const general = inferenceMessages.GenerateManyResponse;

const entryArbitrary = fc.record({
  stream: fc.oneof(fc.nat({ max: 200 }), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
  kind: fc.constantFrom(...Object.values(ENTRY)),
  payload: fc.uint8Array({ maxLength: 300 }),
  slack: fc.nat({ max: 5 }),
});

const nameOf = (kind: number): string =>
  `ENTRY_KIND_${Object.entries(ENTRY).find(([, value]) => value === kind)?.[0] ?? ''}`;

t.test('any batches come back as they were, by our reader and by a general one', async () => {
  fc.assert(
    fc.property(fc.array(fc.array(entryArbitrary, { maxLength: 60 }), { maxLength: 3 }), (batches) => {
      const batch = new EntryBatch();
      for (const entries of batches) {
        for (const { stream, kind, payload, slack } of entries) {
          // A payload that lies inside a larger buffer, as a token's chunk does.
          const around = Buffer.concat([Buffer.alloc(slack, 1), payload, Buffer.alloc(slack, 2)]);
          batch.append(stream, kind, around, slack, slack + payload.length);
        }
        t.equal(batch.count, entries.length);
        const wire = batch.take();
        t.equal(batch.count, 0);
        t.equal(batch.bytes, 0);
        const expected = {
          stream: entries.map((entry) => entry.stream),
          kind: entries.map((entry) => entry.kind),
          size: entries.map((entry) => entry.payload.length),
          data: Buffer.concat(entries.map((entry) => entry.payload)),
        };
        t.same(decodeManyResponse(wire), expected);
        const decoded = general.deserialize(wire);
        t.same(decoded.stream, expected.stream);
        t.same(decoded.kind, expected.kind.map(nameOf));
        t.same(decoded.size, expected.size);
        t.ok(Buffer.from(decoded.data).equals(expected.data));
        t.same(decodeManyResponse(Buffer.from(general.serialize(decoded))), expected, 'and what it writes, we read');
      }
    }),
    { numRuns: 60 },
  );
});

t.test('the kinds are those of the .proto file', async (t) => {
  const { value } = inferenceMessages.EntryKind.type as { value: { name: string; number: number }[] };
  const fromFile = value.filter(({ number }) => number !== 0).map(({ name, number }) => [name, number]);
  t.same(
    Object.values(ENTRY).map((kind) => [nameOf(kind), kind]),
    fromFile,
  );
});

t.test('a batch that was taken is not overwritten by the next', async (t) => {
  const batch = new EntryBatch();
  batch.append(1, ENTRY.CHUNK, Buffer.from('first'));
  const first = batch.take();
  const copy = Buffer.from(first);
  batch.append(2, ENTRY.CHUNK, Buffer.alloc(10_000, 7));
  batch.take();
  t.ok(first.equals(copy));
});

t.test('unpacked columns and unknown fields are read as protobuf asks', async (t) => {
  const bytes = Buffer.from([0x08, 5, 0x10, 1, 0x18, 2, 0x22, 2, 0x61, 0x62, 0x7a, 1, 0x00, 0x78, 9]);
  t.same(decodeManyResponse(bytes), { stream: [5], kind: [1], size: [2], data: Buffer.from('ab') });
});

t.test('malformed bytes give RangeError and nothing else', async (t) => {
  const survives = (bytes: Buffer): void => {
    try {
      decodeManyResponse(bytes);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => survives(Buffer.from(bytes))),
    { numRuns: 1000 },
  );
  const batch = new EntryBatch();
  for (let i = 0; i < 5; i++) batch.append(i * 1000, ENTRY.CHUNK, Buffer.from('chunk'));
  const whole = batch.take();
  for (let length = 1; length < whole.length; length++) {
    t.throws(() => decodeManyResponse(whole.subarray(0, length)), RangeError, `cut at ${length}`);
  }
  const bad: [string, number[]][] = [
    ['columns of different length', [0x0a, 1, 1]],
    ['sizes that do not add up', [0x0a, 1, 1, 0x12, 1, 1, 0x1a, 1, 9, 0x22, 1, 0]],
    ['a column that ends inside a number', [0x0a, 1, 0x80, 0x00, 0x12, 1, 1, 0x1a, 1, 0]],
    ['a wire type of no field', [0x0d, 0, 0, 0, 0]],
    ['a number without end', [0x0a, ...Array.from({ length: 10 }, () => 0xff)]],
    ['a field number of zero', [0x02, 0]],
  ];
  for (const [name, bytes] of bad) t.throws(() => decodeManyResponse(Buffer.from(bytes)), RangeError, name);
});
