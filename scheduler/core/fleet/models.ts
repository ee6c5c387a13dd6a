/**
 * The models of the fleet as clients and operators see them: whatever an engine serves, served before its restart, or is
 * configured to serve. A model that is known but not ready gets another answer than one that nobody has heard of.
 */
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { ServedModel__Output } from '../../../proto/gen/fleet/v1/ServedModel.ts';
import type { ModelView } from '../../ports.ts';
import { isGangMember } from './gang_member.ts';
import type { EngineRecord, FleetState, NodeState } from './state.ts';

/** The engines of one model, with what they say about it. */
export interface ModelEntry {
  readonly engines: { readonly node: NodeId; readonly name: string }[];
  facts: ServedModel__Output | undefined;
}

/** By model; rebuilt when an engine or a node changes, asked for each request. */
export type ModelIndex = ReadonlyMap<string, ModelEntry>;

/** A stopped engine stands for no model any more. */
export const isGone = (engine: EngineRecord): boolean => engine.event.state === 'ENGINE_STATE_STOPPED';

/** The models that an engine stands for now: what it serves or served, else what it is meant to serve. */
export function modelsOf(node: NodeState, engine: EngineRecord): readonly string[] {
  if (engine.models.length > 0) return engine.models.map((model) => model.id);
  if (isGangMember(node, engine.name)) return [];
  const wanted = node.desired?.engines?.find((spec) => spec.name === engine.name)?.servedModelName;
  return wanted === undefined || wanted === '' ? [] : [wanted];
}

/** @param configured models of the configuration, known before any agent has come */
export function indexModels(state: FleetState, configured: readonly string[]): ModelIndex {
  const index = new Map<string, ModelEntry>();
  const entryOf = (model: string): ModelEntry => {
    const found = index.get(model) ?? { engines: [], facts: undefined };
    index.set(model, found);
    return found;
  };
  for (const model of configured) entryOf(model);
  for (const node of state.nodes.values()) {
    for (const engine of node.engines.values()) {
      if (isGone(engine)) continue;
      for (const model of modelsOf(node, engine)) {
        const entry = entryOf(model);
        entry.engines.push({ node: node.name, name: engine.name });
        entry.facts ??= engine.models.find((served) => served.id === model);
      }
    }
  }
  return index;
}

/** What one engine contributes to the view of a model. */
export interface EngineLoad {
  readonly engine: EngineId;
  readonly routable: boolean;
  readonly runningRequests: number;
}

/** The view of one model, from its entry and the state of its engines. */
export function modelView(id: string, entry: ModelEntry, loads: readonly EngineLoad[]): ModelView {
  const { facts } = entry;
  return {
    id,
    createdS: facts?.createdS ?? 0,
    ownedBy: facts?.ownedBy ?? 'sophia',
    ...(facts?.contextTokens === undefined ? {} : { contextTokens: facts.contextTokens }),
    capabilities: facts?.capabilities ?? [],
    simulated: facts?.simulated ?? false,
    readyEngines: loads.filter((load) => load.routable).length,
    engines: loads.length,
    runningRequests: loads.reduce((sum, load) => sum + load.runningRequests, 0),
  };
}
