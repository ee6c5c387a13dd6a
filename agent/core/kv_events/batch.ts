/**
 * A batch of cache events as vLLM publishes it (vllm/distributed/kv_events.py): `[time, events, rank]`, each event a map
 * with its type, or in older releases an array that begins with it. What is read is checked; a batch that is not what it
 * should be is refused whole, because after it nothing is sure.
 */

/** The name that the engine gives a block: bytes of a digest, or a number, as text. */
export type BlockName = string;

export type CacheEvent =
  | {
      readonly kind: 'stored';
      readonly blocks: readonly BlockName[];
      readonly parent: BlockName | undefined;
      readonly tokens: readonly number[];
      readonly blockTokens: number;
      /** Of the adapter, where there is one. */
      readonly adapter: string | undefined;
      /** Of the first block: what else keeps it apart; undefined: something that cannot be known here (media, embeddings). */
      readonly salt: string | undefined;
    }
  | { readonly kind: 'removed'; readonly blocks: readonly BlockName[] }
  | { readonly kind: 'cleared' };

export type BatchResult =
  | { readonly ok: true; readonly events: readonly CacheEvent[] }
  | { readonly ok: false; readonly reason: string };

type Fields = Readonly<Record<string, unknown>>;

/** The members of an event in their order, for the form that is an array. */
const ORDER: Readonly<Record<string, readonly string[]>> = {
  BlockStored: [
    'block_hashes',
    'parent_block_hash',
    'token_ids',
    'block_size',
    'lora_id',
    'medium',
    'lora_name',
    'extra_keys',
    'group_idx',
  ],
  BlockRemoved: ['block_hashes', 'medium', 'group_idx'],
  AllBlocksCleared: [],
};
/** Blocks in other memory than the GPU's are not what a request finds at once. */
const NEAR: ReadonlySet<unknown> = new Set([undefined, null, 'GPU']);
/** 64 of the digest's bits would do; 128 cost no more. */
const NAME_BYTES = 16;

function nameOf(value: unknown): BlockName | undefined {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (!(value instanceof Uint8Array) || value.length === 0) return undefined;
  return String.fromCharCode(...value.subarray(-NAME_BYTES));
}

function namesOf(value: unknown): BlockName[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const names = value.map(nameOf);
  return names.includes(undefined) ? undefined : (names as BlockName[]);
}

const isTokenId = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;

function asFields(event: unknown): Fields | undefined {
  if (Array.isArray(event)) {
    const [type, ...values] = event as unknown[];
    const order = typeof type === 'string' && Object.hasOwn(ORDER, type) ? ORDER[type] : undefined;
    return order === undefined ? undefined : { type, ...Object.fromEntries(order.map((name, i) => [name, values[i]])) };
  }
  return typeof event === 'object' && event !== null ? (event as Fields) : undefined;
}

/** Of the keys of the first block: the adapter's name, then media, then the salt. '' where there is none. */
function saltOf(extraKeys: unknown, adapter: string | undefined): string | undefined {
  const first: unknown = Array.isArray(extraKeys) ? extraKeys[0] : undefined;
  if (first === undefined || first === null) return '';
  if (!Array.isArray(first)) return undefined;
  const rest = adapter !== undefined && first[0] === adapter ? first.slice(1) : (first as unknown[]);
  if (rest.length === 0) return '';
  return rest.length === 1 && typeof rest[0] === 'string' ? rest[0] : undefined;
}

function storedOf(event: Fields): CacheEvent | undefined {
  const blocks = namesOf(event['block_hashes']);
  const tokens = event['token_ids'];
  const blockTokens = event['block_size'];
  const given = event['parent_block_hash'] ?? undefined;
  const parent = given === undefined ? undefined : nameOf(given);
  if (blocks === undefined || (given !== undefined && parent === undefined)) return undefined;
  if (!Array.isArray(tokens) || !tokens.every(isTokenId)) return undefined;
  if (!Number.isInteger(blockTokens) || (blockTokens as number) < 1) return undefined;
  if (tokens.length !== blocks.length * (blockTokens as number)) return undefined;
  const adapter = typeof event['lora_name'] === 'string' ? event['lora_name'] : undefined;
  return {
    kind: 'stored',
    blocks,
    parent,
    tokens: tokens as number[],
    blockTokens: blockTokens as number,
    adapter,
    salt: saltOf(event['extra_keys'], adapter),
  };
}

/** Undefined: not what it should be; 'ignored': sound, and of no interest. */
function eventOf(raw: unknown): CacheEvent | 'ignored' | undefined {
  const event = asFields(raw);
  if (event === undefined) return undefined;
  // Models with several kinds of layers keep a cache for each kind; the first stands for all.
  const isOther = !NEAR.has(event['medium']) || ((event['group_idx'] ?? 0) as number) > 0;
  switch (event['type']) {
    case 'BlockStored':
      return isOther ? 'ignored' : storedOf(event);
    case 'BlockRemoved': {
      const blocks = namesOf(event['block_hashes']);
      if (blocks === undefined) return undefined;
      return isOther ? 'ignored' : { kind: 'removed', blocks };
    }
    case 'AllBlocksCleared':
      return { kind: 'cleared' };
    default:
      // A later release may say more than this one knows.
      return typeof event['type'] === 'string' ? 'ignored' : undefined;
  }
}

/** @param value a batch as decoded */
export function readBatch(value: unknown): BatchResult {
  const events: unknown = Array.isArray(value) ? value[1] : undefined;
  if (!Array.isArray(events)) return { ok: false, reason: 'a batch is no list of events' };
  const read: CacheEvent[] = [];
  for (const raw of events as unknown[]) {
    const event = eventOf(raw);
    if (event === undefined) return { ok: false, reason: 'an event is not what it should be' };
    if (event !== 'ignored') read.push(event);
  }
  return { ok: true, events: read };
}
