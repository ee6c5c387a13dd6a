/**
 * What one engine holds in its prefix cache, in the names that schedulers know blocks by. Engines name blocks by digests
 * of their own, larger than 16 tokens at times, and remove them by those; here each has the hashes of the 16-token blocks
 * that it is made of. Changes add up until they are taken, so that a block that came and went costs nothing.
 */
import { BLOCK_TOKENS, type Chain, extendChain, newChain } from '../../../lib/prefix_hash.ts';
import type { BlockName, CacheEvent } from './batch.ts';

export interface CacheChanges {
  /** Two words a block. */
  readonly stored: Uint32Array;
  readonly removed: Uint32Array;
}

interface Entry {
  /** The last pair is where its successors go on. */
  readonly hashes: Uint32Array;
  readonly parent: BlockName | undefined;
}

export interface CacheMirror {
  readonly blocks: number;
  /** Events that could not be followed: blocks of unknown parents, media, sizes that do not fit, or too many blocks. */
  readonly skipped: number;
  apply(event: CacheEvent): void;
  /** Events were lost: all is taken for gone, until a block that goes on from it shows that it is still there. */
  doubt(): void;
  /** What has changed since it was asked last. */
  takeChanges(): CacheChanges;
  hasChanges(): boolean;
  /** Everything that is held; changes that wait are in it and stay. */
  all(): Uint32Array;
}

/** Blocks of an engine that are followed: 4 million tokens of 16 each, and some 30 MB. */
const MAX_BLOCKS = 262_144;

/** @param servedModel the name that requests to the base model bear */
export function createCacheMirror(servedModel: string, maxBlocks: number = MAX_BLOCKS): CacheMirror {
  return new Mirror(servedModel, maxBlocks);
}

class Mirror implements CacheMirror {
  skipped = 0;
  readonly #servedModel: string;
  readonly #maxBlocks: number;
  readonly #held = new Map<BlockName, Entry>();
  /** Held before events were lost. */
  readonly #doubted = new Map<BlockName, Entry>();
  /** Blocks whose presence may differ from what was taken last, with their hashes. */
  readonly #touched = new Map<BlockName, Uint32Array>();

  constructor(servedModel: string, maxBlocks: number) {
    this.#servedModel = servedModel;
    this.#maxBlocks = maxBlocks;
  }

  get blocks(): number {
    return this.#held.size;
  }

  apply(event: CacheEvent): void {
    if (event.kind === 'stored') this.#store(event);
    else if (event.kind === 'cleared') {
      for (const name of [...this.#held.keys()]) this.#remove(name);
      this.#doubted.clear();
    } else {
      for (const name of event.blocks) {
        this.#remove(name);
        this.#doubted.delete(name);
      }
    }
  }

  doubt(): void {
    for (const [name, entry] of [...this.#held]) {
      this.#remove(name);
      if (this.#doubted.size < this.#maxBlocks) this.#doubted.set(name, entry);
    }
  }

  hasChanges(): boolean {
    return this.#touched.size > 0;
  }

  takeChanges(): CacheChanges {
    const stored: Uint32Array[] = [];
    const removed: Uint32Array[] = [];
    for (const [name, hashes] of this.#touched) (this.#held.has(name) ? stored : removed).push(hashes);
    this.#touched.clear();
    return { stored: joined(stored), removed: joined(removed) };
  }

  all(): Uint32Array {
    return joined([...this.#held.values()].map((entry) => entry.hashes));
  }

  #store(event: CacheEvent & { kind: 'stored' }): void {
    const { blocks, tokens, blockTokens } = event;
    const chain = this.#chainFor(event);
    if (chain === undefined || blockTokens % BLOCK_TOKENS !== 0) {
      this.skipped += blocks.length;
      return;
    }
    const pairs = blockTokens / BLOCK_TOKENS;
    for (const [i, name] of blocks.entries()) {
      const hashes = new Uint32Array(2 * pairs);
      for (let k = 0; k < pairs; k++) {
        extendChain(chain, tokens, i * blockTokens + k * BLOCK_TOKENS, BLOCK_TOKENS);
        hashes[2 * k] = chain.high;
        hashes[2 * k + 1] = chain.low;
      }
      if (this.#held.size >= this.#maxBlocks && !this.#held.has(name)) {
        this.skipped += blocks.length - i;
        return;
      }
      this.#hold(name, { hashes, parent: i === 0 ? event.parent : blocks[i - 1] });
    }
  }

  #hold(name: BlockName, entry: Entry): void {
    this.#held.set(name, entry);
    this.#doubted.delete(name);
    this.#touched.set(name, entry.hashes);
  }

  /** A block cannot be stored without those before it: what was in doubt up to it is there. */
  #revive(name: BlockName): void {
    for (let at: BlockName | undefined = name; at !== undefined; ) {
      const entry = this.#doubted.get(at);
      if (entry === undefined) return;
      this.#hold(at, entry);
      at = entry.parent;
    }
  }

  /** Where the chain goes on; undefined when that is not known. */
  #chainFor({ parent, adapter, salt }: CacheEvent & { kind: 'stored' }): Chain | undefined {
    if (parent === undefined) {
      return salt === undefined ? undefined : newChain({ unit: 'tokens', adapter: adapter ?? this.#servedModel, salt });
    }
    this.#revive(parent);
    const hashes = this.#held.get(parent)?.hashes;
    if (hashes === undefined) return undefined;
    return { high: hashes.at(-2) as number, low: hashes.at(-1) as number };
  }

  #remove(name: BlockName): void {
    const entry = this.#held.get(name);
    if (entry === undefined) return;
    this.#held.delete(name);
    this.#touched.set(name, entry.hashes);
  }
}

function joined(parts: readonly Uint32Array[]): Uint32Array {
  const whole = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
