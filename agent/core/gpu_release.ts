/**
 * Whether an engine's GPUs are free of it: a GPU is released only when its memory is, whatever the process table says.
 * Only a list of processes that was asked for after the end can tell, and it takes one of every GPU; what is unknown is
 * never taken for released. How long that takes on real GPUs: docs/GPU.md.
 */
import type { GpuSample } from '../ports.ts';

export type ReleaseVerdict =
  | { readonly kind: 'released' }
  /** A later sample may tell. */
  | { readonly kind: 'wait' | 'held'; readonly message: string }
  /** No sample of this reader tells it. */
  | { readonly kind: 'blind'; readonly message: string };

const MIB = 2 ** 20;

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
  if (sample.source === 'none')
    return { kind: 'blind', message: 'Whether its GPU memory is free cannot be read here: GPUs are not read.' };
  const held: string[] = [];
  for (const gpu of gpuIds) {
    const { processes, processesAtMs = sample.atMs } = sample.gpus.find(({ index }) => index === gpu) ?? {};
    if (processesAtMs <= endedAtMs)
      return { kind: 'wait', message: 'Whether its GPU memory is free could not be read: no sample came in time.' };
    if (processes === undefined)
      return {
        // NVML reads its list less often than the rest; nvidia-smi prints both at once.
        kind: sample.source === 'nvml' ? 'wait' : 'blind',
        message: `Whether its GPU memory is free could not be read: GPU ${gpu} lists no processes.`,
      };
    for (const { pid, memoryBytes } of processes.filter((one) => pids.has(one.pid))) {
      const size = memoryBytes === undefined ? '' : ` (${Math.round(memoryBytes / MIB)} MiB)`;
      held.push(`pid ${pid} on GPU ${gpu}${size}`);
    }
  }
  if (held.length === 0) return { kind: 'released' };
  return { kind: 'held', message: `GPU memory is still held by ${held.join(', ')}.` };
}
