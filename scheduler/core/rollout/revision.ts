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
const hashOf = (fields: JsonObject): string => wordOf(canonicalText(fields), LENGTH);

/** At most 12 letters for a text. */
function wordOf(text: string, length: number): string {
  const chain = newChain({ unit: 'bytes' });
  const units = Uint16Array.from(text, (character) => character.charCodeAt(0));
  extendChain(chain, units, 0, units.length);
  let word = '';
  for (let at = 0; at < length; at++)
    word += ALPHABET[((at % 2 === 0 ? chain.high : chain.low) >>> ((at >> 1) * 5)) & 31];
  return word;
}

/** Agents take names of 63 lower-case letters, digits and dashes; this much is left beside revision and index. */
const MOST_PREFIX = 44;
const SHORT_HASH = 6;
const AS_IT_IS = /^[a-z0-9]([a-z0-9-]{0,42}[a-z0-9])?$/;

/** Name of a replica's engine on its node, from which everyone can tell its revision. */
export function engineName(deployment: string, revision: string, index: number): string {
  if (AS_IT_IS.test(deployment)) return `${deployment}-${revision}-${index}`;
  // What an agent would refuse is replaced, and a hash keeps apart what has become alike.
  const readable = deployment
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, MOST_PREFIX - SHORT_HASH - 1);
  return `${readable.replace(/-+$/, '') || 'd'}-${wordOf(deployment, SHORT_HASH)}-${revision}-${index}`;
}

/** The revision and the index in a name of engineName; undefined for an engine that no deployment has. */
export function parseEngineName(name: string): { readonly revision: string; readonly index: number } | undefined {
  const found = /-([a-km-np-z2-9]{10})-(\d{1,7})$/.exec(name);
  return found === null ? undefined : { revision: found[1] as string, index: Number(found[2]) };
}
