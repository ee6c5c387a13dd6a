/**
 * The KV cache of one engine: blocks of 16 tokens, equal prefixes shared, and freed blocks kept until their room is
 * needed, the longest unused first, as vLLM does it. Prefixes are known by chunks of several blocks (the trace's own
 * grain), so one entry stands for a whole chunk, or for all blocks that one sequence leaves and that nobody can ask for
 * again; their room is taken back block by block all the same.
 */

const NONE = -1;

export interface KvCache {
  readonly totalBlocks: number;
  /** Blocks that a sequence may take: empty ones, and cached ones that no sequence uses. */
  available(): number;
  /** Leading chunks of a prompt that are here. */
  overlap(chunkIds: Int32Array, from: number, to: number): number;
  has(chunk: number): boolean;
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
  const { totalBlocks, blocksPerChunk } = options;
  const entryOf = new Int32Array(options.distinctChunks).fill(NONE);
  let entries = emptyEntries();
  let empty = totalBlocks;
  let unused = 0;

  function hold(chunk: number): void {
    const at = entryOf[chunk] as number;
    if (entries.users[at] === 0) {
      unlink(entries, at);
      unused -= blocksPerChunk;
    }
    entries.users[at] = (entries.users[at] as number) + 1;
  }

  /** Room of the longest unused entry, at least one block: a chunk goes as a whole, the rest of it becomes empty. */
  function evictOldest(): void {
    const at = entries.head;
    const chunk = entries.chunk[at] as number;
    const blocks = entries.blocks[at] as number;
    unlink(entries, at);
    entries.free.push(at);
    unused -= blocks;
    empty += blocks;
    if (chunk === NONE) return;
    entryOf[chunk] = NONE;
    options.onRemoved?.(chunk);
  }

  return {
    totalBlocks,
    available: () => empty + unused,
    has: (chunk) => entryOf[chunk] !== NONE,
    overlap(chunkIds, from, to) {
      let at = from;
      while (at < to && entryOf[chunkIds[at] as number] !== NONE) at++;
      return at - from;
    },
    unusedBlocks(chunkIds, from, count) {
      let blocks = 0;
      for (let at = from; at < from + count; at++)
        if (entries.users[entryOf[chunkIds[at] as number] as number] === 0) blocks += blocksPerChunk;
      return blocks;
    },
    hold,
    release(chunk) {
      const at = entryOf[chunk] as number;
      const users = (entries.users[at] as number) - 1;
      entries.users[at] = users;
      if (users > 0) return;
      append(entries, at);
      unused += blocksPerChunk;
    },
    take(blocks) {
      while (empty < blocks) evictOldest();
      empty -= blocks;
    },
    giveBack(blocks) {
      if (blocks === 0) return;
      append(entries, newEntry(entries, NONE, blocks));
      unused += blocks;
    },
    publish(chunk) {
      if (entryOf[chunk] !== NONE) {
        // Two sequences computed it side by side: the second goes on with the first one's blocks.
        hold(chunk);
        empty += blocksPerChunk;
        return;
      }
      const at = newEntry(entries, chunk, blocksPerChunk);
      entries.users[at] = 1;
      entryOf[chunk] = at;
      options.onStored?.(chunk);
    },
    clear() {
      entries = emptyEntries();
      entryOf.fill(NONE);
      empty = totalBlocks;
      unused = 0;
    },
  };
}
