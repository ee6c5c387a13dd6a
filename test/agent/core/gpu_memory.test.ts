/** Joining the driver's process lists with the engines' processes. */
import t from 'tap';
import { gpuMemoryByEngine } from '../../../agent/core/gpu_memory.ts';
import type { GpuSample } from '../../../agent/ports.ts';

const sample: GpuSample = {
  source: 'nvml',
  atMs: 0,
  gpus: [
    { index: 0, processes: [{ pid: 10, memoryBytes: 100 }, { pid: 11, memoryBytes: 20 }, { pid: 99 }] },
    { index: 1, processes: [{ pid: 10, memoryBytes: 300 }] },
    { index: 2 },
  ],
};

t.test('memory is summed over processes and GPUs; what is unknown in part is unknown', async (t) => {
  const engines = new Map([
    ['two', [10]],
    ['child', [11, 12]],
    ['none', [50]],
    ['hidden', [11, 99]],
  ]);
  t.same(
    [...gpuMemoryByEngine(sample, engines)],
    [
      ['two', 400],
      ['child', 20],
      ['none', 0],
    ],
  );
  t.same([...gpuMemoryByEngine({ source: 'nvidia-smi', atMs: 0, gpus: [{ index: 0 }] }, engines)], []);
});
