/**
 * What reconcile would do, and why a replica is where it is: for whoever asks, computed from the moment's picture. The
 * question is put together here as plain data, and answered by foresight.ts, in a thread where the fleet is large.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { Declared, DeploymentResource } from './contract.ts';
import type { PlanView, PoolSpec, Resource, ResourceKind } from '../resources/contract.ts';
import { deploymentOf } from './declared.ts';
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
  for (const { kind, metadata, spec } of applied) {
    const { name, labels } = metadata;
    const before = deployments.get(name);
    if (kind === 'Deployment') {
      const rollout = before?.rollout === undefined ? {} : { rollout: before.rollout };
      deployments.set(name, { ...deploymentOf(name, before?.version ?? 0, spec), ...rollout });
    }
    if (kind === 'Node') nodes.set(name, { spec, labels });
    if (kind === 'Pool') pools.set(name, spec as unknown as PoolSpec);
  }
  for (const { kind, name } of deleted) {
    if (kind === 'Deployment') deployments.delete(name);
    else if (kind === 'Node') nodes.delete(name);
    else if (kind === 'Pool') pools.delete(name);
  }
  return { ...declared, deployments, nodes, pools };
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

/** @throws CodedError not_found */
export function explainTask(input: PlanInput, name: string): ExplainTask {
  const { declared } = input;
  const deployment: DeploymentResource | undefined = declared.deployments.get(name);
  if (deployment === undefined) throw new CodedError('not_found', `There is no deployment ${name}.`, { param: 'name' });
  const notes = nodeNames(input).flatMap((node) => {
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
  return { kind: 'explain', ...rest, name, notes, memory };
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
