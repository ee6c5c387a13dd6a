/**
 * The KV cache of one engine: blocks of 16 tokens, equal prefixes shared, and freed blocks kept until their room is
 * needed, the longest unused first, as vLLM does it. Prefixes are known by chunks of several blocks (the trace's own
 * grain), so one entry stands for a whole chunk, or for all blocks that one sequence leaves and that nobody can ask for
 * again.
 */

const NONE = -1;

export interface KvCache {
  readonly totalBlocks: number;
  /** Blocks that a sequence may take: empty ones, and cached ones that no sequence uses. */
  available(): number;
  /** Leading chunks of a prompt that are here. */
  overlap(chunkIds: Int32Array, from: number, to: number): number;
  /** Of `count` leading chunks, the blocks that no sequence uses at present and that holding them takes from the free. */
  unusedBlocks(chunkIds: Int32Array, from: number, count: number): number;
  /** One more sequence uses the chunk, which is here. */
  hold(chunk: number): void;
  /** One sequence less uses it. */
  release(chunk: number): void;
  /** Takes blocks for one sequence alone; there must be as many available. */
  take(blocks: number): void;
  /** Gives such blocks back; their content still takes room until that is needed. */
  giveBack(blocks: number): void;
  /** The chunk's blocks, taken before, are computed: others may share them. Held once by the caller. */
  publish(chunk: number): void;
  clear(): void;
}

export interface KvCacheOptions {
  readonly totalBlocks: number;
  readonly blocksPerChunk: number;
  readonly distinctChunks: number;
  /** What vLLM would tell in KV events: chunks that are now here, and chunks that are gone. */
  readonly onStored?: (chunk: number) => void;
  readonly onRemoved?: (chunk: number) => void;
}

/** Entries in a doubly linked list of what nobody uses, the longest unused first; columns that grow by doubling. */
interface Entries {
  chunk: Int32Array;
  blocks: Int32Array;
  users: Int32Array;
  before: Int32Array;
  after: Int32Array;
  free: number[];
  used: number;
  head: number;
  tail: number;
}

function grown(column: Int32Array): Int32Array {
  const larger = new Int32Array(column.length * 2);
  larger.set(column);
  return larger;
}

function newEntry(entries: Entries, chunk: number, blocks: number): number {
  const at = entries.free.pop() ?? entries.used++;
  if (at === entries.chunk.length) {
    entries.chunk = grown(entries.chunk);
    entries.blocks = grown(entries.blocks);
    entries.users = grown(entries.users);
    entries.before = grown(entries.before);
    entries.after = grown(entries.after);
  }
  entries.chunk[at] = chunk;
  entries.blocks[at] = blocks;
  entries.users[at] = 0;
  return at;
}

function append(entries: Entries, at: number): void {
  entries.before[at] = entries.tail;
  entries.after[at] = NONE;
  if (entries.tail === NONE) entries.head = at;
  else entries.after[entries.tail] = at;
  entries.tail = at;
}

function unlink(entries: Entries, at: number): void {
  const before = entries.before[at] as number;
  const after = entries.after[at] as number;
  if (before === NONE) entries.head = after;
  else entries.after[before] = after;
  if (after === NONE) entries.tail = before;
  else entries.before[after] = before;
}

function emptyEntries(): Entries {
  const column = (): Int32Array => new Int32Array(256);
  return {
    chunk: column(),
    blocks: column(),
    users: column(),
    before: column(),
    after: column(),
    free: [],
    used: 0,
    head: NONE,
    tail: NONE,
  };
}

export function createKvCache(options: KvCacheOptions): KvCache {
  return new ChunkCache(options);
}

class ChunkCache implements KvCache {
  readonly totalBlocks: number;
  readonly #options: KvCacheOptions;
  readonly #blocksPerChunk: number;
  readonly #entryOf: Int32Array;
  #entries = emptyEntries();
  #empty: number;
  #unused = 0;

  constructor(options: KvCacheOptions) {
    this.#options = options;
    this.totalBlocks = options.totalBlocks;
    this.#blocksPerChunk = options.blocksPerChunk;
    this.#entryOf = new Int32Array(options.distinctChunks).fill(NONE);
    this.#empty = options.totalBlocks;
  }

  available(): number {
    return this.#empty + this.#unused;
  }

  overlap(chunkIds: Int32Array, from: number, to: number): number {
    let at = from;
    while (at < to && this.#entryOf[chunkIds[at] as number] !== NONE) at++;
    return at - from;
  }

  unusedBlocks(chunkIds: Int32Array, from: number, count: number): number {
    const { users } = this.#entries;
    let blocks = 0;
    for (let at = from; at < from + count; at++)
      if (users[this.#entryOf[chunkIds[at] as number] as number] === 0) blocks += this.#blocksPerChunk;
    return blocks;
  }

  hold(chunk: number): void {
    const at = this.#entryOf[chunk] as number;
    const { users } = this.#entries;
    if (users[at] === 0) {
      unlink(this.#entries, at);
      this.#unused -= this.#blocksPerChunk;
    }
    users[at] = (users[at] as number) + 1;
  }

  release(chunk: number): void {
    const at = this.#entryOf[chunk] as number;
    const users = (this.#entries.users[at] as number) - 1;
    this.#entries.users[at] = users;
    if (users > 0) return;
    append(this.#entries, at);
    this.#unused += this.#blocksPerChunk;
  }

  take(blocks: number): void {
    while (this.#empty < blocks) this.#evictOldest();
    this.#empty -= blocks;
  }

  giveBack(blocks: number): void {
    if (blocks === 0) return;
    append(this.#entries, newEntry(this.#entries, NONE, blocks));
    this.#unused += blocks;
  }

  publish(chunk: number): void {
    if (this.#entryOf[chunk] !== NONE) {
      // Two sequences computed it side by side: the second goes on with the first one's blocks.
      this.hold(chunk);
      this.#empty += this.#blocksPerChunk;
      return;
    }
    const at = newEntry(this.#entries, chunk, this.#blocksPerChunk);
    this.#entries.users[at] = 1;
    this.#entryOf[chunk] = at;
    this.#options.onStored?.(chunk);
  }

  clear(): void {
    this.#entries = emptyEntries();
    this.#entryOf.fill(NONE);
    this.#empty = this.totalBlocks;
    this.#unused = 0;
  }

  /** The longest unused entry goes as a whole; what is not needed of it at once becomes empty. */
  #evictOldest(): void {
    const entries = this.#entries;
    const at = entries.head;
    const chunk = entries.chunk[at] as number;
    const blocks = entries.blocks[at] as number;
    unlink(entries, at);
    entries.free.push(at);
    this.#unused -= blocks;
    this.#empty += blocks;
    if (chunk === NONE) return;
    this.#entryOf[chunk] = NONE;
    this.#options.onRemoved?.(chunk);
  }
}
