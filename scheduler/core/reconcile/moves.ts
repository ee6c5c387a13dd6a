/**
 * An ordered defragmentation as an entry of the log: which replicas are to be moved where, by whose order and why, and how far
 * the leader has come with it. One at a time for the whole fleet, so that nobody has to guess which of two plans holds.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { JsonValue } from '../events/json.ts';
import type { Entry } from '../events/projection.ts';
import type { AssignedPart } from '../placement/contract.ts';
import type { PlannedMove } from '../resources/contract.ts';
import type { Place } from './contract.ts';
import { shortHash } from './places.ts';

/** A word as a person types it. @throws CodedError invalid_value */
export function defragmentVerb(word: string): 'apply' | 'cancel' {
  if (word === 'apply' || word === 'cancel') return word;
  throw new CodedError('invalid_value', 'verb must be apply or cancel.', { param: 'verb' });
}

/** The entry in the area `lifecycle`. */
export const MOVE_ORDER = { kind: 'Defragmentation', name: 'fleet' } as const;

/** One replica: where it is when its turn comes, and where it is to go. */
export interface OrderedMove {
  readonly deployment: string;
  readonly revision: string;
  readonly index: number;
  readonly from: PlannedMove['from'];
  readonly to: readonly AssignedPart[];
}

/** A move under way, by the names of its places. */
export interface RunningMove {
  readonly from: string;
  readonly to: string;
}

export interface MoveState {
  readonly by: string;
  readonly why: string;
  /** Of the order; every event of the moves has it. */
  readonly correlationId: string;
  readonly moves: readonly OrderedMove[];
  /** How many of them have begun. */
  readonly begun: number;
  readonly running: readonly RunningMove[];
}

export interface MoveOrder {
  readonly version: number;
  /** Undefined: nothing that this version knows. */
  readonly state: MoveState | undefined;
}

const isList = (value: unknown): value is readonly Record<string, unknown>[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'object' && each !== null);

const isMove = ({ deployment, revision, index, from, to }: Record<string, unknown>): boolean =>
  typeof deployment === 'string' &&
  typeof revision === 'string' &&
  Number.isSafeInteger(index) &&
  isList(from) &&
  isList(to) &&
  [...from, ...to].every(({ node, gpus }) => typeof node === 'string' && Array.isArray(gpus)) &&
  to.every(({ gpuMemoryBytes }) => typeof gpuMemoryBytes === 'number');

/** The order in an entry; one of a newer version has no state. */
export function moveOrderOf({ version, value }: Pick<Entry, 'version' | 'value'>): MoveOrder {
  const { by, why, correlationId, moves, begun, running } = (value ?? {}) as Record<string, unknown>;
  const isSound =
    [by, why, correlationId].every((text) => typeof text === 'string') &&
    Number.isSafeInteger(begun) &&
    isList(moves) &&
    moves.every(isMove) &&
    isList(running) &&
    running.every(({ from, to }) => typeof from === 'string' && typeof to === 'string');
  return { version, state: isSound ? (value as unknown as MoveState) : undefined };
}

/** What an entry says of it. */
export const moveOrderValue = (state: MoveState): JsonValue => state as unknown as JsonValue;

/** What is ordered by a plan's moves. */
export const orderedMoves = (moves: readonly PlannedMove[]): OrderedMove[] =>
  moves.map(({ deployment, revision, index, from, to }) => ({ deployment, revision, index, from, to }));

const replicaKey = ({ deployment, revision, index }: OrderedMove | Place): string =>
  `${deployment}@${revision}/${index}`;

/** What a move is about: the place that stands for its replica, if there is one. */
export const placeFor = (places: readonly Place[], move: OrderedMove): Place | undefined => {
  const key = replicaKey(move);
  return places.find((each) => (each.phase === 'placed' || each.phase === 'waiting') && replicaKey(each) === key);
};

/**
 * Names a plan by what it would do to which places, each with its version: whoever orders it says by this name what was
 * shown, and a plan over a changed state has another one. Empty where there is nothing to move.
 */
export function planName(moves: readonly PlannedMove[], places: readonly Place[]): string {
  if (moves.length === 0) return '';
  const standing = new Map<string, Place>();
  for (const place of places)
    if (place.phase === 'placed' || place.phase === 'waiting') standing.set(replicaKey(place), place);
  const texts = orderedMoves(moves).map((move) => {
    const { name = '', version = 0 } = standing.get(replicaKey(move)) ?? {};
    return JSON.stringify([name, version, move]);
  });
  // Two of them, as 32 bits alone are few for what a person relies on.
  return `${shortHash(texts.join('\n'))}${shortHash(texts.toReversed().join('\r'))}`;
}

const count = (n: number, word: string): string => `${n} ${word}${n === 1 ? '' : 's'}`;

/** How an order stands, in a line. */
export function moveOrderText({ state }: MoveOrder): string {
  if (state === undefined) return 'under way: an order of a newer version, which the leader takes away';
  const { by, why, moves, begun, running } = state;
  const reason = why === '' ? '' : `: ${why}`;
  return `under way: ${begun - running.length} of ${count(moves.length, 'move')} done, ${running.length} begun, ordered by ${by}${reason}`;
}
