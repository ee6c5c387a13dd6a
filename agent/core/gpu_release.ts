/** Whether an engine's GPUs are free of it: only a sample taken after its end can tell, and only where lists are read. */
import type { GpuSample } from '../ports.ts';

export type ReleaseVerdict =
  | { readonly kind: 'released' }
  /** The newest sample is older than the end. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'held'; readonly message: string };

/**
 * @param pids processes that the engine's tree had
 * @param endedAtMs wall-clock milliseconds of the end, the clock of samples
 */
export function judgeRelease(
  sample: GpuSample,
  gpuIds: readonly number[],
  pids: ReadonlySet<number>,
  endedAtMs: number,
): ReleaseVerdict {
  const gpus = sample.gpus.filter((gpu) => gpuIds.includes(gpu.index));
  // Without a reader or a list nobody can say that the memory is taken.
  if (sample.source === 'none' || gpus.every((gpu) => gpu.processes === undefined)) return { kind: 'released' };
  if (sample.atMs <= endedAtMs) return { kind: 'wait' };
  const held = gpus.flatMap((gpu) =>
    (gpu.processes ?? []).filter(({ pid }) => pids.has(pid)).map(({ pid }) => `pid ${pid} on GPU ${gpu.index}`),
  );
  if (held.length === 0) return { kind: 'released' };
  return { kind: 'held', message: `GPU memory is still held by ${held.join(', ')}.` };
}
