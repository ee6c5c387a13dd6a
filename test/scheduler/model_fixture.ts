/** A model and a fleet that several tests of placement speak of. */
import type { ModelShape } from '../../lib/model_shape.ts';
import type { FleetSnapshot } from '../../scheduler/core/placement/contract.ts';

/** Llama 3.1 8B: 128 KiB of KV cache a token. */
export const LLAMA_8B = {
  hidden: 4096,
  vocabulary: 128_256,
  intermediate: 14_336,
  expertIntermediate: 0,
  expertsPerToken: 0,
  fullLayers: 32,
  windowLayers: 0,
  windowTokens: 0,
  kvHeads: 8,
  headDim: 128,
  latentDim: 0,
  dtypeBytes: 2,
  maxPositions: 131_072,
} as const satisfies Omit<ModelShape, 'kind'>;

/** One deployment that wants so many replicas of one host with one GPU. */
export const oneNodeFleet = (deployment: string, replicas: number): FleetSnapshot => ({
  version: 1,
  nowMs: 0,
  staleAfterMs: 1000,
  nodes: [
    {
      name: 'n1',
      region: 'r',
      architecture: 'amd64',
      health: 'ready',
      lastSeenMs: 0,
      gpus: [{ index: 0, model: 'H100', totalBytes: 100, health: 'ok' }],
    },
  ],
  deployments: [{ name: deployment, model: 'm', replicas, gpusPerHost: 1, gpuMemoryBytes: 10 }],
  placements: [],
});
