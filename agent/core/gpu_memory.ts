/**
 * Whose memory is on the GPUs: the driver lists processes, the keepers know which process belongs to which engine, and
 * the two lists are joined by pid.
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
