/**
 * Changing what is declared: check all, decide, write, and decide anew where somebody else was faster. Up to MAX_APPEND
 * changes are one append, all or none; more are written in several, each all or none, in the order of the request.
 */
import { CodedError } from '../../../lib/errors.ts';
import { headProblemText } from '../../core/events/head.ts';
import type { Projection } from '../../core/events/projection.ts';
import { type AppendOutcome, MAX_APPEND } from '../../core/events/store_port.ts';
import {
  areaOf,
  type Origin,
  piecesOf,
  planApply,
  planDelete,
  type PlannedChange,
  type ResourceRef,
  type VersionConflict,
} from '../../core/resources/changes.ts';
import type { Resource, ResourceKind } from '../../core/resources/contract.ts';
import type { ControlPlane } from '../../core/resources/control_port.ts';
import { kindNamed, kindProblem, resourceText } from '../../core/resources/names.ts';
import type {
  ApplyRequest,
  Caller,
  ChangeAnswer,
  DeleteRequest,
  RawRef,
  ResourceOutcome,
} from '../../core/resources/operations.ts';
import { type Problem, resourceNotes } from '../../core/resources/rules.ts';
import type { PlanUndeclared } from './inventory.ts';
import { parseResource, refusalOf } from './parse_resource.ts';
import type { Turns } from './turns.ts';

/** Most resources of one request. */
export const MAX_RESOURCES = 20_000;
/** Resources that are checked before other work of the process gets its turn. */
const SLICE = 100;
/** Events of one append of a request that is larger than an append may be: sealing 1,000 at once would hold streams up. */
const PIECE = 200;
/** Times that a piece is decided anew because somebody else was faster. */
const MAX_RACES = 10;

export interface ApplyDeps {
  readonly control: ControlPlane;
  /** A new idempotency id for one append. */
  readonly newId: () => string;
  readonly turns: Turns;
  /** For one request: what its deletes come to where they name no resource. */
  readonly undeclared: () => PlanUndeclared;
  /** Lets other work of the process have its turn. */
  readonly breathe: () => Promise<void>;
}

type Plan = (projection: Projection) => PlannedChange | VersionConflict;

/** @throws CodedError invalid_value */
export function kindOf(word: string, param = 'kind'): ResourceKind {
  const kind = kindNamed(word);
  if (kind === undefined) throw new CodedError('invalid_value', `${kindProblem(word)}.`, { param });
  return kind;
}

function checkCount(count: number): void {
  if (count === 0) throw new CodedError('missing_field', 'The request has no resources.', { param: 'resources' });
  if (count > MAX_RESOURCES)
    throw new CodedError('invalid_value', `At most ${MAX_RESOURCES} resources are taken at once.`, {
      param: 'resources',
    });
}

const at = (index: number, { path, message }: Problem): Problem => ({
  path: `resources[${index}]${path === '' || path.startsWith('[') ? path : `.${path}`}`,
  message,
});

/** Checks all resources of a request. @throws CodedError invalid_resource with every problem, up to a bound */
export async function parseAll(values: readonly unknown[], breathe: () => Promise<void>): Promise<Resource[]> {
  checkCount(values.length);
  const problems: Problem[] = [];
  const resources: Resource[] = [];
  const seen = new Map<string, number>();
  for (const [index, value] of values.entries()) {
    if (index % SLICE === SLICE - 1) await breathe();
    const parsed = parseResource(value);
    if (!parsed.ok) {
      problems.push(...parsed.problems.map((problem) => at(index, problem)));
      continue;
    }
    const { kind, metadata } = parsed.resource;
    const key = resourceText(kind, metadata.name);
    const before = seen.get(key);
    if (before !== undefined)
      problems.push(at(index, { path: 'metadata.name', message: `${key} stands also at resources[${before}]` }));
    seen.set(key, index);
    resources.push(parsed.resource);
  }
  if (problems.length > 0) throw refusalOf(problems);
  return resources;
}

/** @throws CodedError invalid_value */
export function refsOf(refs: readonly RawRef[]): ResourceRef[] {
  return refs.map(({ kind, name, version }, index) => ({
    kind: kindOf(kind, `resources[${index}].kind`),
    name,
    ...(version === undefined ? {} : { version }),
  }));
}

function conflictError({ kind, name, expected, actual }: VersionConflict): CodedError {
  const has = actual === 0 ? 'is not there' : `has version ${actual}`;
  const names = expected === 0 ? 'wants it not to be there' : `names version ${expected}`;
  const param = resourceText(kind, name);
  return new CodedError('version_conflict', `${param} ${has}, the request ${names}. Nothing was changed.`, { param });
}

function planAll(plans: readonly Plan[], projection: Projection): PlannedChange[] {
  return plans.map((plan) => {
    const planned = plan(projection);
    if (planned.kindOfPlan === 'conflict') throw conflictError(planned);
    return planned;
  });
}

/** What an append came to that changed nothing. @throws CodedError, but for a lost race */
function judge(outcome: Exclude<AppendOutcome, { kind: 'appended' }>): void {
  switch (outcome.kind) {
    case 'conflict':
      return;
    case 'behind':
      throw new CodedError('store_behind', `Nothing was changed: ${headProblemText(outcome.problem)}.`);
    case 'invalid':
      throw new CodedError('invalid_resource', outcome.problem, { param: `resources[${outcome.index}]` });
    default:
      throw new CodedError('internal', `The store answered ${outcome.kind}.`);
  }
}

/** What is named twice, be it by two names, is written once. */
function once(changes: readonly PlannedChange[]): PlannedChange[] {
  const written = new Set<string>();
  return changes.map((change) => {
    const { item, ...rest } = change;
    if (item === undefined) return change;
    const key = `${item.resource.kind} ${item.resource.name}`;
    if (written.has(key)) return rest;
    written.add(key);
    return change;
  });
}

interface Written {
  readonly changes: readonly PlannedChange[];
  /** The newest event, 0 for none, and the version of each change's entry now. */
  readonly seq: number;
  readonly versions: readonly number[];
}

/** Decides and writes one piece, all or none. @throws CodedError version_conflict, store_… */
async function writePiece({ control, newId }: ApplyDeps, plans: readonly Plan[]): Promise<Written> {
  for (let race = 0; race < MAX_RACES; race++) {
    const changes = once(planAll(plans, control.projection()));
    const items = changes.flatMap(({ item }) => item ?? []);
    const versions = changes.map(({ version }) => version);
    if (items.length === 0) return { changes, seq: 0, versions };
    const outcome = await control.store.append({ idempotencyId: newId(), items });
    if (outcome.kind === 'appended') {
      let seq = outcome.firstSeq;
      return {
        changes,
        seq: outcome.lastSeq,
        versions: changes.map(({ item, version }) => (item === undefined ? version : seq++)),
      };
    }
    judge(outcome);
    await control.catchUp();
  }
  throw new CodedError('store_busy', 'Others changed the same resources at the same time, again and again.');
}

/** Says of a change that failed in the middle how far it came. */
function halfDone(thrown: unknown, done: number, all: number): unknown {
  if (done === 0 || !(thrown instanceof CodedError)) return thrown;
  const message = `${thrown.message} The first ${done} of ${all} resources were changed before that.`;
  return new CodedError(thrown.code, message, {
    cause: thrown,
    ...(thrown.param === undefined ? {} : { param: thrown.param }),
  });
}

type Notes = (change: PlannedChange) => readonly string[];

/** All members of a new resource are changes: only a dry run tells them. */
const toldChanges = ({ outcome, changes }: PlannedChange, dryRun: boolean) =>
  outcome === 'created' && !dryRun ? [] : changes;

function outcomesOf({ changes, versions }: Written, notes: Notes, dryRun: boolean): ResourceOutcome[] {
  return changes.map((change, index) => ({
    kind: change.kind,
    name: change.name,
    outcome: change.outcome,
    version: versions[index] as number,
    changes: toldChanges(change, dryRun),
    notes: notes(change),
  }));
}

async function carryOut(
  deps: ApplyDeps,
  plans: readonly Plan[],
  dryRun: boolean,
  origin: Origin,
  notes: Notes,
): Promise<ChangeAnswer> {
  const { correlationId } = origin;
  const outcomes: ResourceOutcome[] = [];
  let seq = 0;
  // What is decided on should be the newest state; a dry run does with what is in memory.
  if (!dryRun || !deps.control.isRead()) await deps.control.catchUp();
  // Every conflict that can be seen now is seen before anything is written.
  for (const piece of piecesOf(plans, SLICE)) {
    const changes = planAll(piece, deps.control.projection());
    if (dryRun)
      outcomes.push(...outcomesOf({ changes, seq: 0, versions: changes.map(({ version }) => version) }, notes, true));
    await deps.breathe();
  }
  if (dryRun) return { outcomes, seq, correlationId };
  for (const piece of piecesOf(plans, plans.length > MAX_APPEND ? PIECE : MAX_APPEND)) {
    try {
      const written = await deps.turns(() => writePiece(deps, piece));
      seq = Math.max(seq, written.seq);
      outcomes.push(...outcomesOf(written, notes, false));
    } catch (thrown) {
      throw halfDone(thrown, outcomes.length, plans.length);
    }
    await deps.breathe();
  }
  return { outcomes, seq, correlationId };
}

/** Whether a resource is there, or comes with the same request. */
function presence(projection: Projection, coming: readonly Resource[]) {
  const names = new Set(coming.map(({ kind, metadata }) => resourceText(kind, metadata.name)));
  return (kind: ResourceKind, name: string): boolean =>
    names.has(resourceText(kind, name)) || projection.get(areaOf(kind), kind, name) !== undefined;
}

const entryNow = (projection: Projection, kind: ResourceKind, name: string) => projection.get(areaOf(kind), kind, name);

/** Applies resources that were checked. */
export function applyResources(
  deps: ApplyDeps,
  resources: readonly Resource[],
  dryRun: boolean,
  origin: Origin,
): Promise<ChangeAnswer> {
  const plans = resources.map(
    (resource): Plan =>
      (projection) =>
        planApply(resource, entryNow(projection, resource.kind, resource.metadata.name), origin),
  );
  const byName = new Map(resources.map((resource) => [resourceText(resource.kind, resource.metadata.name), resource]));
  const projection = deps.control.projection();
  const has = presence(projection, resources);
  const notes: Notes = ({ kind, name }) =>
    resourceNotes(byName.get(resourceText(kind, name)) as Resource, has, projection.atMs());
  return carryOut(deps, plans, dryRun, origin, notes);
}

export async function apply(deps: ApplyDeps, request: ApplyRequest, caller: Caller): Promise<ChangeAnswer> {
  const resources = await parseAll(request.resources, deps.breathe);
  return applyResources(deps, resources, request.dryRun, { ...caller, reason: request.reason });
}

/** Who still refers to what is deleted. */
function deleteNotes({ kind, name, outcome }: PlannedChange, projection: Projection): string[] {
  if (kind === 'Engine' && outcome === 'stopped') return ['its replica gets a new place once it has stopped'];
  if (kind === 'Engine' && outcome === 'unchanged') return ['it is being stopped already'];
  if (outcome !== 'deleted') return [];
  if (kind === 'Pool')
    return projection
      .list('desired', 'Deployment')
      .filter(({ value }) => (value as { spec: { pool?: string } }).spec.pool === name)
      .map((entry) => `deployment/${entry.name} uses it: new replicas of it stay pending`);
  if (kind !== 'Deployment') return [];
  return projection
    .list('desired', 'Alias')
    .filter(({ value }) =>
      (value as unknown as { spec: { targets: { deployment: string }[] } }).spec.targets.some(
        ({ deployment }) => deployment === name,
      ),
    )
    .map((entry) => `alias/${entry.name} sends a share to it, which goes to the others`);
}

/** Most resources of one delete for which it is looked up who refers to them: each takes a walk over all. */
const MAX_NOTED = 20;

export async function deleteAll(deps: ApplyDeps, request: DeleteRequest, caller: Caller): Promise<ChangeAnswer> {
  checkCount(request.resources.length);
  const refs = refsOf(request.resources);
  const origin = { ...caller, reason: request.reason };
  if (!deps.control.isRead()) await deps.control.catchUp();
  const undeclared = deps.undeclared();
  const plans = refs.map(
    (ref): Plan =>
      (projection) => {
        const entry = entryNow(projection, ref.kind, ref.name);
        return (
          (entry === undefined ? undeclared(ref, projection, origin) : undefined) ?? planDelete(ref, entry, origin)
        );
      },
  );
  const { control } = deps;
  const isNoted = refs.length <= MAX_NOTED;
  return carryOut(deps, plans, request.dryRun, origin, (change) =>
    isNoted ? deleteNotes(change, control.projection()) : [],
  );
}
