/**
 * The answers to what operators ask about a fleet, of plain data alone, so that a thread of its own can be given the question: a
 * plan in words, the explanation of a deployment, moves that would make whole GPUs of scattered memory.
 */
import { seededRandom } from '../../../lib/rng.ts';
import type { Assignment, FleetSnapshot, PlacementPlan, ReplicaId } from '../placement/contract.ts';
import type { Demand } from '../placement/demand.ts';
import { carryOut, type DeploymentExplanation, explainDeployment, reasonsAgainst } from '../placement/explain.ts';
import { explanationLines, reasonText, refusalsText } from '../placement/explain_text.ts';
import { planPlacement } from '../placement/planner.ts';
import { createSituation } from '../placement/units.ts';
import type { DefragmentView, PlanView } from '../resources/contract.ts';
import { replicaText } from '../resources/pinned.ts';
import { defragmentView } from './defragment_view.ts';
import { type LaterStart, laterStarts } from './own_place.ts';

/** What every question has. */
export interface Asked {
  readonly snapshot: FleetSnapshot;
  /** Bound of the planner's search. */
  readonly searchSteps: number;
  /** The deployment of each of the planner's names. */
  readonly deploymentOf: ReadonlyMap<string, string>;
  /** What the planner would say of deployments that it refuses, by its names. */
  readonly unsound: ReadonlyMap<string, string>;
  readonly frozen: string | undefined;
}

export interface PlanTask extends Asked {
  readonly kind: 'plan';
  /** Deployments of which an older revision runs. */
  readonly rolling: readonly { readonly name: string; readonly revision: string }[];
}

export interface ExplainTask extends Asked {
  readonly kind: 'explain';
  readonly name: string;
  /** What is said at the end. */
  readonly notes: readonly string[];
  /** How the memory of a replica was found, by the planner's names. */
  readonly memory: ReadonlyMap<string, string>;
  /** It may run on one node only, of so many: of the others nothing is said. */
  readonly pinned?: { readonly to: string; readonly nodes: number };
}

export interface DefragmentTask extends Asked {
  readonly kind: 'defragment';
  readonly maxMoves: number;
}

export type ForesightTask = PlanTask | ExplainTask | DefragmentTask;

export interface ForesightAnswers {
  readonly plan: PlanView;
  readonly explain: readonly string[];
  readonly defragment: Omit<DefragmentView, 'plan'>;
}

/** As the leader plans; what runs of a deployment that cannot be read goes on. */
function planOf({ snapshot, searchSteps, unsound }: Asked): PlacementPlan {
  const plan = planPlacement(snapshot, { random: seededRandom(1), searchSteps });
  return { ...plan, stops: plan.stops.filter(({ deployment }) => !unsound.has(deployment)) };
}

function where({ parts }: Assignment): string {
  return parts.map(({ node, gpus }) => `${node}${gpus.length === 0 ? '' : ` GPU ${gpus.join(',')}`}`).join(' and ');
}

function assignmentLine(assignment: Assignment, nameOf: (id: ReplicaId) => string): string {
  const { cause, waitsFor } = assignment;
  const waits = waitsFor.length === 0 ? '' : `, once ${waitsFor.map(nameOf).join(', ')} has stopped`;
  const target = `${nameOf(assignment)} on ${where(assignment)}${waits}`;
  if (cause.kind === 'new') return `start ${target}`;
  if (cause.kind === 'preempted') return `start ${target}, as it is preempted on ${cause.from.join(', ')}`;
  return `move ${target}, from ${cause.from.join(', ')}: ${cause.reasons.map(reasonText).join('; ')}`;
}

/** A replica that waits for nothing but a stop of this very plan, such as its own. */
function laterLine({ assignment, after }: LaterStart, nameOf: (id: ReplicaId) => string): string {
  const old = after.map((stop) => `${nameOf(stop)} on ${stop.from.join(', ')}`);
  const names = new Set(after.map(({ deployment }) => deploymentPart(deployment)));
  const isOwn = names.size === 1 && names.has(deploymentPart(assignment.deployment));
  const words = isOwn ? `in its own place, once ${old.join(', ')} has stopped` : `once ${old.join(', ')} has stopped`;
  return `start ${nameOf(assignment)} on ${where(assignment)}, ${words}`;
}

/** Of a planner's name. */
const deploymentPart = (planned: string): string => planned.slice(0, planned.lastIndexOf('@'));

/** Replicas that several revisions of a deployment have are told apart by the revision. */
function namer(deploymentOf: Asked['deploymentOf']): (id: ReplicaId) => string {
  const revisions = new Map<string, number>();
  for (const name of deploymentOf.values()) revisions.set(name, (revisions.get(name) ?? 0) + 1);
  return ({ deployment: planned, index }) => {
    const name = deploymentPart(planned);
    return (revisions.get(name) ?? 0) > 1 ? `${planned}/${index}` : replicaText(name, index);
  };
}

/** Of so many deployments over several hosts a plan says why they wait; of the others `explain` says it. */
const MOST_APART = 20;

/** Why no hosts come together, by the planner's name: no single node has the answer, so the plan itself gives it. */
function whyApart(
  { deployments }: FleetSnapshot,
  pending: readonly ReplicaId[],
  explain: (planned: string) => DeploymentExplanation | undefined,
): ReadonlyMap<string, string> {
  const wide = new Set(deployments.flatMap(({ name, hosts = 1 }) => (hosts > 1 ? [name] : [])));
  const waiting = [...new Set(pending.map(({ deployment }) => deployment))].filter((name) => wide.has(name));
  const told = waiting.slice(0, MOST_APART).map((name) => [name, refusalsText(explain(name)?.verdicts ?? [])] as const);
  return new Map(told.filter(([, text]) => text !== ''));
}

export function answerPlan(task: PlanTask): PlanView {
  const { frozen, rolling, deploymentOf } = task;
  const plan = planOf(task);
  const nameOf = namer(deploymentOf);
  const later = laterStarts(task.snapshot, plan, task.searchSteps);
  const waits = new Set(later.map(({ assignment: { deployment, index } }) => `${deployment}/${index}`));
  const pending = plan.pending.filter(({ deployment, index }) => !waits.has(`${deployment}/${index}`));
  const apart = whyApart(task.snapshot, pending, (planned) => explainDeployment(task.snapshot, plan, planned));
  const starts = plan.assignments.length + later.length;
  const lines = [
    ...(frozen === undefined ? [] : [`nothing happens while the fleet is ${frozen}`]),
    ...plan.stops.map((stop) => `stop ${nameOf(stop)} on ${stop.from.join(', ')}: ${STOP_WORDS[stop.because]}`),
    ...plan.preemptions.map(
      (each) =>
        `preempt ${nameOf(each)} on ${each.from.join(', ')}, for ${nameOf(each.by)} of priority ${each.byPriority}`,
    ),
    ...plan.assignments.map((assignment) => assignmentLine(assignment, nameOf)),
    ...later.map((each) => laterLine(each, nameOf)),
    ...pending.map((id) => {
      const why = apart.get(id.deployment);
      return `pending ${nameOf(id)}: no node can take it now${why === undefined ? '' : `: ${why}`}`;
    }),
    ...rolling.map(
      ({ name, revision }) =>
        `${name} rolls to revision ${revision} in steps; these ${starts} starts are what can be done now`,
    ),
  ];
  return {
    lines,
    assignments: starts,
    preemptions: plan.preemptions.length,
    stops: plan.stops.length,
    pending: pending.length,
  };
}

const STOP_WORDS = { scaled_down: 'fewer are wanted', not_wanted: 'it is not wanted' } as const;

/** Why the nodes that run some of its replicas take no more: an explanation names only what refuses all of them. */
function fullLines(snapshot: FleetSnapshot, plan: PlacementPlan, planned: string, chosen: readonly string[]): string[] {
  const { board, units } = createSituation(snapshot);
  carryOut(board, units, plan);
  const demand = board.demands.find((each) => each.wanted.name === planned) as Demand;
  return chosen.flatMap((node) => {
    const reasons = reasonsAgainst(board, snapshot, demand, board.fleet.indexOf.get(node) as number);
    return reasons.length === 0 ? [] : [`${node}: takes no further one: ${reasons.map(reasonText).join('; ')}`];
  });
}

/** A line that speaks of one node. */
const NODE_LINE = /^\S+: (chosen for|would take|refused by|takes n)/;

export function answerExplain(task: ExplainTask): readonly string[] {
  const { snapshot, name, notes, memory, deploymentOf, unsound, frozen, pinned } = task;
  const isTold = (line: string): boolean =>
    pinned === undefined || !NODE_LINE.test(line) || line.startsWith(`${pinned.to}: `);
  const plan = planOf(task);
  const lines: string[] = frozen === undefined ? [] : [`The fleet is ${frozen}; nothing changes.`];
  for (const [planned, deployment] of deploymentOf) {
    if (deployment !== name) continue;
    const explanation = explainDeployment(snapshot, plan, planned);
    if (explanation === undefined) {
      lines.push((unsound.get(planned) as string).replaceAll(planned, name));
      continue;
    }
    const { verdicts, pending } = explanation;
    const chosen = verdicts.filter(({ kind }) => kind === 'chosen').map(({ node }) => node);
    const full = pending > 0 ? fullLines(snapshot, plan, planned, chosen) : [];
    const [sum = '', ...rest] = explanationLines(explanation, pinned?.nodes);
    const text = memory.get(planned);
    const need = text === undefined ? [] : [`memory of a new replica: ${text}`];
    lines.push(...[sum, ...need, ...rest, ...full].filter(isTold).map((line) => line.replaceAll(planned, name)));
  }
  return [...lines, ...notes];
}

export const answerDefragment = (task: DefragmentTask): Omit<DefragmentView, 'plan'> => {
  const nameOf = namer(task.deploymentOf);
  return defragmentView(task.snapshot, { ...task, nameOf });
};

/** Answers any of them. */
export function foresee<Task extends ForesightTask>(task: Task): ForesightAnswers[Task['kind']] {
  const any: ForesightTask = task;
  switch (any.kind) {
    case 'plan':
      return answerPlan(any) as ForesightAnswers[Task['kind']];
    case 'explain':
      return answerExplain(any) as ForesightAnswers[Task['kind']];
    case 'defragment':
      return answerDefragment(any) as ForesightAnswers[Task['kind']];
  }
}
