/** Hashes of prompt blocks: chained, seeded, bounded, and spread well enough that prompts never meet by chance. */
import t from 'tap';
import { seededRandom } from '../../lib/rng.ts';
import { BLOCK_TOKENS, blockHashes, extendChain, MAX_BLOCKS, newChain } from '../../lib/prefix_hash.ts';

const ids = (count: number, seed: number): number[] => {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => Math.floor(random.next() * 130_000));
};
const TOKENS = { unit: 'tokens' } as const;

t.test('a block is named by itself and all before it', async (t) => {
  const prompt = ids(80, 1);
  const whole = blockHashes(TOKENS, prompt, BLOCK_TOKENS);
  t.equal(whole.length, 10);
  t.strictSame(blockHashes(TOKENS, prompt.slice(0, 47), BLOCK_TOKENS), whole.slice(0, 4), 'full blocks only');
  const other = [...prompt];
  other[20] = 7;
  const changed = blockHashes(TOKENS, other, BLOCK_TOKENS);
  t.strictSame(changed.slice(0, 2), whole.slice(0, 2));
  for (let word = 2; word < 10; word++) t.not(changed[word], whole[word]);
});

t.test('whoever goes on from a block gets what the whole prompt gives', async (t) => {
  const prompt = ids(64, 2);
  const whole = blockHashes(TOKENS, prompt, 16);
  const chain = { high: whole[2] as number, low: whole[3] as number };
  extendChain(chain, prompt, 32, 16);
  t.strictSame([chain.high, chain.low], [...whole.slice(4, 6)]);
});

t.test('salt, adapter, unit and block size keep prompts apart', async (t) => {
  const prompt = ids(32, 3);
  const seeds = [
    TOKENS,
    { unit: 'bytes' },
    { unit: 'tokens', salt: 'a' },
    { unit: 'tokens', adapter: 'a' },
    { unit: 'tokens', salt: 'b' },
    { unit: 'tokens', salt: 'ab' },
    { unit: 'tokens', salt: 'a', adapter: 'b' },
  ] as const;
  const firsts = [...seeds.map((seed) => blockHashes(seed, prompt, 16)), blockHashes(TOKENS, prompt, 32)];
  t.equal(new Set(firsts.map((hashes) => `${hashes[0]}:${hashes[1]}`)).size, firsts.length);
  t.strictSame(newChain({ unit: 'tokens', salt: '' }), newChain(TOKENS));
});

t.test('a prompt of a million tokens has as many blocks as are told apart', async (t) => {
  const hashes = blockHashes(TOKENS, new Uint32Array(1_000_000), BLOCK_TOKENS);
  t.equal(hashes.length, 2 * MAX_BLOCKS);
  t.equal(new Set(hashes).size > 2 * MAX_BLOCKS - 10, true, 'blocks of equal tokens differ by their place');
});

t.test('a hundred thousand blocks that differ in one bit spread evenly, and no two meet', async (t) => {
  const seen = new Set<string>();
  const buckets = [new Uint32Array(64), new Uint32Array(64)];
  const block = new Uint32Array(16);
  for (let i = 0; i < 100_000; i++) {
    block[i % 16] = i;
    const hashes = blockHashes(TOKENS, block, 16);
    seen.add(`${hashes[0]}:${hashes[1]}`);
    for (const half of [0, 1]) {
      const bucket = buckets[half] as Uint32Array;
      const at = (hashes[half] as number) >>> 26;
      bucket[at] = (bucket[at] as number) + 1;
    }
  }
  t.equal(seen.size, 100_000);
  for (const bucket of buckets) {
    const chi = bucket.reduce((sum, count) => sum + (count - 1562.5) ** 2 / 1562.5, 0);
    t.ok(chi < 120, `chi square of 63 degrees: ${chi.toFixed(1)}`);
  }
});
