/** What the health of a GPU asks of the engines on it. */
import type { LoopCore } from './parts.ts';

export interface GpuOrder {
  readonly kind: 'restart_engines' | 'quarantine' | 'release';
  readonly gpu: number;
  readonly reason: string;
  readonly message: string;
}

export function carryOutGpuOrder(core: LoopCore, order: GpuOrder): void {
  const { kind, gpu, reason, message } = order;
  for (const { life } of [...core.runtimes()]) {
    const { name, gpuIds } = life.spec;
    if (!gpuIds.includes(gpu)) continue;
    if (kind === 'restart_engines') core.send(name, { kind: 'restart', reason, message, drain: false });
    else if (kind === 'quarantine') core.send(name, { kind: 'quarantine', message });
    else {
      // An engine on several GPUs waits for the last of them.
      const stillBad = (core.parts.quarantinedGpus?.() ?? []).some((one) => one !== gpu && gpuIds.includes(one));
      if (!stillBad) core.send(name, { kind: 'lift', message });
    }
  }
}
