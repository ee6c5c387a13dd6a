/**
 * What this scheduler has learned of models: the facts that agents read out of their files, and what engines of them were
 * seen to use. It is a read model of what agents push and of nothing else: a new leader is told it again. It outlives the
 * files, for a model that was evicted everywhere is as large as before. One per process.
 */
import type { NodeId } from '../../../lib/ids.ts';
import type { EngineReading__Output } from '../../../proto/gen/fleet/v1/EngineReading.ts';
import { type ModelFacts, modelFactsOf } from '../fleet/model_facts.ts';
import { modelName, plainName } from '../fleet/models_on_disk.ts';
import type { FleetState } from '../fleet/state.ts';
import { engineUseOf, useKey } from '../placement/memory/engine_use.ts';
import type { EngineUse, MemoryEstimate } from '../placement/memory/estimate.ts';
import type { MeasuredMemory } from '../placement/memory/measured.ts';
import type { DeploymentSpec } from '../resources/contract.ts';
import type { Declared, Place } from './contract.ts';
import { shapeOf } from './gang.ts';

/** What one engine was seen to use, on each of its GPUs. */
export interface EngineFigures {
  /** Of its processes, by the driver's list. */
  readonly usedBytes?: number;
  readonly weightsBytes?: number;
  readonly kvCacheBytes?: number;
  readonly activationBytes?: number;
  readonly kvCacheTokens?: number;
  /** It fills what it is given with KV cache, as vLLM does. */
  readonly fills: boolean;
}

export interface ModelKnowledge {
  /** Goes up when the facts of a model become known or change. */
  readonly version: number;
  /** Undefined: no agent has looked at its files. @param model as `modelName` calls it */
  factsOf(model: string): ModelFacts | undefined;
  figuresOf(model: string, use: EngineUse): readonly EngineFigures[];
}

export const KNOWS_NOTHING: ModelKnowledge = { version: 0, factsOf: () => undefined, figuresOf: () => [] };

const MOST_MODELS = 1024;
const MOST_NODES_PER_MODEL = 16;
const MOST_KINDS = 1024;
const MOST_ENGINES_PER_KIND = 16;

/** Sets, and forgets what was set longest ago. */
function setBounded<Key, Value>(map: Map<Key, Value>, key: Key, value: Value, most: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > most) map.delete(oldest as Key);
}

/** How an engine of a deployment uses its model; over several hosts as its members are told to (gang.ts). */
export function useOf(spec: DeploymentSpec, shape: NonNullable<ModelFacts['shape']>): EngineUse {
  const { hosts = 1 } = spec;
  const divided = spec.engine === 'vllm' && hosts > 1 ? shapeOf(spec, hosts) : undefined;
  return engineUseOf(
    {
      extraFlags: spec.extraFlags,
      gpus: spec.gpusPerHost * hosts,
      gpusPerHost: spec.gpusPerHost,
      ...(divided === undefined ? {} : { divided }),
      ...(spec.maxConcurrentRequests === undefined ? {} : { maxConcurrentRequests: spec.maxConcurrentRequests }),
    },
    shape,
  );
}

const isWhole = ({ shape, weightBytes }: ModelFacts): boolean => shape !== undefined && weightBytes !== undefined;

export class ModelBook implements ModelKnowledge {
  version = 0;
  /** By model, then by the node that tells it. */
  readonly #facts = new Map<string, Map<string, ModelFacts>>();
  /** By model and use, then by the engine in the fleet. */
  readonly #figures = new Map<string, Map<string, EngineFigures>>();
  /** Lists and readings are replaced when they change, so each is looked at once. */
  readonly #seen = new WeakSet<object>();

  learn({ places }: Pick<Declared, 'places'>, fleet: FleetState): void {
    for (const [name, { telemetry }] of fleet.nodes) {
      const models = telemetry?.models;
      if (models === undefined || this.#seen.has(models)) continue;
      this.#seen.add(models);
      for (const reading of models) this.#learnFacts(name, plainName(reading.source), modelFactsOf(reading));
    }
    for (const place of places)
      if (place.phase === 'placed' || place.phase === 'leaving') this.#learnFigures(place, fleet);
  }

  factsOf(model: string): ModelFacts | undefined {
    let best: ModelFacts | undefined;
    for (const facts of this.#facts.get(model)?.values() ?? []) {
      const isBetter =
        best === undefined ||
        Number(isWhole(facts)) - Number(isWhole(best)) > 0 ||
        (isWhole(facts) === isWhole(best) && (facts.weightBytes ?? 0) > (best.weightBytes ?? 0));
      // Where a branch moved on between two fetches the larger one counts.
      if (isBetter) best = facts;
    }
    return best;
  }

  figuresOf(model: string, use: EngineUse): readonly EngineFigures[] {
    return [...(this.#figures.get(`${model} ${useKey(use)}`)?.values() ?? [])];
  }

  #learnFacts(node: string, model: string, facts: ModelFacts | undefined): void {
    if (facts === undefined) return;
    const byNode = this.#facts.get(model) ?? new Map<string, ModelFacts>();
    const isNew = JSON.stringify(byNode.get(node)) !== JSON.stringify(facts);
    setBounded(byNode, node, facts, MOST_NODES_PER_MODEL);
    setBounded(this.#facts, model, byNode, MOST_MODELS);
    if (isNew) this.version += 1;
  }

  /** Of all hosts of a place: stages of a pipeline are not alike, and the one that needs most counts. */
  #learnFigures(place: Place, fleet: FleetState): void {
    for (const part of place.parts) if (part.gpus.length > 0) this.#learnPart(place, part, fleet);
  }

  #learnPart({ engine, spec }: Place, part: Place['parts'][number], fleet: FleetState): void {
    const record = fleet.nodes.get(part.node as NodeId)?.engines.get(engine);
    const reading = record?.reading;
    if (reading === undefined || record?.event.state !== 'ENGINE_STATE_READY' || this.#seen.has(reading)) return;
    const model = modelName(spec);
    const shape = this.factsOf(model)?.shape;
    if (shape === undefined) return;
    this.#seen.add(reading);
    const key = `${model} ${useKey(useOf(spec, shape))}`;
    const ofKind = this.#figures.get(key) ?? new Map<string, EngineFigures>();
    const figures = figuresIn(reading, part.gpus.length, spec.engine === 'vllm');
    const name = `${part.node}/${engine}`;
    // An engine takes more once it works; it is the most that a place must hold.
    const usedBytes = Math.max(figures.usedBytes ?? 0, ofKind.get(name)?.usedBytes ?? 0);
    setBounded(ofKind, name, { ...figures, ...(usedBytes > 0 ? { usedBytes } : {}) }, MOST_ENGINES_PER_KIND);
    setBounded(this.#figures, key, ofKind, MOST_KINDS);
  }
}

function figuresIn(reading: EngineReading__Output, gpus: number, fills: boolean): EngineFigures {
  const { gpuMemoryBytes, weightsBytes, kvCacheBytes, activationBytes, kvCacheTokens } = reading;
  const usedBytes = gpuMemoryBytes === undefined ? undefined : Math.ceil(gpuMemoryBytes / gpus);
  const told = { usedBytes, weightsBytes, kvCacheBytes, activationBytes, kvCacheTokens };
  const known = Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined && value > 0));
  return { ...known, fills };
}

/**
 * What the figures of an engine say of the parts of an estimate. Of the whole that its processes use, what is neither weights
 * nor KV cache nor activations is overhead. An engine that fills its share with KV cache says nothing by that whole, unless
 * the size of its cache is known.
 * @param estimate of an engine that uses the model alike
 */
export function measuredOf(figures: EngineFigures, estimate: MemoryEstimate, hasWindows: boolean): MeasuredMemory {
  const { usedBytes, weightsBytes, kvCacheBytes, activationBytes, kvCacheTokens, fills } = figures;
  const perToken = kvCacheBytes === undefined || kvCacheTokens === undefined ? undefined : kvCacheBytes / kvCacheTokens;
  // Layers with windows make a token of the cache something else than a token of the estimate.
  const byTokens =
    kvCacheTokens === undefined || hasWindows ? undefined : kvCacheTokens * (perToken ?? estimate.kvBytesPerToken);
  const kvBytes = kvCacheBytes ?? byTokens ?? (fills ? undefined : estimate.kvBytes);
  const rest =
    usedBytes === undefined || kvBytes === undefined
      ? undefined
      : usedBytes - kvBytes - (weightsBytes ?? estimate.weightsBytes) - (activationBytes ?? estimate.activationBytes);
  return {
    ...(weightsBytes === undefined ? {} : { weightsBytes }),
    ...(activationBytes === undefined ? {} : { activationBytes }),
    ...(perToken === undefined || hasWindows ? {} : { kvBytesPerToken: perToken }),
    ...(rest === undefined ? {} : { overheadBytes: Math.max(0, rest) }),
  };
}
