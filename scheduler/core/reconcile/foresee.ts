/** What reconcile would do, and why a replica is where it is: for whoever asks, computed from the moment's picture. */
import { CodedError } from '../../../lib/errors.ts';
import type { Declared, DeploymentResource } from './contract.ts';
import { carryOut, explainDeployment, reasonsAgainst } from '../placement/explain.ts';
import type { Demand } from '../placement/demand.ts';
import { explanationLines, reasonText } from '../placement/explain_text.ts';
import type { Assignment, FleetSnapshot, PlacementPlan, ReplicaId } from '../placement/contract.ts';
import { createSituation } from '../placement/units.ts';
import type { PlanView, PoolSpec, QuarantineSpec, Resource, ResourceKind } from '../resources/contract.ts';
import { engineOfPinned, pinnedName, replicaText } from '../resources/pinned.ts';
import { deploymentIn } from './declared.ts';
import { nodeNames, unknownEngines } from './fleet_view.ts';
import { planFor, type PlanInput, type Planned } from './decide.ts';

/** What would be declared if these were applied and those deleted. */
export function overlaid(
  declared: Declared,
  applied: readonly Resource[],
  deleted: readonly { readonly kind: ResourceKind; readonly name: string }[],
): Declared {
  const deployments = new Map(declared.deployments);
  const nodes = new Map(declared.nodes);
  const pools = new Map(declared.pools);
  const quarantines = new Map(declared.quarantines);
  for (const { kind, metadata, spec } of applied) {
    const { name, labels } = metadata;
    if (kind === 'Deployment' || kind === 'Engine') {
      const before = deployments.get(kind === 'Engine' ? pinnedName(name) : name);
      const rollout = before?.rollout === undefined ? {} : { rollout: before.rollout };
      const deployment = deploymentIn(kind, name, before?.version ?? 0, spec);
      deployments.set(deployment.name, { ...deployment, ...rollout });
    }
    if (kind === 'Quarantine') quarantines.set(name, { name, version: 0, spec: spec as unknown as QuarantineSpec });
    if (kind === 'Node') nodes.set(name, { spec, labels });
    if (kind === 'Pool') pools.set(name, spec as unknown as PoolSpec);
  }
  for (const { kind, name } of deleted) {
    if (kind === 'Deployment') deployments.delete(name);
    else if (kind === 'Node') nodes.delete(name);
    else if (kind === 'Pool') pools.delete(name);
    else if (kind === 'Engine') deployments.delete(pinnedName(name));
    else if (kind === 'Quarantine') quarantines.delete(name);
  }
  return { ...declared, deployments, nodes, pools, quarantines };
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

/** Replicas that several revisions of a deployment have are told apart by the revision. */
function namer(targets: Planned['targets']): (id: ReplicaId) => string {
  const revisions = new Map<string, number>();
  for (const { deployment } of targets.values())
    revisions.set(deployment.name, (revisions.get(deployment.name) ?? 0) + 1);
  return ({ deployment: planned, index }) => {
    const name = planned.slice(0, planned.lastIndexOf('@'));
    return (revisions.get(name) ?? 0) > 1 ? `${planned}/${index}` : replicaText(name, index);
  };
}

export function planView(input: PlanInput, declared: Declared): PlanView {
  const { plan, targets } = planFor(input, declared);
  const nameOf = namer(targets);
  const lines = [
    ...(declared.frozen === undefined ? [] : [`nothing happens while the fleet is ${declared.frozen}`]),
    ...plan.stops.map((stop) => `stop ${nameOf(stop)} on ${stop.from.join(', ')}: ${STOP_WORDS[stop.because]}`),
    ...plan.preemptions.map(
      (each) =>
        `preempt ${nameOf(each)} on ${each.from.join(', ')}, for ${nameOf(each.by)} of priority ${each.byPriority}`,
    ),
    ...plan.assignments.map((assignment) => assignmentLine(assignment, nameOf)),
    ...plan.pending.map((id) => `pending ${nameOf(id)}: no node can take it now`),
    ...resizedLines(declared, plan),
  ];
  return {
    lines,
    assignments: plan.assignments.length,
    preemptions: plan.preemptions.length,
    stops: plan.stops.length,
    pending: plan.pending.length,
  };
}

const STOP_WORDS = { scaled_down: 'fewer are wanted', not_wanted: 'it is not wanted' } as const;

/** A new revision rolls in steps: the plan has the first of them. */
function resizedLines({ deployments, places }: Declared, plan: PlacementPlan): string[] {
  const rolling = [...deployments.values()].filter(({ name, revision }) =>
    places.some((place) => place.deployment === name && place.revision !== revision),
  );
  return rolling.map(
    ({ name, revision }) =>
      `${name} rolls to revision ${revision} in steps; these ${plan.assignments.length} starts are what can be done now`,
  );
}

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

/** A declared engine whose node nobody knows waits for it. */
function unheardOf({ name, spec }: DeploymentResource, nodes: readonly string[]): string[] {
  if (spec.node === undefined || nodes.includes(spec.node)) return [];
  const words = `no agent of this name has ever come, and ${name} may run nowhere else`;
  return [`${spec.node}: refused by node_unknown: ${words}; it would fit if the node came`];
}

/** @throws CodedError not_found */
export function explainLines(input: PlanInput, name: string): readonly string[] {
  const { declared } = input;
  const deployment: DeploymentResource | undefined = declared.deployments.get(name);
  if (deployment === undefined) {
    const what = engineOfPinned(name) === undefined ? `deployment ${name}` : name;
    throw new CodedError('not_found', `There is no ${what}.`, { param: 'name' });
  }
  const { snapshot, plan, targets, unsound } = planFor(input, declared);
  const pinnedTo = deployment.spec.node;
  const isTold = (line: string): boolean =>
    pinnedTo === undefined || !NODE_LINE.test(line) || line.startsWith(`${pinnedTo}: `);
  const nodes = nodeNames(input);
  const notes = nodes.flatMap((node) => {
    const unknown = unknownEngines(input, node);
    return unknown.length === 0
      ? []
      : [`${node}: takes nothing until ${unknown.join(', ')} is gone, which nobody wants`];
  });
  const lines: string[] = declared.frozen === undefined ? [] : [`The fleet is ${declared.frozen}; nothing changes.`];
  for (const [planned, target] of targets) {
    if (target.deployment.name !== name) continue;
    const explanation = explainDeployment(snapshot, plan, planned);
    if (explanation === undefined) {
      lines.push((unsound.get(planned) as string).replaceAll(planned, name));
      continue;
    }
    const { verdicts, pending } = explanation;
    const chosen = verdicts.filter(({ kind }) => kind === 'chosen').map(({ node }) => node);
    const full = pending > 0 ? fullLines(snapshot, plan, planned, chosen) : [];
    const told = [...explanationLines(explanation, pinnedTo === undefined ? undefined : nodes.length), ...full].filter(
      isTold,
    );
    lines.push(...told.map((line) => line.replaceAll(planned, name)));
  }
  return [...lines, ...unheardOf(deployment, nodes), ...notes.filter(isTold)];
}
