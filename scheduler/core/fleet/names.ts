/** Finds nodes and engines by what a person types; a name that fits several engines is answered with their names. */
import { CodedError } from '../../../lib/errors.ts';
import type { EngineId, NodeId, RequestId, TenantId } from '../../../lib/ids.ts';
import { type EngineRecord, type FleetState, findEngine, type NodeState } from './state.ts';

const MAX_NAMES_SHOWN = 5;

/** @throws CodedError not_found */
export function nodeNamed(state: FleetState, name: string, param = 'name'): NodeState {
  const node = state.nodes.get(name as NodeId);
  if (node === undefined) throw new CodedError('not_found', 'There is no node of this name.', { param });
  return node;
}

/**
 * Finds an engine by `node/engine`, or by its own name where only one engine has it.
 * @throws CodedError not_found, invalid_value when the name is not unique
 */
export function engineNamed(
  state: FleetState,
  name: string,
  param = 'name',
): { readonly node: NodeState; readonly engine: EngineRecord } {
  const exact = findEngine(state, name as EngineId);
  const found = exact === undefined ? withName(state, name) : [exact];
  if (found.length > 1) {
    const names = found.map((engine) => engine.id).slice(0, MAX_NAMES_SHOWN);
    throw new CodedError('invalid_value', `Several engines have this name: ${names.join(', ')}.`, { param });
  }
  const [engine] = found;
  if (engine === undefined) throw new CodedError('not_found', 'There is no engine of this name.', { param });
  return { node: nodeNamed(state, engine.node, param), engine };
}

function withName(state: FleetState, name: string): EngineRecord[] {
  return [...state.nodes.values()].flatMap((node) => node.engines.get(name) ?? []);
}

/** What names a request of one tenant: a request id may come twice in a fleet. NUL is in neither. */
export const keyOf = (tenant: TenantId, id: RequestId): string => `${tenant}\0${id}`;
