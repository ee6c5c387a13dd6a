/**
 * The KV cache as vLLM keeps it: blocks of 16 tokens, shared by equal prefixes, and freed blocks kept until their
 * room is needed, the longest unused first. Pure, so the fleet simulator may use it too.
 */

/** vLLM's KV events; hashes are 53-bit numbers here. */
export type KvEvent =
  | {
      readonly type: 'BlockStored';
      readonly block_hashes: readonly number[];
      readonly parent_block_hash: number | null;
      readonly token_ids: readonly number[];
      readonly block_size: number;
      readonly lora_id: null;
      readonly medium: 'GPU';
    }
  | { readonly type: 'BlockRemoved'; readonly block_hashes: readonly number[]; readonly medium: 'GPU' }
  | { readonly type: 'AllBlocksCleared' };

export interface Block {
  readonly id: number;
  hash: number | undefined;
  users: number;
}

export interface BlockPool {
  readonly blockTokens: number;
  usage(): number;
  freeBlocks(): number;
  /** The cached blocks of the longest known prefix of `ids`, at most `maxBlocks`; each gets one more user. */
  claimPrefix(ids: readonly number[], maxBlocks: number): Block[];
  /** A block of one's own, or undefined when every block is in use. */
  take(): Block | undefined;
  /** Names a block by its content, once all its tokens are computed; returns the hash, its successor's parent. */
  fill(block: Block, parent: number | undefined, ids: readonly number[], from: number): number;
  /** Gives blocks back; their content stays findable until their room is needed. */
  release(blocks: readonly Block[]): void;
  clear(): void;
}

const ROOT_HASH = 0x2f0b4c;

/** Hash of a block's tokens after its parent's hash; 53 bits, so that it is a safe number. */
export function blockHash(parent: number | undefined, ids: readonly number[], from: number, tokens: number): number {
  const start = parent ?? ROOT_HASH;
  let low = start | 0;
  let high = Math.floor(start / 0x1_0000_0000) | 0;
  for (let at = from; at < from + tokens; at += 1) {
    const id = ids[at] as number;
    low = Math.imul(low ^ id, 0x01000193);
    low ^= low >>> 13;
    high = Math.imul(high ^ (id + 0x7ed55d16), 0x85ebca6b);
    high ^= high >>> 16;
  }
  return (high & 0x1fffff) * 0x1_0000_0000 + (low >>> 0);
}

export function createBlockPool(options: {
  blocks: number;
  blockTokens: number;
  onEvent?: (event: KvEvent) => void;
}): BlockPool {
  const { blockTokens, onEvent } = options;
  const free = new Map<number, Block>();
  const cached = new Map<number, Block>();
  for (let id = 0; id < options.blocks; id += 1) free.set(id, { id, hash: undefined, users: 0 });
  return {
    blockTokens,
    usage: () => 1 - free.size / options.blocks,
    freeBlocks: () => free.size,
    claimPrefix(ids, maxBlocks) {
      const claimed: Block[] = [];
      let parent: number | undefined;
      while (claimed.length < maxBlocks && (claimed.length + 1) * blockTokens <= ids.length) {
        parent = blockHash(parent, ids, claimed.length * blockTokens, blockTokens);
        const block = cached.get(parent);
        if (block === undefined) break;
        if (block.users === 0) free.delete(block.id);
        block.users += 1;
        claimed.push(block);
      }
      return claimed;
    },
    take() {
      const first = free.values().next();
      if (first.done === true) return undefined;
      const block = first.value;
      free.delete(block.id);
      if (block.hash !== undefined) {
        cached.delete(block.hash);
        onEvent?.({ type: 'BlockRemoved', block_hashes: [block.hash], medium: 'GPU' });
        block.hash = undefined;
      }
      block.users = 1;
      return block;
    },
    fill(block, parent, ids, from) {
      const hash = blockHash(parent, ids, from, blockTokens);
      if (cached.has(hash)) return hash;
      block.hash = hash;
      cached.set(hash, block);
      onEvent?.({
        type: 'BlockStored',
        block_hashes: [hash],
        parent_block_hash: parent ?? null,
        token_ids: ids.slice(from, from + blockTokens),
        block_size: blockTokens,
        lora_id: null,
        medium: 'GPU',
      });
      return hash;
    },
    release(blocks) {
      // The tail of a prefix is given up first, so that its head, which more requests share, lives longest.
      for (let at = blocks.length - 1; at >= 0; at -= 1) {
        const block = blocks[at] as Block;
        block.users -= 1;
        if (block.users === 0) free.set(block.id, block);
      }
    },
    clear() {
      for (const block of cached.values()) block.hash = undefined;
      cached.clear();
      onEvent?.({ type: 'AllBlocksCleared' });
    },
  };
}
