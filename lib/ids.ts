/**
 * Branded ids, so that a node's id cannot be passed where an engine's is meant, and one way to make new ones.
 */
import type { RandomSource } from './rng.ts';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

export type RequestId = Branded<'request'>;
export type NodeId = Branded<'node'>;
/** Unique in the fleet: `<node name>/<engine name>`. */
export type EngineId = Branded<'engine'>;
export type TenantId = Branded<'tenant'>;
export type KeyId = Branded<'key'>;

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/** `length` characters of base32 (5 bits each) from the given random source. */
export function randomToken(random: RandomSource, length: number): string {
  const bytes = random.bytes(length);
  let out = '';
  for (let i = 0; i < length; i++) out += ALPHABET[(bytes[i] as number) & 31];
  return out;
}

/** A new request id: `req_` and 120 random bits. */
export function newRequestId(random: RandomSource): RequestId {
  return `req_${randomToken(random, 24)}` as RequestId;
}

/** What a caller may choose as a request id: 1-128 characters that are safe in headers, logs and paths. */
export const REQUEST_ID_PATTERN = /^[A-Za-z0-9._:-]{1,128}$/;
