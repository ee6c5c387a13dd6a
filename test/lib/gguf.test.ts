/** GGUF headers: what a sound one says, and that no foreign byte does more harm than a coded refusal. */
import fc from 'fast-check';
import t from 'tap';
import { type GgufCode, type GgufHeader, MOST_GGUF_HEADER_BYTES, readGgufHeader } from '../../lib/gguf.ts';
import type { ModelShape } from '../../lib/model_shape.ts';
import { type GgufField, ggufHeader, type GgufPlan, SMALL, text, u32, u64 } from '../support/gguf.ts';

const bytes = ggufHeader(SMALL);
const read = (plan: GgufPlan): GgufHeader => {
  const found = readGgufHeader(ggufHeader(plan));
  if (found.kind !== 'header') throw new Error(JSON.stringify(found));
  return found;
};
const llama = (...more: readonly GgufField[]): GgufPlan => {
  const keys = new Set(more.map(([key]) => key));
  return { ...SMALL, fields: [...SMALL.fields.filter(([key]) => !keys.has(key)), ...more] };
};
const shapeOf = (plan: GgufPlan): ModelShape => read(plan).shape as ModelShape;

t.test('version 2 and 3 say what the model is, and how large', async (t) => {
  for (const version of [2, 3]) {
    t.match(read({ ...SMALL, version }), {
      version,
      architecture: 'llama',
      tensors: 2,
      tensorBytes: 64 + 36,
      fileBytes: Math.ceil(bytes.length / 32) * 32 + 64 + 36,
      splits: 1,
      shape: {
        kind: 'shape',
        hidden: 64,
        vocabulary: 6,
        intermediate: 128,
        fullLayers: 4,
        windowLayers: 0,
        kvHeads: 2,
        headDim: 8,
        latentDim: 0,
        dtypeBytes: 2,
        maxPositions: 4096,
      },
    });
  }
  t.equal(read(llama(['split.count', 2, 3])).splits, 3);
  t.equal(read({ ...SMALL, tensors: [] }).tensorBytes, 0);
});

t.test('numbers of every type are read, and layers that differ are counted', async (t) => {
  for (const [type, value] of [
    [0, 200],
    [1, 100],
    [2, 60_000],
    [3, 30_000],
    [4, 2 ** 31],
    [5, 2 ** 30],
    [10, 2 ** 40],
    [11, 2 ** 40],
    [6, 16],
    [12, 4096],
  ] as const)
    t.equal(shapeOf(llama(['llama.context_length', type, value])).maxPositions, value, `type ${type}`);
  for (const value of [-1, 0]) t.equal(shapeOf(llama(['llama.context_length', 11, value])).maxPositions, undefined);
  t.match(shapeOf(llama(['llama.attention.head_count_kv', 9, [2, 0, 4, 0]])), { fullLayers: 2, kvHeads: 4 });
  t.match(shapeOf(llama(['llama.attention.head_count_kv', 9, [2, 0]])), { fullLayers: 4, kvHeads: 2 });
  t.match(shapeOf(llama(['llama.attention.key_length', 4, 128], ['llama.vocab_size', 4, 9])), {
    headDim: 128,
    vocabulary: 9,
  });
  t.match(
    shapeOf(
      llama(
        ['llama.expert_used_count', 4, 2],
        ['llama.expert_feed_forward_length', 4, 32],
        ['llama.attention.kv_lora_rank', 4, 512],
        ['llama.rope.dimension_count', 4, 64],
      ),
    ),
    { expertsPerToken: 2, expertIntermediate: 32, latentDim: 576 },
  );
  t.match(shapeOf(llama(['llama.attention.kv_lora_rank', 4, 512])), { latentDim: 512, windowTokens: 0 });
  t.match(shapeOf(llama(['llama.attention.sliding_window', 4, 512])), {
    fullLayers: 4,
    windowLayers: 0,
    windowTokens: 0,
  });
  const gemma: GgufPlan = {
    ...SMALL,
    fields: [
      ...SMALL.fields.flatMap(([key, type, value, of]): GgufField[] => [
        [
          key.replace('llama', 'gemma3'),
          type,
          value === 'llama' ? 'gemma3' : value,
          ...(of === undefined ? [] : [of]),
        ] as unknown as GgufField,
      ]),
      ['gemma3.attention.sliding_window', 4, 512],
    ],
  };
  t.match(shapeOf(gemma), { fullLayers: 0, windowLayers: 4, windowTokens: 512 });
  const bare = SMALL.fields.filter(([key]) => !/head_count_kv|feed_forward/.test(key));
  t.match(shapeOf({ ...SMALL, fields: bare }), { kvHeads: 8, intermediate: 256 });
  t.same(read({ ...SMALL, fields: [] }).shape, { kind: 'unknown', missing: ['general.architecture'] });
  t.same(read({ ...SMALL, fields: [['general.architecture', 8, 'llama']] }).shape, {
    kind: 'unknown',
    missing: ['llama.block_count', 'llama.embedding_length', 'llama.attention.head_count', 'llama.vocab_size'],
  });
  // A long list is not kept, and neither is a name that is no list.
  const many = Array.from({ length: 5000 }, () => 1);
  t.match(
    shapeOf(
      llama(
        ['llama.attention.head_count_kv', 9, many],
        ['tokenizer.ggml.tokens', 8, 'none'],
        ['llama.vocab_size', 4, 3],
      ),
    ),
    { kvHeads: 8, vocabulary: 3 },
  );
});

t.test('cut at every byte it asks for more, never for less than there is, and comes to the same end', async (t) => {
  for (let length = 0; length < bytes.length; length++) {
    const found = readGgufHeader(bytes.subarray(0, length));
    if (found.kind !== 'short' || found.needBytes <= length || found.needBytes > bytes.length) {
      t.fail(`cut at ${length}: ${JSON.stringify(found)}`);
      return;
    }
  }
  let asked = 0;
  let found = readGgufHeader(new Uint8Array());
  for (; found.kind === 'short'; asked++) found = readGgufHeader(bytes.subarray(0, found.needBytes));
  t.equal(found.kind, 'header');
  t.ok(asked <= bytes.length);
  // What comes behind the header does not matter, nor where in a buffer it lies.
  const padded = Buffer.concat([Buffer.alloc(3), bytes, Buffer.alloc(100, 7)]);
  t.same(readGgufHeader(padded.subarray(3)), found);
});

t.test('the bytes of a tensor follow from the bits per weight of its type', async (t) => {
  // As llama.cpp names them for its quantizations.
  for (const [type, bits] of [
    ...([
      [0, 32],
      [1, 16],
      [2, 4.5],
      [3, 5],
      [6, 5.5],
      [7, 6],
      [8, 8.5],
      [9, 9],
      [10, 2.625],
      [11, 3.4375],
    ] as const),
    ...([
      [12, 4.5],
      [13, 5.5],
      [14, 6.5625],
      [15, 9.125],
      [16, 2.0625],
      [17, 2.3125],
      [18, 3.0625],
      [19, 1.5625],
    ] as const),
    ...([
      [20, 4.5],
      [21, 3.4375],
      [22, 2.5625],
      [23, 4.25],
      [24, 8],
      [25, 16],
      [26, 32],
      [27, 64],
      [28, 64],
    ] as const),
    ...([
      [29, 1.75],
      [30, 16],
      [34, 1.6875],
      [35, 2.0625],
      [39, 4.25],
    ] as const),
  ])
    t.equal(
      read({ fields: [], tensors: [{ name: 'w', shape: [256, 3], type, from: 0 }] }).tensorBytes,
      (768 * bits) / 8,
      `type ${type}`,
    );
});

const head = (tensors: number | bigint, keys: number | bigint, ...rest: readonly Buffer[]): Buffer =>
  Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors), u64(keys), ...rest]);
const key = (type: number, ...rest: readonly Buffer[]): Buffer => head(0, 1, text('k'), u32(type), ...rest);
const tensor = (shape: readonly (number | bigint)[], type = 0, from: number | bigint = 0): Buffer =>
  head(1, 0, text('w'), u32(shape.length), ...shape.map(u64), u32(type), u64(from));
const HUGE = 2n ** 64n - 1n;

t.test('what cannot be is refused with its code, before anything is done with it', async (t) => {
  const rows: readonly (readonly [GgufCode, Buffer])[] = [
    ['not_gguf', Buffer.from('GGML and more')],
    ['version', Buffer.concat([Buffer.from('GGUF'), u32(1)])],
    ['version', Buffer.concat([Buffer.from('GGUF'), u32(0)])],
    ['version', Buffer.concat([Buffer.from('GGUF'), u32(4)])],
    ['big_endian', Buffer.concat([Buffer.from('GGUF'), Buffer.from([0, 0, 0, 3])])],
    ['too_many', head(HUGE, 0)],
    ['too_many', head(65_537, 0)],
    ['too_many', head(0, HUGE)],
    ['too_large', head(0, 1, u64(HUGE))],
    ['too_large', head(0, 1, u64(65_536))],
    ['too_large', key(8, u64(HUGE))],
    ['too_large', key(8, u64(MOST_GGUF_HEADER_BYTES))],
    ['value_type', key(13)],
    ['value_type', key(9, u32(99), u64(1))],
    ['nested_array', key(9, u32(9), u64(1))],
    ['too_large', key(9, u32(4), u64(HUGE))],
    ['too_large', key(9, u32(8), u64(2n ** 32n))],
    ['too_large', key(9, u32(8), u64(1), u64(HUGE))],
    ['too_large', key(9, u32(0), u64(MOST_GGUF_HEADER_BYTES))],
    ['duplicate_key', head(0, 2, text('k'), u32(0), Buffer.from([1]), text('k'), u32(0), Buffer.from([1]))],
    ['text', head(0, 1, u64(1), Buffer.from([0xff]))],
    ['text', key(8, u64(1), Buffer.from([0xff]))],
    ['tensor', tensor([1, 1, 1, 1, 1])],
    ['tensor', head(1, 0, text('w'), u32(2 ** 31))],
    ['tensor', tensor([1], 4)],
    ['tensor', tensor([1], 1000)],
    ['tensor', tensor([31], 2)],
    ['tensor', tensor([HUGE])],
    ['tensor', tensor([2 ** 40, 2 ** 40])],
    ['tensor', tensor([1], 0, HUGE)],
    ['too_large', head(1, 0, u64(513))],
    ['alignment', tensor([1], 0, 8)],
    ['alignment', ggufHeader(llama(['general.alignment', 4, 0]))],
    ['alignment', ggufHeader(llama(['general.alignment', 8, 'x']))],
    ['alignment', ggufHeader(llama(['general.alignment', 4, 65_537]))],
    ['overlap', ggufHeader({ ...SMALL, tensors: [SMALL.tensors[0], SMALL.tensors[0]] as never })],
  ];
  for (const [code, input] of rows)
    t.match(readGgufHeader(input), { kind: 'malformed', code, why: /.{10,}/ }, input.toString('hex', 0, 60));
  t.match(readGgufHeader(ggufHeader(llama(['general.alignment', 4, 64]))), { kind: 'header' });
});

t.test('whatever bytes come, there is an answer of the known kinds, and it asks for a bounded beginning', async () => {
  const judge = (input: Uint8Array): boolean => {
    const found = readGgufHeader(input);
    if (found.kind === 'short') return found.needBytes > input.length && found.needBytes <= MOST_GGUF_HEADER_BYTES;
    return found.kind === 'header' ? found.tensorBytes >= 0 : found.code.length > 0;
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (tail) => judge(Buffer.concat([bytes.subarray(0, 24), tail]))),
    { numRuns: 500 },
  );
  const flips = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(flips, fc.nat(bytes.length), (changes, end) => {
      const copy = Buffer.from(bytes);
      for (const [at, value] of changes) copy[at] = value;
      return judge(copy) && judge(copy.subarray(0, end));
    }),
    { numRuns: 1500 },
  );
});
