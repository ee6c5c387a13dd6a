/**
 * Hashes of prompt blocks, the same in agent and scheduler: what an engine says that it holds and what a request begins
 * with must get one name. A block's hash goes on from that of the block before it, so equal hashes mean equal prompts up
 * to there; the seed keeps apart what caches keep apart. 64 bits in two halves of 32 (numbers of 64 bits are slow), in
 * the manner of MurmurHash3 (Austin Appleby, public domain). It decides where a request goes and never what it gets, so it
 * need not withstand an attacker.
 */

/** Tokens of a block, whatever the engine's own blocks are: those are multiples of it. */
export const BLOCK_TOKENS = 16;
/** Bytes of a block where there is no tokeniser: English text has about four for each token. */
export const BLOCK_BYTES = 64;
/**
 * Blocks of one prompt that are told apart: 65,536 tokens. Prompts that agree for so long go to the same engine anyway,
 * and what a prompt of a million tokens costs here is bounded by it: half a millisecond to walk, 32 KiB to keep.
 */
export const MAX_BLOCKS = 4096;

/** A place in a chain; changed in place as blocks are added. */
export interface Chain {
  high: number;
  low: number;
}

export interface ChainSeed {
  /** Bytes and tokens must never meet. */
  readonly unit: 'tokens' | 'bytes';
  /** What a tenant's cache is kept apart by; engines know it as cache_salt. */
  readonly salt?: string;
  /** Name of the LoRA adapter. */
  readonly adapter?: string;
}

function rotated(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function finished(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

/** Takes `count` values of 32 bits, from place `from` on, into the chain. */
export function extendChain(chain: Chain, values: ArrayLike<number>, from: number, count: number): void {
  let { high, low } = chain;
  for (let i = from; i < from + count; i++) {
    const value = values[i] as number;
    low ^= Math.imul(rotated(Math.imul(value, 0x239b961b), 15), 0xab0e9789);
    low = Math.imul(rotated(low, 19) + high, 5) + 0x561ccd1b;
    high ^= Math.imul(rotated(Math.imul(value, 0x38b34ae5), 17), 0xa1e38b93);
    high = Math.imul(rotated(high, 13) + low, 5) + 0x32ac3b17;
  }
  low = finished(low ^ count);
  high = finished((high ^ count) + low);
  chain.low = (low + high) >>> 0;
  chain.high = high >>> 0;
}

/** The beginning of a chain. */
export function newChain({ unit, salt = '', adapter = '' }: ChainSeed): Chain {
  const chain = { high: 0, low: unit === 'tokens' ? 1 : 2 };
  for (const text of [salt, adapter]) {
    const units = Uint16Array.from(text, (character) => character.charCodeAt(0));
    extendChain(chain, units, 0, units.length);
  }
  return chain;
}

/**
 * The hashes of the leading full blocks, two words each: high, low.
 * @param values token ids, or bytes
 * @param perBlock values of a block
 */
export function blockHashes(
  seed: ChainSeed,
  values: ArrayLike<number>,
  perBlock: number,
  maxBlocks: number = MAX_BLOCKS,
): Uint32Array {
  const blocks = Math.min(maxBlocks, Math.floor(values.length / perBlock));
  const hashes = new Uint32Array(2 * blocks);
  const chain = newChain(seed);
  for (let block = 0; block < blocks; block++) {
    extendChain(chain, values, block * perBlock, perBlock);
    hashes[2 * block] = chain.high;
    hashes[2 * block + 1] = chain.low;
  }
  return hashes;
}
