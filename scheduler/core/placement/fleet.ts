/**
 * The nodes of a snapshot as numbers: one row a GPU in typed arrays, the GPUs of a node side by side, nodes in the order of
 * their names. Built once for a plan; what changes while planning is in board.ts.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { GpuSnapshot, NodeSnapshot } from './contract.ts';

export interface Fleet {
  readonly nodes: readonly NodeSnapshot[];
  readonly indexOf: ReadonlyMap<string, number>;
  /** The GPUs of node n are the rows gpuStart[n] to gpuStart[n + 1] - 1. */
  readonly gpuStart: Int32Array;
  readonly gpus: readonly GpuSnapshot[];
  readonly totalBytes: Float64Array;
  /** Sound and not in quarantine. */
  readonly usable: Uint8Array;
  readonly modelId: Int32Array;
  readonly models: readonly string[];
  /** -1: none. */
  readonly island: Int32Array;
  readonly numa: Int32Array;
  readonly coherent: Uint8Array;
  readonly degraded: Uint8Array;
  readonly maxEngines: Int32Array;
  /** Promised to others than placements. */
  readonly otherPromisedBytes: Float64Array;
  /** Memory of all GPUs of a node. */
  readonly nodeBytes: Float64Array;
  /** Of a node: the memory of its largest and of its smallest GPU, and how many of its GPUs one NVLink island or socket has at most. */
  readonly largestGpu: Float64Array;
  readonly smallestGpu: Float64Array;
  readonly largestIsland: Int32Array;
  readonly largestNuma: Int32Array;
}

const MOST_ENGINES_A_GPU = 16;
const MOST_NODES = 100_000;
const MOST_GPUS_A_NODE = 64;

/** @throws CodedError invalid_value: two nodes of one name, two GPUs of one index, memory that is no whole number, too many */
export function compileFleet(unsorted: readonly NodeSnapshot[]): Fleet {
  if (unsorted.length > MOST_NODES) throw invalid(`A fleet has at most ${MOST_NODES} nodes.`, 'nodes');
  const nodes = unsorted.toSorted((left, right) => (left.name < right.name ? -1 : left.name > right.name ? 1 : 0));
  const indexOf = new Map<string, number>();
  const gpuStart = new Int32Array(nodes.length + 1);
  const gpus: GpuSnapshot[] = [];
  for (const [n, node] of nodes.entries()) {
    if (indexOf.has(node.name)) throw invalid(`Two nodes have the name ${node.name}.`, 'nodes');
    indexOf.set(node.name, n);
    for (const gpu of checkedGpus(node)) gpus.push(gpu);
    gpuStart[n + 1] = gpus.length;
  }
  const models = [...new Set(gpus.map((gpu) => gpu.model))].toSorted();
  const modelIds = new Map(models.map((model, id) => [model, id]));
  const numbers = (of: (gpu: GpuSnapshot) => number): Int32Array => Int32Array.from(gpus, of);
  const flags = (of: (gpu: GpuSnapshot) => boolean): Uint8Array => Uint8Array.from(gpus, (gpu) => (of(gpu) ? 1 : 0));
  return {
    nodes,
    indexOf,
    gpuStart,
    gpus,
    totalBytes: Float64Array.from(gpus, (gpu) => gpu.totalBytes),
    usable: flags((gpu) => gpu.health !== 'failed' && gpu.quarantine === undefined),
    modelId: numbers((gpu) => modelIds.get(gpu.model) as number),
    models,
    island: numbers((gpu) => gpu.nvlinkIsland ?? -1),
    numa: numbers((gpu) => gpu.numaNode ?? -1),
    coherent: flags((gpu) => gpu.coherent === true),
    degraded: flags((gpu) => gpu.health === 'degraded'),
    maxEngines: numbers((gpu) => gpu.maxEngines ?? MOST_ENGINES_A_GPU),
    otherPromisedBytes: Float64Array.from(gpus, (gpu) => gpu.promisedBytes ?? 0),
    nodeBytes: Float64Array.from(nodes, (node) => node.gpus.reduce((sum, gpu) => sum + gpu.totalBytes, 0)),
    largestGpu: Float64Array.from(nodes, (node) => Math.max(...node.gpus.map((gpu) => gpu.totalBytes))),
    smallestGpu: Float64Array.from(nodes, (node) => Math.min(...node.gpus.map((gpu) => gpu.totalBytes))),
    largestIsland: Int32Array.from(nodes, (node) => largestGroup(node.gpus.map((gpu) => gpu.nvlinkIsland))),
    largestNuma: Int32Array.from(nodes, (node) => largestGroup(node.gpus.map((gpu) => gpu.numaNode))),
  };
}

function largestGroup(ids: readonly (number | undefined)[]): number {
  const sizes = new Map<number, number>();
  for (const id of ids) if (id !== undefined) sizes.set(id, (sizes.get(id) ?? 0) + 1);
  return Math.max(0, ...sizes.values());
}

function checkedGpus(node: NodeSnapshot): GpuSnapshot[] {
  if (node.gpus.length > MOST_GPUS_A_NODE)
    throw invalid(`${node.name} has more than ${MOST_GPUS_A_NODE} GPUs.`, 'nodes.gpus');
  const gpus = node.gpus.toSorted((left, right) => left.index - right.index);
  for (const [i, gpu] of gpus.entries()) {
    if (i > 0 && gpus[i - 1]?.index === gpu.index)
      throw invalid(`${node.name} has two GPUs of the index ${gpu.index}.`, 'nodes.gpus');
    for (const bytes of [gpu.totalBytes, gpu.freeBytes ?? 0, gpu.promisedBytes ?? 0]) wholeBytes(bytes, node.name);
  }
  const host = node.hostMemory;
  for (const bytes of [host?.totalBytes ?? 0, host?.freeBytes ?? 0, host?.promisedBytes ?? 0])
    wholeBytes(bytes, node.name);
  return gpus;
}

function wholeBytes(bytes: number, of: string): void {
  if (!Number.isSafeInteger(bytes) || bytes < 0)
    throw invalid(`Memory of ${of} is no whole number of bytes: ${bytes}.`, 'bytes');
}

export function invalid(message: string, param: string): CodedError {
  return new CodedError('invalid_value', message, { param });
}

/** The row of a node's GPU by its index; -1: it has none. */
export function gpuRow(fleet: Fleet, node: number, index: number): number {
  for (let g = fleet.gpuStart[node] as number; g < (fleet.gpuStart[node + 1] as number); g++)
    if (fleet.gpus[g]?.index === index) return g;
  return -1;
}
