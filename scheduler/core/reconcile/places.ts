/** Places as entries of the log, and the names that follow from them. */
import type { JsonValue } from '../events/json.ts';
import type { Entry } from '../events/projection.ts';
import type { AssignedPart, GpuSharing } from '../placement/contract.ts';
import type { DeploymentSpec } from '../resources/contract.ts';
import { engineOfPinned } from '../resources/pinned.ts';
import { type Gang, PLACE_KIND, type Place, type PlacePhase } from './contract.ts';

const PHASES: readonly unknown[] = ['waiting', 'placed', 'leaving', 'stopping', 'lost'] satisfies PlacePhase[];
/** An engine's name may have 63 characters; index, revision and number take up to 25 of them. */
const MAX_BASE = 38;
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** FNV-1a over UTF-16 units, as eight hexadecimal digits. It tells texts apart that nobody made to collide. */
export function shortHash(text: string): string {
  let hash = FNV_OFFSET;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), FNV_PRIME);
  return (hash >>> 0).toString(16).padStart(8, '0');
}

export const placeName = (deployment: string, index: number, number: number): string =>
  `${deployment}/${index}/${number}`;

/**
 * The name of a place's engines on their nodes: `deployment-index-revision`, and the number where it is not the first. That of a
 * declared engine has `pin` for an index, which no replica has.
 */
export function engineName(deployment: string, index: number, revision: string, number: number): string {
  const engine = engineOfPinned(deployment);
  const named = engine ?? deployment;
  const plain = named
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]/g, '-')
    .replace(/^-+/, '');
  const isSame = plain === named && plain.length <= MAX_BASE;
  const base = isSame ? plain : `${plain.slice(0, MAX_BASE - 9) || 'x'}-${shortHash(named)}`;
  return `${base}-${engine === undefined ? index : 'pin'}-${revision}${number === 1 ? '' : `-${number}`}`;
}

/** The place in an entry; undefined: a newer version's entry, which this one leaves alone. */
export function placeOf(entry: Entry): Place | undefined {
  if (entry.area !== 'placement' || entry.kind !== PLACE_KIND) return undefined;
  const value = entry.value as unknown as Partial<Omit<Place, 'name' | 'version'>> | null;
  if (value === null || typeof value !== 'object') return undefined;
  const { deployment, index, number, revision, spec, engine, priority, parts, phase, reason, waitsFor } = value;
  const isSound =
    typeof deployment === 'string' &&
    Number.isSafeInteger(index) &&
    Number.isSafeInteger(number) &&
    typeof revision === 'string' &&
    typeof spec === 'object' &&
    typeof engine === 'string' &&
    typeof priority === 'number' &&
    Array.isArray(parts) &&
    PHASES.includes(phase) &&
    typeof reason === 'string' &&
    Array.isArray(waitsFor);
  return isSound
    ? { ...(value as Omit<Place, 'name' | 'version'>), name: entry.name, version: entry.version }
    : undefined;
}

/** What an entry says of a place. */
export function placeValue({ name: _name, version: _version, ...value }: Place): JsonValue {
  return value as unknown as JsonValue;
}

export interface PlaceWish {
  readonly deployment: string;
  readonly index: number;
  readonly revision: string;
  readonly spec: DeploymentSpec;
  readonly priority: number;
  readonly parts: readonly AssignedPart[];
  readonly waitsFor: readonly string[];
  readonly reason: string;
  readonly replaces?: string;
  readonly gang?: Gang;
}

/** A new place for a replica. @param number one that no other place of its index has */
export function newPlace(wish: PlaceWish, number: number): Place {
  const { deployment, index, revision, waitsFor } = wish;
  return {
    ...wish,
    name: placeName(deployment, index, number),
    version: 0,
    number,
    engine: engineName(deployment, index, revision, number),
    phase: waitsFor.length > 0 ? 'waiting' : 'placed',
  };
}

/** Who may share its GPUs. Without a stated need of memory there is nothing to divide. */
export const sharingOf = (spec: DeploymentSpec): GpuSharing =>
  spec.gpuMemoryBytes === undefined ? 'exclusive' : (spec.sharing ?? 'exclusive');

/** Phases in which a place's engines are among the orders of their nodes. */
export const isOrdered = ({ phase }: Place): boolean => phase === 'placed' || phase === 'leaving';

/**
 * Whether the place's engine is among the orders of one of its nodes. When a gang is to stop, its leader is told first: the
 * others compute what its running requests still need, and go when it has ended.
 */
export function isOrderedOn(place: Place, node: string): boolean {
  if (isOrdered(place)) return true;
  const { phase, gang, parts } = place;
  if (gang === undefined || gang.broken === true || phase !== 'stopping') return false;
  const leader = gang.nodes[0];
  return node !== leader && parts.some((part) => part.node === leader);
}

/** Phases in which a place stands for its replica. */
export const isStanding = ({ phase }: Place): boolean => phase === 'placed' || phase === 'waiting';
