/**
 * What reconcile would do, and why a replica is where it is: for whoever asks, computed from the moment's picture. The
 * question is put together here as plain data, and answered by foresight.ts, in a thread where the fleet is large.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { Declared, DeploymentResource } from './contract.ts';
import type { PlanView, PoolSpec, QuarantineSpec, Resource, ResourceKind } from '../resources/contract.ts';
import { engineOfPinned, pinnedName } from '../resources/pinned.ts';
import { deploymentIn } from './declared.ts';
import { nodeNames, unknownEngines } from './fleet_view.ts';
import {
  answerExplain,
  answerPlan,
  type Asked,
  type DefragmentTask,
  type ExplainTask,
  type PlanTask,
} from './foresight.ts';
import type { TargetsByName } from './carry_out.ts';
import { type PlanInput, question } from './decide.ts';
import { memoryText } from './memory_need.ts';

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

function askedWith(input: PlanInput, declared: Declared): Asked & { readonly targets: TargetsByName } {
  const { snapshot, targets, unsound } = question(input, declared);
  return {
    snapshot,
    searchSteps: input.options.searchSteps,
    deploymentOf: new Map([...targets].map(([planned, { deployment }]) => [planned, deployment.name])),
    unsound,
    frozen: declared.frozen,
    targets,
  };
}

/** Without what a thread has no use for. */
function asked(input: PlanInput, declared: Declared): Asked {
  const { targets: _targets, ...rest } = askedWith(input, declared);
  return rest;
}

/** A new revision rolls in steps: the plan has the first of them. */
function rollingOf({ deployments, places }: Declared): PlanTask['rolling'] {
  const rolling = new Set(
    places.flatMap(({ deployment, revision }) =>
      deployments.get(deployment)?.revision === revision ? [] : [deployment],
    ),
  );
  return [...deployments.values()].flatMap(({ name, revision }) => (rolling.has(name) ? [{ name, revision }] : []));
}

export const planTask = (input: PlanInput, declared: Declared): PlanTask => ({
  kind: 'plan',
  ...asked(input, declared),
  rolling: rollingOf(declared),
});

/** A declared engine whose node nobody knows waits for it. */
function unheardOf({ name, spec }: DeploymentResource, nodes: readonly string[]): string[] {
  if (spec.node === undefined || nodes.includes(spec.node)) return [];
  const words = `no agent of this name has ever come, and ${name} may run nowhere else`;
  return [`${spec.node}: refused by node_unknown: ${words}; it would fit if the node came`];
}

/** @throws CodedError not_found */
export function explainTask(input: PlanInput, name: string): ExplainTask {
  const { declared } = input;
  const deployment: DeploymentResource | undefined = declared.deployments.get(name);
  if (deployment === undefined) {
    const what = engineOfPinned(name) === undefined ? `deployment ${name}` : name;
    throw new CodedError('not_found', `There is no ${what}.`, { param: 'name' });
  }
  const pinnedTo = deployment.spec.node;
  const nodes = nodeNames(input);
  const told = pinnedTo === undefined ? nodes : nodes.filter((node) => node === pinnedTo);
  const notes = told.flatMap((node) => {
    const unknown = unknownEngines(input, node);
    return unknown.length === 0
      ? []
      : [`${node}: takes nothing until ${unknown.join(', ')} is gone, which nobody wants`];
  });
  const { targets, ...rest } = askedWith(input, declared);
  const memory = new Map(
    [...targets].flatMap(([planned, target]) => {
      const text = target.deployment.name === name ? memoryText(target.memory) : undefined;
      return text === undefined ? [] : [[planned, text] as const];
    }),
  );
  const pinned = pinnedTo === undefined ? {} : { pinned: { to: pinnedTo, nodes: nodes.length } };
  return { kind: 'explain', ...rest, name, notes: [...unheardOf(deployment, nodes), ...notes], memory, ...pinned };
}

export const defragmentTask = (input: PlanInput, maxMoves: number): DefragmentTask => ({
  kind: 'defragment',
  ...asked(input, input.declared),
  maxMoves,
});

/** Answered at once, for whoever may wait for it here. */
export const planView = (input: PlanInput, declared: Declared): PlanView => answerPlan(planTask(input, declared));

/** @throws CodedError not_found */
export const explainLines = (input: PlanInput, name: string): readonly string[] =>
  answerExplain(explainTask(input, name));
