/**
 * From places to the desired state of each node. What a node is told depends on the log and the configuration alone, so that
 * every leader says the same; its generation is the log's number at which it last changed, and so only rises.
 */
import type { DesiredState } from '../../../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineSpec } from '../../../proto/gen/fleet/v1/EngineSpec.ts';
import { ENGINE_KINDS } from '../fleet/desired.ts';
import type { AssignedPart } from '../placement/contract.ts';
import type { ModelSource } from '../resources/contract.ts';
import type { Place } from './contract.ts';
import { gangFlags, shapeOf } from './gang.ts';
import { isOrderedOn, sharingOf } from './places.ts';

/** An engine's share of a GPU is said with three digits, rounded down: two halves must not be more than one. */
const SHARE_STEPS = 1000;

const names = (flags: readonly string[], ...spellings: string[]): boolean =>
  flags.some((flag) => spellings.some((name) => flag === name || flag.startsWith(`${name}=`)));

function shareOf({ gpuMemoryShare }: AssignedPart): number {
  return Math.max(1, Math.floor(Math.min(1, gpuMemoryShare) * SHARE_STEPS)) / SHARE_STEPS;
}

/** Flags that follow from the place; what the deployment says itself wins. Only vLLM divides a model or a GPU. */
function placeFlags({ spec, gang }: Place, part: AssignedPart): string[] {
  if (spec.engine !== 'vllm') return [];
  const given = spec.extraFlags.map((flag) => flag.replaceAll('_', '-'));
  const flags: string[] = [];
  const { length: gpusPerHost } = part.gpus;
  const tensor = gang === undefined && gpusPerHost > 1 ? shapeOf({ ...spec, gpusPerHost }, 1)?.tensor : undefined;
  if (tensor !== undefined && !names(given, '--tensor-parallel-size', '-tp'))
    flags.push('--tensor-parallel-size', String(tensor));
  // Without a need of memory the engine takes what it takes of a GPU that is its own.
  if (spec.gpuMemoryBytes !== undefined && part.gpus.length > 0 && !names(given, '--gpu-memory-utilization')) {
    flags.push('--gpu-memory-utilization', String(shareOf(part)));
  }
  return flags;
}

const sourceMessage = ({ url, revision = '', sha256 = {} }: ModelSource) => ({ url, revision, sha256: { ...sha256 } });

/** The engine of a place on one of its nodes. */
export function engineSpec(place: Place, part: AssignedPart): EngineSpec {
  const { engine, spec, gang } = place;
  const { maxConcurrentRequests, source } = spec;
  const isShared = part.gpus.length > 0 && sharingOf(spec) !== 'exclusive';
  return {
    name: engine,
    kind: ENGINE_KINDS[spec.engine],
    model: spec.model,
    servedModelName: spec.servedModelName,
    gpuIds: [...part.gpus],
    extraFlags: [...spec.extraFlags, ...placeFlags(place, part), ...gangFlags(place, part)],
    environment: { ...spec.environment },
    limits: {
      ...(maxConcurrentRequests === undefined ? {} : { maxConcurrentRequests }),
      // A member that its agent starts again by itself would find no gang.
      ...(gang === undefined ? {} : { maxRestarts: 0 }),
    },
    ...(isShared ? { gpuMemoryShare: shareOf(part) } : {}),
    ...(source === undefined ? {} : { modelSource: sourceMessage(source) }),
  };
}

/** Engines that are to run on each node, by their names. */
export function enginesByNode(places: readonly Place[]): Map<string, EngineSpec[]> {
  const found = new Map<string, EngineSpec[]>();
  for (const place of places) {
    for (const part of place.parts) {
      if (!isOrderedOn(place, part.node)) continue;
      const engines = found.get(part.node) ?? [];
      engines.push(engineSpec(place, part));
      found.set(part.node, engines);
    }
  }
  for (const engines of found.values())
    engines.sort((left, right) => ((left.name as string) < (right.name as string) ? -1 : 1));
  return found;
}

interface Order {
  readonly desired: DesiredState;
  readonly text: string;
}

/** What each node is told, with the generation that belongs to it. One per process. */
export class OrderBook {
  readonly #orders = new Map<string, Order>();
  /** Of the configuration: undefined where it says nothing. */
  readonly #configured: (node: string) => readonly EngineSpec[] | undefined;
  #engines: ReadonlyMap<string, readonly EngineSpec[]> = new Map();
  #seq = 0;

  constructor(configured: (node: string) => readonly EngineSpec[] | undefined) {
    this.#configured = configured;
  }

  /**
   * Takes up what the log says now.
   * @returns the nodes that are told something else from now on, of those that were told anything before
   */
  update(places: readonly Place[], seq: number): string[] {
    this.#engines = enginesByNode(places);
    this.#seq = seq;
    return [...this.#orders].flatMap(([node, before]) => (this.#refresh(node) === before ? [] : [node]));
  }

  of(node: string): DesiredState {
    return this.#refresh(node).desired;
  }

  #refresh(node: string): Order {
    const engines = [...(this.#configured(node) ?? []), ...(this.#engines.get(node) ?? [])];
    const text = JSON.stringify(engines);
    const before = this.#orders.get(node);
    if (before?.text === text) return before;
    const order = { desired: { generation: this.#seq, engines }, text };
    this.#orders.set(node, order);
    return order;
  }
}
