/** Cache events of engines: both spellings of a batch, what keeps prompts apart, the mirror of a cache, and lost batches. */
import fc from 'fast-check';
import t from 'tap';
import { readBatch, type CacheEvent } from '../../../agent/core/kv_events/batch.ts';
import { createCacheMirror } from '../../../agent/core/kv_events/cache_mirror.ts';
import { createSequencer } from '../../../agent/core/kv_events/sequence.ts';
import { BLOCK_TOKENS, blockHashes } from '../../../lib/prefix_hash.ts';

const hash = (n: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => (i === 31 ? n : 1));
const tokens = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);
const stored = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  type: 'BlockStored',
  block_hashes: [hash(1), hash(2)],
  parent_block_hash: null,
  token_ids: tokens(0, 64),
  block_size: 32,
  lora_id: null,
  medium: 'GPU',
  lora_name: null,
  ...more,
});
const eventsOf = (...events: unknown[]): readonly CacheEvent[] | string => {
  const result = readBatch([1.5, events, 0]);
  return result.ok ? result.events : result.reason;
};
const saltOf = (extra: unknown, more: Record<string, unknown> = {}): unknown =>
  (eventsOf(stored({ extra_keys: extra, ...more }))[0] as { salt?: string }).salt;

t.test('maps and arrays say the same', async (t) => {
  const asMap = eventsOf(
    stored(),
    { type: 'BlockRemoved', block_hashes: [hash(1), 7, 9n], medium: 'GPU' },
    { type: 'AllBlocksCleared' },
  );
  const asArray = eventsOf(
    ['BlockStored', [hash(1), hash(2)], null, tokens(0, 64), 32, null, 'GPU', null],
    ['BlockRemoved', [hash(1), 7, 9n], 'GPU'],
    ['AllBlocksCleared'],
  );
  t.strictSame(asMap, asArray);
  t.match(asMap, [{ kind: 'stored', blockTokens: 32, salt: '' }, { kind: 'removed' }, { kind: 'cleared' }]);
  t.equal(eventsOf(stored({ parent_block_hash: 5 })).length, 1);
});

t.test('other memory, other layers and unknown events are passed over', async (t) => {
  t.strictSame(
    eventsOf(
      stored({ medium: 'CPU' }),
      stored({ group_idx: 1 }),
      { type: 'BlockRemoved', block_hashes: [hash(1)], medium: 'CPU' },
      { type: 'SomethingNew' },
    ),
    [],
  );
});

t.test('salt, adapter and media are told apart', async (t) => {
  t.strictSame([saltOf(null), saltOf([null]), saltOf([['tenant']])], ['', '', 'tenant']);
  t.strictSame(
    [saltOf([['lora', 'tenant']], { lora_name: 'lora' }), saltOf([['lora']], { lora_name: 'lora' })],
    ['tenant', ''],
  );
  t.strictSame(
    [saltOf([[['image', 3]]]), saltOf([[hash(1)]]), saltOf([['a', 'b']]), saltOf([7])],
    [undefined, undefined, undefined, undefined],
  );
});

t.test('a batch that is not what it should be is refused whole', async (t) => {
  const reason = 'an event is not what it should be';
  for (const event of [
    null,
    7,
    ['Unknown', 1],
    {},
    stored({ block_hashes: 'x' }),
    stored({ block_hashes: [hash(1), 'x'] }),
    stored({ block_hashes: [hash(1), new Uint8Array(0)] }),
    stored({ parent_block_hash: 'x' }),
    stored({ token_ids: [1, 2] }),
    stored({ token_ids: tokens(-5, 64) }),
    stored({ block_size: 0 }),
    { type: 'BlockRemoved' },
  ]) {
    t.equal(eventsOf(stored(), event), reason);
  }
  for (const batch of [null, [1], [1, 'x'], {}]) t.match(readBatch(batch), { ok: false });
});

t.test('the mirror names blocks as requests do, whatever the size of the engine’s own', async (t) => {
  const prompt = tokens(10, 128);
  const expected = blockHashes({ unit: 'tokens', adapter: 'm', salt: 's' }, prompt, BLOCK_TOKENS);
  const mirror = createCacheMirror('m');
  const put = (name: string, parent: string | undefined, from: number): void =>
    mirror.apply({
      kind: 'stored',
      blocks: [name],
      parent,
      tokens: prompt.slice(from, from + 64),
      blockTokens: 64,
      adapter: undefined,
      salt: parent === undefined ? 's' : undefined,
    });
  put('a', undefined, 0);
  put('b', 'a', 64);
  t.strictSame(mirror.takeChanges(), { stored: expected, removed: new Uint32Array(0) });
  t.equal(mirror.hasChanges(), false);
  mirror.apply({ kind: 'removed', blocks: ['b', 'never'] });
  put('c', 'b', 64);
  t.equal(mirror.skipped, 1, 'what goes on from an unknown block is unknown');
  t.strictSame(mirror.takeChanges(), { stored: new Uint32Array(0), removed: expected.slice(8) });
  put('b', 'a', 64);
  mirror.apply({ kind: 'removed', blocks: ['b'] });
  t.strictSame(mirror.takeChanges().stored.length, 0, 'what came and went is not said to have come');
  mirror.apply({
    kind: 'stored',
    blocks: ['x'],
    parent: undefined,
    tokens: tokens(0, 24),
    blockTokens: 24,
    adapter: 'l',
    salt: '',
  });
  t.equal(mirror.skipped, 2);
  mirror.apply({ kind: 'cleared' });
  t.strictSame([mirror.blocks, mirror.all().length], [0, 0]);
});

t.test('after a loss all is in doubt, until a block that goes on from others shows that they are there', async (t) => {
  const prompt = tokens(1, 64);
  const mirror = createCacheMirror('m');
  const names = ['a', 'b', 'c', 'd'];
  const put = (i: number): void =>
    mirror.apply({
      kind: 'stored',
      blocks: [names[i] as string],
      parent: names[i - 1],
      tokens: prompt.slice(16 * i, 16 * i + 16),
      blockTokens: 16,
      adapter: undefined,
      salt: '',
    });
  [0, 1, 2].forEach(put);
  mirror.takeChanges();
  mirror.doubt();
  t.equal(mirror.takeChanges().removed.length, 6);
  put(3);
  t.equal(mirror.blocks, 4);
  t.equal(mirror.takeChanges().stored.length, 8);
  mirror.doubt();
  mirror.apply({ kind: 'removed', blocks: ['c'] });
  put(3);
  t.equal(mirror.blocks, 0);
});

t.test('more blocks than may be followed are passed over', async (t) => {
  const mirror = createCacheMirror('m', 2);
  mirror.apply({
    kind: 'stored',
    blocks: ['a', 'b', 'c', 'd'],
    parent: undefined,
    tokens: tokens(0, 64),
    blockTokens: 16,
    adapter: undefined,
    salt: '',
  });
  t.strictSame([mirror.blocks, mirror.skipped], [2, 2]);
  mirror.doubt();
  mirror.apply({
    kind: 'stored',
    blocks: ['e', 'f'],
    parent: undefined,
    tokens: tokens(9, 32),
    blockTokens: 16,
    adapter: undefined,
    salt: '',
  });
  mirror.doubt();
  t.equal(mirror.blocks, 0);
});

t.test(
  'however batches are lost, repeated and reordered, what is applied is in order and every loss is told',
  async () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 40 }),
        fc.integer({ min: 0, max: 12 }),
        (arrivals, kept) => {
          const order = createSequencer<number>(0);
          const applied: number[] = [];
          let lost = 0;
          const follow = (step: ReturnType<typeof order.live>): void => {
            if (step.kind !== 'apply') return;
            if (step.lost) lost++;
            for (const batch of step.batches) applied.push(batch.seq);
          };
          follow(order.replayed([]));
          for (const seq of arrivals) {
            const step = order.live({ seq, payload: seq });
            follow(step);
            // The engine still has the batches from `kept` on.
            if (step.kind === 'replay') {
              const again = Array.from({ length: Math.max(0, seq - Math.max(step.from, kept)) }, (_, i) => {
                const number = Math.max(step.from, kept) + i;
                return { seq: number, payload: number };
              });
              follow(order.replayed(again));
            }
          }
          const jumps = applied.filter((seq, i) => seq !== (i === 0 ? 0 : (applied[i - 1] as number) + 1)).length;
          return applied.every((seq, i) => i === 0 || seq > (applied[i - 1] as number)) && jumps === lost;
        },
      ),
    );
  },
);

t.test('what waits for older batches is bounded, and what was dropped shows', async (t) => {
  const order = createSequencer<number>(0);
  for (let seq = 0; seq < 5000; seq++) t.equal(order.live({ seq, payload: seq }).kind, 'wait');
  const step = order.replayed([]);
  t.match(step, { kind: 'apply', lost: true });
  t.equal(step.kind === 'apply' && step.batches.length, 4096);
  t.equal(order.live({ seq: 3, payload: 3 }).kind, 'wait');
  t.equal(order.repeated, 1);
});

t.test('what is sent again though it is known is passed over', async (t) => {
  const order = createSequencer<string>(3);
  order.live({ seq: 4, payload: 'live' });
  const step = order.replayed([2, 3, 4].map((seq) => ({ seq, payload: 'again' })));
  t.match(step, { kind: 'apply', lost: false, batches: [{ seq: 3 }, { seq: 4 }] });
  t.equal(order.repeated, 2);
});
