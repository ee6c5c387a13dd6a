/** MessagePack: what is written is read back, the forms of the specification are known, and hostile bytes are bounded. */
import fc from 'fast-check';
import t from 'tap';
import { decodeMsgpack, encodeMsgpack, type MsgpackValue } from '../../lib/msgpack.ts';

const read = (...bytes: number[]): unknown => {
  const result = decodeMsgpack(Uint8Array.from(bytes));
  return result.ok ? result.value : result.reason;
};

t.test('what is written is read back', async (t) => {
  const { tree } = fc.letrec<{ tree: MsgpackValue }>((tie) => ({
    tree: fc.oneof(
      { depthSize: 'small' },
      fc.constant(null),
      fc.boolean(),
      fc.maxSafeInteger(),
      fc.double({ noNaN: true }).map((value) => (Object.is(value, -0) ? 0 : value)),
      fc.string(),
      fc.uint8Array({ maxLength: 300 }),
      fc.array(tie('tree'), { maxLength: 20 }),
      fc.dictionary(fc.string(), tie('tree')),
    ),
  }));
  fc.assert(
    fc.property(tree, (value) => {
      const result = decodeMsgpack(encodeMsgpack(value));
      return result.ok && fc.stringify(plain(result.value)) === fc.stringify(plain(value));
    }),
  );
  for (const length of [20, 300, 70_000]) {
    const values = ['x'.repeat(length), new Uint8Array(length), new Array<number>(length).fill(1)];
    for (const value of values) t.strictSame(decodeMsgpack(encodeMsgpack(value)), { ok: true, value });
  }
  const many = Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, i]));
  const back = decodeMsgpack(encodeMsgpack(many));
  t.equal(back.ok && Object.keys(back.value as object).length, 70_000);
});

/** With ordinary prototypes, so that two forms compare. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value)
    .map(([key, item]) => [key, plain(item)])
    .sort();
}

t.test('every form of a number is known', async (t) => {
  t.strictSame(
    [
      read(0x7f),
      read(0xff),
      read(0xcc, 200),
      read(0xcd, 1, 0),
      read(0xce, 0, 1, 0, 0),
      read(0xcf, 0, 0, 0, 0, 0, 0, 0, 9),
    ],
    [127, -1, 200, 256, 65_536, 9],
  );
  t.strictSame(
    [
      read(0xd0, 0x80),
      read(0xd1, 0xff, 0),
      read(0xd2, 0xff, 0xff, 0, 0),
      read(0xd3, ...new Array<number>(8).fill(255)),
    ],
    [-128, -256, -65_536, -1],
  );
  t.equal(read(0xcf, ...new Array<number>(8).fill(255)), 18_446_744_073_709_551_615n);
  t.equal(read(0xca, 0x3f, 0x80, 0, 0), 1);
});

t.test('what is cut off, too deep, too long, unknown or followed by more is refused', async (t) => {
  t.equal(read(), 'the document is cut off');
  t.equal(read(0xdd, 0xff, 0xff, 0xff, 0xff), 'the document is cut off', 'a length is not believed');
  t.equal(read(0xc6, 0xff, 0xff, 0xff, 0xff, 1), 'the document is cut off');
  t.equal(read(...new Array<number>(40).fill(0x91), 1), 'it nests too deep');
  t.equal(read(0xc1), 'type 0xc1 is not read');
  t.equal(read(0xd4, 1, 1), 'type 0xd4 is not read');
  t.equal(read(1, 1), 'there are bytes after the document');
  t.equal(read(0x81, 1, 1), 'a key is no text');
  const many = new Uint8Array(2_100_005).fill(1);
  many.set([0xdd, 0, 0x20, 0x0b, 0x20]);
  const result = decodeMsgpack(many);
  t.strictSame(result, { ok: false, reason: 'there are too many values' });
});

t.test('no bytes make it throw', async () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => typeof decodeMsgpack(bytes).ok === 'boolean'));
});
