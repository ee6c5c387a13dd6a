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
function hashOf(fields: JsonObject): string {
  const chain = newChain({ unit: 'bytes' });
  const text = canonicalText(fields);
  const units = Uint16Array.from(text, (character) => character.charCodeAt(0));
  extendChain(chain, units, 0, units.length);
  let id = '';
  for (let at = 0; at < LENGTH; at++) {
    const word = at < LENGTH / 2 ? chain.high : chain.low;
    id += ALPHABET[(word >>> ((at % (LENGTH / 2)) * 5)) & 31];
  }
  return id;
}

/** Name of a replica's engine on its node, from which everyone can tell its revision. */
export function engineName(deployment: string, revision: string, index: number): string {
  return `${deployment}.${revision}.${index}`;
}

/** The reverse of engineName; undefined for an engine that no deployment has. */
export function parseEngineName(
  name: string,
): { readonly deployment: string; readonly revision: string; readonly index: number } | undefined {
  const found = /^(.+)\.([a-z2-9]{10})\.(\d{1,9})$/.exec(name);
  if (found === null) return undefined;
  const [, deployment = '', revision = '', index = ''] = found;
  return { deployment, revision, index: Number(index) };
}
