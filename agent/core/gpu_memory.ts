/**
 * Whose memory is on the GPUs: the driver lists processes, the keepers know which process belongs to which engine, and
 * the two lists are joined by pid. A GPU is released only when its memory is, whatever the process table says.
 */
import type { GpuSample } from '../ports.ts';

/**
 * Bytes of GPU memory per engine, summed over GPUs. An engine is absent where no list could be read, or where the driver
 * does not tell the memory of one of its processes: a part would look like the whole.
 */
export function gpuMemoryByEngine(
  sample: GpuSample,
  pidsByEngine: ReadonlyMap<string, readonly number[]>,
): Map<string, number> {
  const lists = sample.gpus.flatMap(({ processes }) => (processes === undefined ? [] : [processes]));
  const result = new Map<string, number>();
  if (lists.length === 0) return result;
  for (const [engine, pids] of pidsByEngine) {
    const own = lists.flat().filter(({ pid }) => pids.includes(pid));
    const known = own.flatMap(({ memoryBytes }) => memoryBytes ?? []);
    if (known.length === own.length)
      result.set(
        engine,
        known.reduce((sum, bytes) => sum + bytes, 0),
      );
  }
  return result;
}

export interface GpuHoldout {
  readonly gpu: number;
  readonly pid: number;
  readonly memoryBytes?: number;
}

/**
 * Of these processes, the ones that still hold memory on these GPUs; `unknown` where a list cannot be read now, so that
 * nobody takes silence for release. Pass a sample that is newer than the end of the processes.
 */
export function gpuHoldouts(
  sample: GpuSample,
  pids: readonly number[],
  gpuIds: readonly number[],
): readonly GpuHoldout[] | 'unknown' {
  const holdouts: GpuHoldout[] = [];
  for (const id of gpuIds) {
    const processes = sample.gpus.find(({ index }) => index === id)?.processes;
    if (processes === undefined) return 'unknown';
    for (const { pid, memoryBytes } of processes)
      if (pids.includes(pid)) holdouts.push({ gpu: id, pid, ...(memoryBytes === undefined ? {} : { memoryBytes }) });
  }
  return holdouts;
}
