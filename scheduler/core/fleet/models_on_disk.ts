/** What a node has on disk, in the names by which placement knows models: it prefers a node that need not fetch. */
import { sourceName } from '../../../lib/model_source.ts';
import type { ModelSource } from '../resources/contract.ts';
import type { NodeState } from './state.ts';

/** A folder has one name, be it given as a path or as a source that is used where it is. */
export const plainName = (name: string): string =>
  /^(?:file:\/)?\/./.test(name) ? name.replace(/^file:\/\//, '').replace(/(.)\/+$/, '$1') : name;

/** What a deployment's model is called where it is asked whether a node has it. */
export const modelName = ({ model, source }: { readonly model: string; readonly source?: ModelSource }): string =>
  plainName(source === undefined ? model : sourceName(source));

/** The models that are whole on the disk of a node, for `modelsOnDisk` of placement's picture of it. */
export const modelsOnDisk = ({ telemetry }: Pick<NodeState, 'telemetry'>): readonly string[] =>
  (telemetry?.models ?? []).flatMap(({ source, state }) => (state === 'ready' ? [plainName(source)] : []));
