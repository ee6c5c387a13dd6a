/** Lane frames: what is written is read back, protobuf agrees, and bad bytes give FrameError and nothing else. */
import fc from 'fast-check';
import t from 'tap';
import {
  decodeJson,
  decodeLaneBatch,
  decodeSubmit,
  encodeJson,
  encodeSubmit,
  FrameBatch,
  FrameError,
  HEADER_BYTES,
  readIds,
  visitFrames,
} from '../../proto/codec.ts';
import { fleetMessages, fleetService } from '../../proto/load.ts';

const uint = (bits: number) => fc.integer({ min: 0, max: 2 ** bits - 1 });
const frameArbitrary = fc.record({
  header: fc.record({
    kind: uint(8),
    flags: uint(8),
    attempt: uint(16),
    stream: uint(32),
    index: uint(32),
    incarnation: uint(32),
    credit: uint(32),
    aux: uint(32),
  }),
  payload: fc.uint8Array({ maxLength: 300 }),
  ids: fc.array(uint(32), { maxLength: 20 }),
});

function collect(bytes: Uint8Array): unknown[] {
  const frames: unknown[] = [];
  visitFrames(bytes, ({ payload, idBytes, tokens, ...header }) => {
    frames.push({ header, payload: new Uint8Array(payload), ids: [...readIds(idBytes)], tokens });
  });
  return frames;
}

t.test('any frames come back from the wire as they were, in order', async () => {
  fc.assert(
    fc.property(
      fc.array(frameArbitrary, { maxLength: 40 }),
      fc.array(frameArbitrary, { maxLength: 3 }),
      (first, second) => {
        const batch = new FrameBatch();
        for (const frames of [first, second]) {
          for (const { header, payload, ids } of frames) batch.append(header, payload, ids);
          const size = batch.bytes;
          const wire = batch.take();
          t.equal(batch.bytes, 0);
          t.equal(wire.length, size + 6);
          const expected = frames.map((frame) => ({ ...frame, tokens: frame.ids.length }));
          t.same(collect(decodeLaneBatch(wire)), expected);
        }
      },
    ),
    { numRuns: 60 },
  );
});

t.test('a batch that was taken is not overwritten by the next', async (t) => {
  const batch = new FrameBatch();
  batch.append({ kind: 18, stream: 1 }, Buffer.from('first'));
  const first = batch.take();
  const copy = Buffer.from(first);
  batch.append({ kind: 18, stream: 2 }, Buffer.alloc(10_000, 7));
  batch.take();
  t.ok(first.equals(copy));
});

t.test('a frame without optional fields has zeros there', async (t) => {
  const batch = new FrameBatch();
  batch.append({ kind: 2, stream: 9 });
  const zeros = { flags: 0, attempt: 0, index: 0, incarnation: 0, credit: 0, aux: 0 };
  t.same(collect(decodeLaneBatch(batch.take())), [
    { header: { kind: 2, stream: 9, ...zeros }, payload: new Uint8Array(0), ids: [], tokens: 0 },
  ]);
});

t.test('the length is padded, and a general protobuf library reads it all the same', async () => {
  const general = fleetMessages.LaneBatch;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (payload) => {
      const batch = new FrameBatch();
      batch.append({ kind: 18, stream: 3 }, payload);
      const wire = batch.take();
      const decoded = general.deserialize(wire);
      t.ok(Buffer.from(decoded.frames).equals(decodeLaneBatch(wire)));
      t.ok(Buffer.from(decodeLaneBatch(Buffer.from(general.serialize(decoded)))).equals(decoded.frames));
    }),
    { numRuns: 100 },
  );
  t.same(decodeLaneBatch(Buffer.alloc(0)), Buffer.alloc(0), 'protobuf writes an empty batch as nothing');
});

t.test('the service definition uses these codecs in both directions', async (t) => {
  const batch = new FrameBatch();
  batch.append({ kind: 18, stream: 3 }, Buffer.from('x'));
  const wire = batch.take();
  const { Lane } = fleetService as unknown as { Lane: Record<string, (value: unknown) => Buffer> };
  for (const side of ['request', 'response']) {
    const bytes = Lane[`${side}Serialize`]?.(wire) as Buffer;
    t.ok(bytes.equals(wire));
    t.ok(Lane[`${side}Deserialize`]?.(bytes).equals(decodeLaneBatch(wire)));
  }
});

/** Runs a decoder on bytes that may be bad: it may succeed or throw FrameError, nothing else. */
function survives(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
  }
}

t.test('malformed bytes give FrameError and nothing else', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const buffer = Buffer.from(bytes);
      survives(() => visitFrames(buffer, () => undefined));
      survives(() => decodeLaneBatch(buffer));
      survives(() => decodeSubmit(buffer));
      survives(() => decodeJson(buffer));
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.array(frameArbitrary, { minLength: 1, maxLength: 4 }), fc.nat(), (frames, cut) => {
      const batch = new FrameBatch();
      for (const { header, payload, ids } of frames) batch.append(header, payload, ids);
      const bytes = decodeLaneBatch(batch.take());
      const ends = new Set<number>([0]);
      let at = 0;
      for (const { payload, ids } of frames) ends.add((at += HEADER_BYTES + ids.length * 4 + payload.length));
      const length = cut % bytes.length;
      const short = bytes.subarray(0, length);
      if (ends.has(length)) visitFrames(short, () => undefined);
      else t.throws(() => visitFrames(short, () => undefined), FrameError);
    }),
    { numRuns: 100 },
  );
  const bad: [string, Buffer][] = [
    ['another field', Buffer.from([0x12, 0x00])],
    ['no length', Buffer.from([0x0a])],
    ['a length without end', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
    ['shorter than it says', Buffer.from([0x0a, 0x02, 0x00])],
    ['longer than it says', Buffer.from([0x0a, 0x01, 0x00, 0x00])],
  ];
  for (const [name, bytes] of bad) t.throws(() => decodeLaneBatch(bytes), FrameError, name);
  const lying = Buffer.alloc(HEADER_BYTES);
  lying.writeUInt32LE(0x4000_0001, 24);
  t.throws(() => visitFrames(lying, () => undefined), FrameError, 'more ids than payload');
});

t.test('submit and JSON payloads come back; cut or foreign ones are refused', async (t) => {
  const meta = {
    requestId: 'r',
    engine: 'e',
    path: '/v1/completions',
    stream: true,
    wantUsage: false,
    wantTokenIds: true,
  };
  const payload = encodeSubmit(meta, Buffer.from('{"ünï":1}'));
  t.same(decodeSubmit(payload), { meta, body: Buffer.from('{"ünï":1}') });
  t.throws(() => decodeSubmit(payload.subarray(0, 3)), FrameError);
  t.throws(() => decodeSubmit(payload.subarray(0, 20)), FrameError);
  const foreign = Buffer.from(payload);
  foreign[4] = 0x58;
  t.throws(() => decodeSubmit(foreign), FrameError);
  const failure = { code: 'engine_died', message: 'gone', retryAfterMs: 5 };
  t.same(decodeJson(encodeJson(failure)), failure);
});
