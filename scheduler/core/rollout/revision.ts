/**
 * What makes two specs of a deployment one revision: the fields from which its engines are started. How many replicas there
 * are, where they may run and how they are changed is no part of it, so that scaling and moving are no rollouts.
 */
import { newChain, extendChain } from '../../../lib/prefix_hash.ts';
import { canonicalText, type JsonObject, type JsonValue } from '../events/json.ts';
import type { DeploymentSpec } from '../resources/contract.ts';
import type { Revision } from './contract.ts';

/** In words: a change of one of these is a new revision. */
export const REVISION_FIELDS = [
  'engine',
  'model',
  'source',
  'servedModelName',
  'hosts',
  'gpusPerHost',
  'gpuMemoryBytes',
  'graceSpillBytes',
  'hostMemoryBytes',
  'extraFlags',
  'environment',
  'maxConcurrentRequests',
  // Of a declared engine: on another node it is another one.
  'node',
] as const satisfies readonly (keyof DeploymentSpec)[];

/** Fields whose absence means a value: writing it out changes nothing. */
const DEFAULTS: Readonly<Record<string, JsonValue>> = { hosts: 1, extraFlags: [], environment: {} };

/** Base32 without letters that look like digits, and small, because it becomes part of an engine's name. */
const ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789';
const LENGTH = 10;

/** @param spec of a deployment, as it was applied; fields that no engine is made of are left out */
export function revisionOf(spec: DeploymentSpec): Revision {
  const given = spec as unknown as Readonly<Record<string, JsonValue | undefined>>;
  const fields: Record<string, JsonValue> = {};
  for (const field of REVISION_FIELDS) {
    const value = given[field] ?? DEFAULTS[field];
    if (value !== undefined) fields[field] = value;
  }
  return { id: hashOf(fields), spec: fields };
}

/** 50 bits: two of a deployment's few revisions meet by chance once in 10^13 pairs; whoever wants them to meet harms himself. */
function hashOf(fields: JsonObject): string {
  const text = canonicalText(fields);
  const chain = newChain({ unit: 'bytes' });
  const units = Uint16Array.from(text, (character) => character.charCodeAt(0));
  extendChain(chain, units, 0, units.length);
  let word = '';
  for (let at = 0; at < LENGTH; at++)
    word += ALPHABET[((at % 2 === 0 ? chain.high : chain.low) >>> ((at >> 1) * 5)) & 31];
  return word;
}

/** A deployment as it is now, but with the engines of an earlier revision: what that revision did not say is left out. */
export function specWith(spec: DeploymentSpec, revision: Revision): DeploymentSpec {
  const own = Object.entries(spec).filter(([field]) => !(REVISION_FIELDS as readonly string[]).includes(field));
  return { ...Object.fromEntries(own), ...revision.spec } as unknown as DeploymentSpec;
}
