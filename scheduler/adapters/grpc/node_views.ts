/** Nodes as operators see them: what agents told, and what is declared of them, also of those whose agent never came. */
import type { Node } from '../../../proto/gen/admin/v1/Node.ts';
import type { NodeDeclaration } from '../../../proto/gen/admin/v1/NodeDeclaration.ts';
import type { DeclaredNode, ResourceOperations } from '../../core/resources/operations.ts';
import type { NodeState } from '../../core/fleet/state.ts';
import { type AdminFleet, nodeOf } from './admin_views.ts';

type Declared = Pick<ResourceOperations, 'declaredNodes'> | undefined;

function declarationOf({ spec, updatedAtMs, updatedBy, reason }: DeclaredNode): NodeDeclaration {
  const { region = '', cordoned = false, draining = false, retired = false, taints = [] } = spec;
  const texts = taints.map(({ key, value, effect }) => `${key}${value === undefined ? '' : `=${value}`}:${effect}`);
  return { region, cordoned, draining, retired, taints: texts, updatedAtMs, updatedBy, reason };
}

/** One that this scheduler has seen. */
export function seenNodeOf(fleet: AdminFleet, node: NodeState, resources: Declared): Node {
  const declared = resources?.declaredNodes().find(({ name }) => name === node.name);
  return { ...nodeOf(fleet, node), declared: declared === undefined ? null : declarationOf(declared) };
}

/** All nodes: those that were seen, then those that are only declared. */
export function nodesOf(fleet: AdminFleet, resources: Declared): Node[] {
  const { nodes } = fleet.inspector.directory.state;
  const declared = new Map((resources?.declaredNodes() ?? []).map((one) => [one.name, declarationOf(one)]));
  const seen = [...nodes.values()].map((node) => ({
    ...nodeOf(fleet, node),
    declared: declared.get(node.name) ?? null,
  }));
  const known = new Set<string>(nodes.keys());
  const awaited = [...declared].flatMap(([name, declaration]): Node[] =>
    known.has(name) ? [] : [{ name, connected: false, declared: declaration }],
  );
  return [...seen, ...awaited];
}
