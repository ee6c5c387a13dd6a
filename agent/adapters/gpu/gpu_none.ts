/** The reader of a host without GPUs, or of one that was told not to look. */
import type { GpuReader } from '../../ports.ts';

export function createNoGpuReader(reason: string, atMs: number): GpuReader {
  const sample = { source: 'none', atMs, gpus: [], reason } as const;
  return {
    latest: () => sample,
    onIncident: () => undefined,
    onSample: () => undefined,
    readProcessesSoon: () => undefined,
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
  };
}
