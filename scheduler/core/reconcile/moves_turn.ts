/**
 * One turn of an ordered defragmentation, by whoever leads. Each move is an ordinary one: the replica gets a second place, the
 * old one serves until the new one is ready, and only then it stops (settle.ts). A few are under way at a time, in the plan's
 * order, and each is checked against the present state before it begins. At the first that does not hold any more, or that
 * does not succeed, the order ends with the reason: the rest of the plan was made for a fleet that is not there any more.
 * What has begun goes on to its own end by itself.
 */
import type { AppendItem } from '../events/store_port.ts';
import { reasonText } from '../placement/explain_text.ts';
import type { Assignment, FleetSnapshot } from '../placement/contract.ts';
import type { Reason } from '../placement/reasons.ts';
import { type StaleReason, verifyPlan } from '../placement/verify.ts';
import { replicaText } from '../resources/pinned.ts';
import type { Place } from './contract.ts';
import { type PlanInput, question } from './decide.ts';
import { Draft, type Writer } from './draft.ts';
import { plannerName } from './fleet_view.ts';
import { gangAddress } from './gang.ts';
import { promisedSpec } from './memory_need.ts';
import { MOVE_ORDER, type MoveState, moveOrderValue, type OrderedMove, placeFor, type RunningMove } from './moves.ts';

/** Most moves under way at a time in the fleet: each has its memory twice and loads weights. */
export const MOVES_AT_ONCE = 2;
const MAX_REASON = 400;

export interface MovesTurn {
  /** All or none. */
  readonly items: readonly AppendItem[];
  /** The same in words, a line each. */
  readonly lines: readonly string[];
}

export type MovesInput = PlanInput & { readonly writer: Writer };

const NOTHING: MovesTurn = { items: [], lines: [] };

const nameOf = ({ deployment, index }: OrderedMove | Place): string => replicaText(deployment, index);

const sameGpus = (place: Place, { from }: OrderedMove): boolean =>
  place.parts.length === from.length &&
  place.parts.every(({ node, gpus }, at) => node === from[at]?.node && gpus.join() === (from[at]?.gpus ?? []).join());

const NOT_WANTED = 'it is not wanted any more';
const FIRST = 'something else would have to go first';

/** Of reasons that placement's own words do not tell. */
const STALE_WORDS: Partial<Record<StaleReason['by'], string>> = {
  not_wanted: NOT_WANTED,
  already_placed: NOT_WANTED,
  deployment_changed: 'its deployment has changed',
  wrong_shape: 'its need of memory has changed',
  victim: FIRST,
  depends_on: FIRST,
};

const staleText = (reason: StaleReason): string =>
  reason.by === 'gpu'
    ? `GPU ${reason.gpu} there is ${reason.why}`
    : (STALE_WORDS[reason.by] ?? reasonText(reason as Reason));

interface Work {
  readonly input: MovesInput;
  readonly draft: Draft;
  readonly words: string;
}

/** The index under which placement sees the replica as missing, once its old place does not stand for it any more. */
function openIndex({ placements }: FleetSnapshot, deployment: string): number {
  const taken = new Set(placements.filter((each) => each.deployment === deployment).map(({ index }) => index));
  let index = 0;
  while (taken.has(index)) index += 1;
  return index;
}

/** Begins a move where it still holds. @returns the move under way, or why it does not hold */
function begin({ input, draft, words }: Work, move: OrderedMove): RunningMove | string {
  const old = placeFor(draft.places, move);
  if (old?.phase !== 'placed') return 'it does not run any more';
  if (!sameGpus(old, move)) return 'it runs elsewhere by now';
  // Its old place holds its memory from now on, and placement misses a replica.
  const leaving = new Draft(draft.declared);
  leaving.move(old, 'leaving', words);
  const { snapshot, targets } = question(input, leaving.declared);
  const planned = plannerName(move.deployment, move.revision);
  const wanted = snapshot.deployments.find(({ name }) => name === planned);
  const target = targets.get(planned);
  if (wanted === undefined || target === undefined) return NOT_WANTED;
  const assignment: Assignment = {
    deployment: planned,
    index: openIndex(snapshot, planned),
    deploymentVersion: wanted.version ?? 0,
    priority: wanted.priority ?? old.priority,
    parts: move.to,
    cause: { kind: 'new' },
    waitsFor: [],
    score: [],
  };
  const { refused } = verifyPlan({ assignments: [assignment], preemptions: [], stops: [] }, snapshot);
  if (refused.length > 0) {
    const told = refused.flatMap(({ node, reasons }) =>
      reasons.map((each) => `${node ?? ''} ${staleText(each)}`.trim()),
    );
    return [...new Set(told)].join('; ');
  }
  const before = new Set(draft.places.map(({ name }) => name));
  draft.move(old, 'leaving', words);
  const wish = {
    deployment: move.deployment,
    index: move.index,
    revision: move.revision,
    spec: promisedSpec(target.target.spec, target.memory),
    priority: assignment.priority,
    parts: move.to,
    waitsFor: [],
    reason: words,
    replaces: old.name,
  };
  draft.assign(wish, (node) => gangAddress(input.fleet, node));
  const made = draft.places.find(({ name }) => !before.has(name)) as Place;
  return { from: old.name, to: made.name };
}

/** What became of the moves under way: those that still are, or why one did not succeed. */
function follow(places: readonly Place[], running: readonly RunningMove[]): RunningMove[] | string {
  const known = new Map(places.map((place) => [place.name, place]));
  const left: RunningMove[] = [];
  for (const move of running) {
    const [made, old] = [known.get(move.to), known.get(move.from)];
    if (made === undefined) return `the new engine of ${move.from} is gone`;
    if (made.phase !== 'placed') return `the new engine of ${move.from} could not stay: ${made.reason}`;
    if (old !== undefined) left.push(move);
  }
  return left;
}

/** Whether the deployment has as many replicas on the move as may be at once; a drain's count too. */
function isBusy({ input, draft }: Work, { deployment, index }: OrderedMove): boolean {
  const moving = draft.places.filter((each) => each.deployment === deployment && each.phase === 'leaving');
  const replicas = input.declared.deployments.get(deployment)?.spec.replicas ?? 0;
  const most = Math.max(1, Math.floor(input.options.maxMovedShare * replicas));
  return moving.length >= most || moving.some((each) => each.index === index);
}

/** Begins what may begin now. @returns how the order stands then, or why it ends */
function advance(work: Work, state: MoveState, running: RunningMove[]): MoveState | string {
  let { begun } = state;
  for (; begun < state.moves.length && running.length < MOVES_AT_ONCE; begun++) {
    const move = state.moves[begun] as OrderedMove;
    if (isBusy(work, move)) break;
    const started = begin(work, move);
    if (typeof started === 'string') return `the move of ${nameOf(move)} does not hold any more: ${started}`;
    running.push(started);
  }
  return { ...state, begun, running };
}

/** @returns nothing while the fleet is frozen, or nothing is ordered, or there is nothing to do but wait */
export function turnMoves(input: MovesInput): MovesTurn {
  const { declared, writer } = input;
  const order = declared.moveOrder;
  if (order === undefined || declared.frozen !== undefined) return NOTHING;
  const { state, version } = order;
  const by: Writer = { ...writer, ...(state === undefined ? {} : { correlationId: state.correlationId }) };
  const item = (
    kind: 'lifecycle.changed' | 'lifecycle.ended',
    reason: string,
    after: AppendItem['after'],
  ): AppendItem => ({
    kind,
    resource: MOVE_ORDER,
    ...by,
    reason: reason.slice(0, MAX_REASON),
    after,
    expected: version,
  });
  if (state === undefined) {
    const reason = 'it is of a newer version, and cannot be carried out';
    return { items: [item('lifecycle.ended', reason, null)], lines: [`defragmentation ends: ${reason}`] };
  }
  const draft = new Draft(declared);
  const words = `it is moved to make whole GPUs, as ordered by ${state.by}${state.why === '' ? '' : `: ${state.why}`}`;
  const running = follow(declared.places, state.running);
  const next = typeof running === 'string' ? running : advance({ input, draft, words }, state, running);
  const all = state.moves.length;
  const isDone = typeof next !== 'string' && next.begun === all && next.running.length === 0;
  if (typeof next !== 'string' && !isDone) {
    if (next.begun === state.begun && next.running.length === state.running.length) return NOTHING;
    const reason = `${next.begun - next.running.length} of ${all} moves are done, ${next.running.length} under way`;
    const after = moveOrderValue(next);
    return { items: [...draft.items(by), item('lifecycle.changed', reason, after)], lines: draft.lines };
  }
  const reason =
    typeof next === 'string' ? `${next}; ${state.begun} of ${all} moves had begun` : `all ${all} moves are done`;
  // What would have begun in this turn does not: whoever looks at the reason finds nothing under way that it does not name.
  return { items: [item('lifecycle.ended', reason, null)], lines: [`defragmentation ends: ${reason}`] };
}
