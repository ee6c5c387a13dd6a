/**
 * What routing is told of a request: how long its prompt is, what its beginning is called, how long its answer may get.
 * It is read off the body's bytes; the prompt itself goes no further.
 */
import { scanJson, type TopLevelMember } from '../../../lib/json_scan.ts';
import { BLOCK_TOKENS, blockHashes, type ChainSeed, MAX_BLOCKS } from '../../../lib/prefix_hash.ts';
import type { TenantId } from '../../../lib/ids.ts';
import type { Endpoint } from '../../ports.ts';
import type { RequestShape } from '../routing/contract.ts';
import { byteBlocks } from './byte_blocks.ts';

/** What of an admitted request its shape is made of. */
export interface ShapeSource {
  readonly model: string;
  readonly tenant: TenantId;
  readonly endpoint: Endpoint;
  readonly body: Uint8Array;
}

/** The members of a body that its shape depends on, as they stand there. */
export interface BodyMembers {
  readonly bytes: Uint8Array;
  readonly members: ReadonlyMap<string, TopLevelMember>;
}

/** The body has been checked at the door; these bounds only end what cannot be. */
const SCAN_LIMITS = { maxDepth: 512, maxMembers: 1_000_000 } as const;
/** In the order in which chat templates put them: tools stand before the first message. */
const PROMPT_MEMBERS: Readonly<Record<Endpoint, readonly string[]>> = {
  chat: ['chat_template_kwargs', 'tools', 'documents', 'messages'],
  completions: ['prompt'],
  embeddings: ['input'],
};
const decoder = new TextDecoder();

/** @returns undefined for what is no JSON object, which no door lets in */
export function readMembers(bytes: Uint8Array): BodyMembers | undefined {
  const scan = scanJson(bytes, SCAN_LIMITS);
  return scan.ok ? { bytes, members: new Map(scan.members.map((member) => [member.key, member])) } : undefined;
}

/** The value of a member; undefined when it is absent or null. */
export function memberValue({ bytes, members }: BodyMembers, key: string): unknown {
  const member = members.get(key);
  if (member === undefined) return undefined;
  return JSON.parse(decoder.decode(bytes.subarray(member.valueStart, member.valueEnd))) ?? undefined;
}

function bytesOf({ bytes, members }: BodyMembers, key: string): Uint8Array | undefined {
  const member = members.get(key);
  return member === undefined ? undefined : bytes.subarray(member.valueStart, member.valueEnd);
}

function wholeNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** What keeps caches apart for this request; the name it asks under tells a LoRA adapter from its base. */
export function seedOf(source: ShapeSource, body: BodyMembers, unit: ChainSeed['unit']): ChainSeed {
  const salt = textOf(memberValue(body, 'cache_salt'));
  return { unit, adapter: source.model, ...(salt === undefined ? {} : { salt }) };
}

/** The parts of a shape that have nothing to do with how the prompt is cut. */
function commonShape(source: ShapeSource, body: BodyMembers): Omit<RequestShape, 'promptTokens'> {
  const { model, tenant, endpoint } = source;
  const limit = wholeNumber(memberValue(body, 'max_completion_tokens')) ?? wholeNumber(memberValue(body, 'max_tokens'));
  const maxOutputTokens = endpoint === 'embeddings' ? 0 : limit;
  const sessionKey = textOf(memberValue(body, 'prompt_cache_key')) ?? textOf(memberValue(body, 'user'));
  return {
    model,
    tenant,
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    ...(sessionKey === undefined ? {} : { sessionKey }),
  };
}

/** The shape of a request whose prompt is these token ids, exactly or cut short. */
export function tokenShape(
  source: ShapeSource,
  body: BodyMembers,
  prompt: { readonly tokens: number; readonly hashes: Uint32Array },
): RequestShape {
  const blocks = { blockTokens: BLOCK_TOKENS, hashes: prompt.hashes };
  return { ...commonShape(source, body), promptTokens: Math.max(1, prompt.tokens), blocks };
}

/**
 * The blocks of token ids that an engine may have cached for them: the last token of a prompt is always computed, so a
 * prompt of exactly four blocks finds three.
 */
export function tokenHashes(source: ShapeSource, body: BodyMembers, ids: readonly number[]): Uint32Array {
  const findable = Math.floor(Math.max(0, ids.length - 1) / BLOCK_TOKENS);
  return blockHashes(seedOf(source, body, 'tokens'), ids, BLOCK_TOKENS, Math.min(findable, MAX_BLOCKS));
}

/** The ids of a prompt that came as ids; undefined for any other. */
function promptIds(source: ShapeSource, body: BodyMembers): number[] | undefined {
  if (source.endpoint !== 'completions') return undefined;
  const first = bytesOf(body, 'prompt')?.find((byte) => byte > 0x20 && byte !== 0x5b);
  if (first === undefined || first < 0x30 || first > 0x39) return undefined;
  const value = memberValue(body, 'prompt') as unknown[];
  return (Array.isArray(value[0]) ? value[0] : value) as number[];
}

/**
 * The shape of a request by its bytes alone, for a model whose tokeniser is not known here. A prompt that came as token
 * ids needs none and is counted exactly.
 */
export function byteShape(source: ShapeSource): RequestShape {
  const { endpoint, tenant, model } = source;
  const body = readMembers(source.body);
  if (body === undefined) return { model, tenant, promptTokens: Math.max(1, Math.ceil(source.body.length / 4)) };
  const ids = promptIds(source, body);
  if (ids !== undefined) {
    return tokenShape(source, body, { tokens: ids.length, hashes: tokenHashes(source, body, ids) });
  }
  const parts = PROMPT_MEMBERS[endpoint].map((key) => bytesOf(body, key)).filter((part) => part !== undefined);
  const { promptTokens, hashes } = byteBlocks(seedOf(source, body, 'bytes'), parts);
  const shape = { ...commonShape(source, body), promptTokens: Math.max(1, promptTokens) };
  // Engines for embeddings keep no prefixes.
  return endpoint === 'embeddings' ? shape : { ...shape, blocks: { blockTokens: BLOCK_TOKENS, hashes } };
}
