/**
 * API keys: `sk-<public>-<secret>`. The public part finds the record, the SHA-256 of the secret part proves the caller.
 * The secret is 32 characters of base32 (160 random bits), so a plain hash is enough: there is nothing to guess. It is
 * shown once, when it is made, and kept nowhere.
 */
import { randomToken, type KeyId, type TenantId } from '../../../lib/ids.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { ApiKeyRecord, Role } from '../../ports.ts';

/** SHA-256 of some bytes: 32 bytes. The adapter gives the system's own. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array;

export interface KeyRequest {
  readonly name: string;
  readonly tenant: TenantId;
  readonly roles: readonly Role[];
  /** Share under contention, 1 = normal. */
  readonly weight?: number;
  readonly expiresAtMs?: number;
}

export interface CreatedKey {
  /** The whole key, for its owner's eyes only. */
  readonly key: string;
  readonly record: ApiKeyRecord;
}

const PUBLIC_CHARACTERS = 12;
const SECRET_CHARACTERS = 32;
const KEY_PATTERN = /^sk-([a-z2-7]{12})-([a-z2-7]{32})$/;

const encoder = new TextEncoder();

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

function toHex(bytes: Uint8Array): string {
  let out = '';
  for (const byte of bytes) out += HEX[byte] as string;
  return out;
}

/** Makes a key and the record that recognises it. `random` must be cryptographically strong. */
export function createKey(random: RandomSource, sha256: Sha256, request: KeyRequest, nowMs: number): CreatedKey {
  const id = randomToken(random, PUBLIC_CHARACTERS) as KeyId;
  const secret = randomToken(random, SECRET_CHARACTERS);
  const record: ApiKeyRecord = {
    id,
    name: request.name,
    tenant: request.tenant,
    roles: [...request.roles],
    weight: request.weight ?? 1,
    secretSha256: toHex(sha256(encoder.encode(secret))),
    createdAtMs: nowMs,
    ...(request.expiresAtMs === undefined ? {} : { expiresAtMs: request.expiresAtMs }),
  };
  return { key: `sk-${id}-${secret}`, record };
}

/** The two parts of a key, or undefined when the text is none. */
export function parseKey(text: string): { readonly id: KeyId; readonly secret: string } | undefined {
  const match = KEY_PATTERN.exec(text);
  if (match === null) return undefined;
  return { id: match[1] as KeyId, secret: match[2] as string };
}

/** Whether two texts are equal, in a time that depends only on their lengths. */
export function equalInConstantTime(one: Uint8Array, other: Uint8Array): boolean {
  let difference = one.length ^ other.length;
  for (let i = 0; i < one.length; i++) difference |= (one[i] as number) ^ (other[i] ?? 0);
  return difference === 0;
}

/** What a record that no secret fits looks like: the same work is done for an unknown id as for a known one. */
const NO_SECRET = '0'.repeat(64);

/**
 * Whether `secret` belongs to the record and the record is in force at `nowMs`. With no record the same work is done
 * and the answer is false, so that the time tells nobody which ids exist.
 */
export function keyIsGood(record: ApiKeyRecord | undefined, secret: string, sha256: Sha256, nowMs: number): boolean {
  const found = encoder.encode(toHex(sha256(encoder.encode(secret))));
  const wanted = encoder.encode(record?.secretSha256 ?? NO_SECRET);
  const fits = equalInConstantTime(found, wanted);
  if (record === undefined || !fits) return false;
  if (record.revokedAtMs !== undefined && record.revokedAtMs <= nowMs) return false;
  return record.expiresAtMs === undefined || record.expiresAtMs > nowMs;
}
