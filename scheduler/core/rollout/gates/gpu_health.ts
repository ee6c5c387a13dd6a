/** The GPUs under the new replicas stay sound: a revision that breaks them shows it in the driver's events first. */
import { type Gate, failed, passed, WATCHED, waits } from './gate.ts';

export const gpuHealth: Gate = {
  name: 'gpu_health',
  phases: WATCHED,
  ask({ census: { fresh } }) {
    const bad = fresh.find(({ gpu }) => gpu === 'failed') ?? fresh.find(({ gpu }) => gpu === 'degraded');
    if (bad === undefined) return passed();
    const facts = { replica: bad.key, health: bad.gpu ?? '', reason: bad.gpuReason ?? '' };
    // A GPU that is only degraded may have been so before: it holds the rollout up and does not turn it back.
    return bad.gpu === 'failed' ? failed('gpu_health', facts) : waits('gpu_health', facts);
  },
};
