/**
 * What the configuration asks of a node, in the form that agents take. A node that is neither named nor covered by `*`
 * gets no orders from this scheduler: what runs there is another scheduler's affair.
 */
import type { NodeId } from '../../../lib/ids.ts';
import type { DesiredState } from '../../../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineSpec } from '../../../proto/gen/fleet/v1/EngineSpec.ts';
import type { ModelSource } from '../resources/contract.ts';

/** An engine as the configuration spells it. */
export interface ConfiguredEngine {
  readonly name: string;
  readonly kind: 'vllm' | 'llama' | 'sim';
  readonly model: string;
  readonly servedModelName: string;
  readonly gpuIds: readonly number[];
  readonly extraFlags: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly unixSocket?: string | undefined;
  readonly tcpPort?: number | undefined;
  readonly limits: Readonly<Record<string, number | undefined>>;
  readonly modelSource?: Required<ModelSource> | undefined;
}

export type ConfiguredNodes = Readonly<Record<string, readonly ConfiguredEngine[]>>;

/** The kinds of engines as agents spell them. */
export const ENGINE_KINDS = { vllm: 'ENGINE_KIND_VLLM', llama: 'ENGINE_KIND_LLAMA', sim: 'ENGINE_KIND_SIM' } as const;
/** Stands for every node that is not named. */
const EVERY_OTHER = '*';

function specOf(engine: ConfiguredEngine): EngineSpec {
  const { kind, unixSocket, tcpPort, limits, gpuIds, extraFlags, environment, modelSource, ...rest } = engine;
  const given = Object.entries(limits).filter(([, value]) => value !== undefined);
  return {
    ...rest,
    kind: ENGINE_KINDS[kind],
    gpuIds: [...gpuIds],
    extraFlags: [...extraFlags],
    environment: { ...environment },
    limits: Object.fromEntries(given),
    ...(unixSocket === undefined ? {} : { unixSocket }),
    ...(tcpPort === undefined ? {} : { tcpPort }),
    ...(modelSource === undefined ? {} : { modelSource: { ...modelSource, sha256: { ...modelSource.sha256 } } }),
  };
}

/** The desired state of a node, or undefined when nothing is ordered there. */
export function desiredStateOf(nodes: ConfiguredNodes, node: NodeId, generation: number): DesiredState | undefined {
  const engines = Object.hasOwn(nodes, node) ? nodes[node] : nodes[EVERY_OTHER];
  return engines === undefined ? undefined : { generation, engines: engines.map(specOf) };
}

/** The nodes that the configuration names. */
export const namedNodes = (nodes: ConfiguredNodes): readonly string[] =>
  Object.keys(nodes).filter((name) => name !== EVERY_OTHER);

/** Every model that the configuration serves somewhere. */
export function configuredModels(nodes: ConfiguredNodes): readonly string[] {
  return [...new Set(Object.values(nodes).flatMap((engines) => engines.map((engine) => engine.servedModelName)))];
}
