/**
 * Pack or spread: full GPUs and nodes first, so that whole ones stay free for what needs them, or empty ones first, so that
 * replicas disturb each other least. GPU and node count alike. In the way of Nomad's bin-packing and spread scores and of
 * Kubernetes' MostAllocated and LeastAllocated, but linear, so that a plan's sum does not hang on the order of its steps.
 */
import type { PartScore } from './score.ts';

export const fill: PartScore = {
  name: 'fill',
  weight: 1,
  of({ isPacked, gpuFill, nodeFill }) {
    const taken = (gpuFill + nodeFill) / 2;
    return isPacked ? taken : 1 - taken;
  },
};
