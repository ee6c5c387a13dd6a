/** Small fleets for the tests of placement: whatever a test does not name is sound, empty and large enough. */
import type {
  FleetSnapshot,
  GpuSnapshot,
  NodeSnapshot,
  PlacedPart,
  Placement,
  WantedDeployment,
} from '../../../../scheduler/core/placement/contract.ts';

export const GIB = 2 ** 30;
export const NOW_MS = 100_000;

export function gpu(index: number, more: Partial<GpuSnapshot> = {}): GpuSnapshot {
  return { index, model: 'H100', totalBytes: 80 * GIB, health: 'ok', ...more };
}

/** @param gpus how many, or which */
export function node(
  name: string,
  gpus: number | readonly GpuSnapshot[],
  more: Partial<NodeSnapshot> = {},
): NodeSnapshot {
  return {
    name,
    region: 'eu-1',
    architecture: 'amd64',
    driverVersion: '570.124.06',
    health: 'ready',
    lastSeenMs: NOW_MS,
    gpus: typeof gpus === 'number' ? Array.from({ length: gpus }, (_, index) => gpu(index)) : gpus,
    ...more,
  };
}

export function deployment(name: string, more: Partial<WantedDeployment> = {}): WantedDeployment {
  return { name, model: 'm', replicas: 1, gpusPerHost: 1, gpuMemoryBytes: 70 * GIB, ...more };
}

export function placement(
  name: string,
  on: string,
  gpus: readonly number[],
  more: Partial<Placement> & Partial<PlacedPart> = {},
): Placement {
  const { gpuMemoryBytes = 70 * GIB, usedBytes, hostMemoryBytes = 0, index = 0, priority = 50, ...rest } = more;
  const part = { node: on, gpus, gpuMemoryBytes, hostMemoryBytes, ...(usedBytes === undefined ? {} : { usedBytes }) };
  return { deployment: name, index, model: 'm', priority, sharing: 'exclusive', parts: [part], ...rest };
}

export function snapshot(
  nodes: readonly NodeSnapshot[],
  deployments: readonly WantedDeployment[],
  placements: readonly Placement[] = [],
): FleetSnapshot {
  return { version: 1, nowMs: NOW_MS, staleAfterMs: 30_000, nodes, deployments, placements };
}
