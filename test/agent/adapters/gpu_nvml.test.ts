/** GPUs read by NVML: a false library behind the real addon in the real sensor process, and what it tells. */
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { createGpuReader } from '../../../agent/adapters/gpu/gpu_sensor.ts';
import { gpuMemoryByEngine } from '../../../agent/core/gpu_memory.ts';
import { judgeRelease } from '../../../agent/core/gpu_release.ts';
import { createFakeNvml, gh200 } from '../../../bench/gpu/fake_nvml.ts';
import { until } from '../../support/fake_scheduler.ts';
import { gpuBench, opened, OPTIONS } from '../../support/gpu_bench.ts';

t.setTimeout(180_000);

t.test('every reading of a GPU that tells all of it, in base units', async (t) => {
  const b = gpuBench(t, {
    play: [
      'library driver=580.95.05',
      gh200(0, 'numa_node=1 addressing=2'),
      ...[
        [186, 98_500],
        [82, 41],
        [5, 7],
        [6, 1],
        [142, 3],
        [143, 1],
        [144, 0],
        [145, 0],
        [94, 12],
        [230, 0],
        [173, 5],
        [174, 2],
        [179, 1],
        [180, 1],
        [74, 100],
        [269, 10],
        [270, 20],
        [271, 30],
        [251, 4000],
        [170, 2],
      ].map(([id, value]) => `field gpu=0 id=${id} value=${value}`),
      ...[0, 1].flatMap((scope) =>
        [
          [171, 1],
          [172, 40_000],
          [231, 1],
          [232, 2],
          [233, 0],
          [234, 0],
        ].map(([id, value]) => `field gpu=0 id=${id} scope=${scope} value=${value}`),
      ),
    ],
    numaFolder: path.join(t.testdirName, 'unused'),
  });
  await opened(b);
  t.equal(b.reader.latest().source, 'nvml');
  t.equal(b.reader.latest().reason, undefined);
  t.same(b.gpu(), {
    index: 0,
    uuid: 'GPU-0',
    name: 'NVIDIA_GH200_480GB',
    driverVersion: '580.95.05',
    utilizationRatio: 0.35,
    memoryTotalBytes: 102_625_181_696,
    memoryUsedBytes: 524_288_000,
    memoryFreeBytes: 102_625_181_696 - 524_288_000,
    temperatureCelsius: 31,
    temperatureLimitCelsius: 87,
    memoryTemperatureLimitCelsius: 95,
    memoryTemperatureCelsius: 41,
    powerWatts: 98.5,
    smClockMhz: 1980,
    memoryClockMhz: 2619,
    clocksEventReasons: 0,
    throttledNs: 160,
    eccCorrectedTotal: 7,
    eccUncorrectedTotal: 1,
    remappedRowsCorrected: 3,
    remappedRowsUncorrected: 1,
    remapPending: false,
    remapFailed: false,
    recoveryAction: 'none',
    numaNode: 1,
    addressingMode: 'ats',
    c2cLinkCount: 2,
    c2cLinksActive: 2,
    c2cBandwidthMbps: 80_000,
    c2cErrorTotal: 6,
    c2cLowPower: false,
    migEnabled: false,
    pcieReplayTotal: 12,
    pcieErrorTotal: 7,
    pcieFatalTotal: 2,
    persistenceMode: true,
    processes: [],
    processesAtMs: b.gpu().processesAtMs,
  });
});

t.test('what a GPU does not have is unknown, never 0, and is asked once', async (t) => {
  const b = gpuBench(t, { play: ['log_calls', 'gpu gpu=0 uuid=GPU-0 memory=1000 used=10'] });
  await opened(b);
  const samples: number[] = [];
  b.reader.onSample((sample) => samples.push(sample.atMs));
  await until(() => samples.length >= 4, 'four more samples');
  t.same(
    b.gpu(),
    {
      index: 0,
      uuid: 'GPU-0',
      driverVersion: '580.95.05',
      memoryUsedBytes: 10,
      memoryFreeBytes: 990,
      processesAtMs: b.gpu().processesAtMs,
      memoryTotalBytes: 1000,
      processes: [],
    },
    'nothing else is claimed',
  );
  const times = (name: string): number => b.nvml.calls().filter((call) => call === `${name} 0`).length;
  t.equal(times('nvmlDeviceGetUtilizationRates'), 1);
  t.equal(times('nvmlDeviceGetPowerUsage'), 1, 'the way round the missing field is missing too');
  t.ok(times('nvmlDeviceGetMemoryInfo_v2') >= 4, 'what it has is asked each time');
});

t.test('a driver of 2020 is read by the older forms of the calls', async (t) => {
  const b = gpuBench(t, {
    old: true,
    play: [
      'library driver=450.80.02',
      gh200(0, 'milliwatts=70000 replays=3 ecc_corrected=2 ecc_uncorrected=0'),
      `process gpu=0 pid=${process.pid} memory=5000`,
    ],
  });
  await opened(b);
  t.match(b.gpu(), {
    driverVersion: '450.80.02',
    memoryUsedBytes: 524_293_000,
    temperatureCelsius: 31,
    powerWatts: 70,
    pcieReplayTotal: 3,
    eccCorrectedTotal: 2,
    clocksEventReasons: 0,
    processes: [{ pid: process.pid, memoryBytes: 5000 }],
    recoveryAction: undefined,
    numaNode: undefined,
  });
});

t.test('a structure version that the library refuses is answered by the older call', async (t) => {
  const refused = [
    'nvmlDeviceGetMemoryInfo_v2',
    'nvmlDeviceGetTemperatureV',
    'nvmlDeviceGetComputeRunningProcesses_v3',
  ];
  const b = gpuBench(t, {
    play: [
      gh200(0),
      `process gpu=0 pid=${process.pid} memory=7`,
      ...refused.map((call) => `status call=${call} code=25`),
    ],
  });
  await opened(b);
  t.match(b.gpu(), {
    memoryUsedBytes: 524_288_007,
    temperatureCelsius: 31,
    processes: [{ pid: process.pid, memoryBytes: 7 }],
  });
});

t.test('several GPUs, one of them split by MIG: its processes are those of its parts', async (t) => {
  const b = gpuBench(t, {
    play: [
      gh200(0),
      gh200(1, 'mig=1 mig_parts=2'),
      `process gpu=1 part=0 pid=${process.pid} memory=1000`,
      `process gpu=1 part=1 pid=${process.ppid} memory=2000`,
    ],
  });
  await opened(b);
  t.same(
    b.reader.latest().gpus.map(({ uuid, migEnabled, utilizationRatio }) => [uuid, migEnabled, utilizationRatio]),
    [
      ['GPU-0', false, 0.35],
      ['GPU-1', true, undefined],
    ],
  );
  t.same(b.gpu(1).processes, [
    { pid: process.pid, memoryBytes: 1000 },
    { pid: process.ppid, memoryBytes: 2000 },
  ]);
  // Whole again, it tells its load again.
  b.nvml.play(gh200(0), gh200(1));
  await until(() => b.gpu(1).utilizationRatio === 0.35, 'the load of the whole GPU');
});

t.test('a GH200: NUMA node with the memory that the kernel tells', async (t) => {
  const numa = path.join(
    t.testdir({ numa: { node1: { meminfo: 'Node 1 MemTotal: 1000 kB\nNode 1 MemFree: 400 kB\n' } } }),
    'numa',
  );
  const folder = path.join(path.dirname(numa), 'lib');
  mkdirSync(folder);
  const nvml = createFakeNvml(folder);
  nvml.play(gh200(0, 'numa_node=1 addressing=2'));
  const reader = createGpuReader({
    ...OPTIONS,
    reader: 'nvml',
    nvmlLibrary: nvml.library,
    numaFolder: numa,
    environment: {},
  });
  t.teardown(() => reader.stop());
  await reader.start();
  t.match(reader.latest().gpus[0], {
    numaMemoryTotalBytes: 1_024_000,
    numaMemoryFreeBytes: 409_600,
    addressingMode: 'ats',
  });
});

t.test('memory belongs to engines by their pids, and is released only when it is', async (t) => {
  const child = spawn('sleep', ['600']);
  const pid = child.pid as number;
  t.teardown(() => void child.kill('SIGKILL'));
  const b = gpuBench(t, {
    play: [gh200(0), `process gpu=0 pid=${pid} memory=70000000000`, `process gpu=0 pid=${process.pid} memory=1000`],
  });
  await opened(b);
  const engines = new Map([
    ['chat', [pid]],
    ['idle', [1]],
  ]);
  t.same(
    [...gpuMemoryByEngine(b.reader.latest(), engines)],
    [
      ['chat', 70_000_000_000],
      ['idle', 0],
    ],
  );
  const release = () => judgeRelease(b.reader.latest(), [0], new Set([pid]), 0);
  t.match(release(), { kind: 'held', message: new RegExp(`pid ${pid} on GPU 0 \\(66757 MiB\\)`) });
  const before = b.gpu().memoryUsedBytes as number;
  child.kill('SIGKILL');
  await until(() => release().kind === 'released', 'the memory to be free');
  await until(() => before - (b.gpu().memoryUsedBytes as number) === 70_000_000_000, 'the figure to fall');
});

t.test('who waits for a list of processes gets one before its period, and hurries no sensor that fails', async (t) => {
  const hour = 3_600_000;
  const b = gpuBench(t, {
    play: [gh200(0)],
    groupPeriodsMs: { process: hour, gh200: hour, c2c: hour, throttle: hour, health: hour },
  });
  await opened(b);
  const listedAtMs = (): number => b.gpu().processesAtMs as number;
  const first = listedAtMs();
  const { atMs } = b.reader.latest();
  await until(() => b.reader.latest().atMs > atMs + 300, 'later loads');
  t.equal(listedAtMs(), first, 'a new load does not make the list new');
  b.nvml.play(gh200(0), `process gpu=0 pid=${process.pid} memory=5000`);
  b.reader.readProcessesSoon();
  await until(() => listedAtMs() > first, 'a new list');
  t.same(b.gpu().processes, [{ pid: process.pid, memoryBytes: 5000 }]);
  const ill = gpuBench(t, { reader: 'nvml', play: ['status call=nvmlInit_v2 code=9'] });
  await ill.reader.start();
  for (let turn = 0; turn < 60; turn++) {
    ill.reader.readProcessesSoon();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.ok(ill.failures.length < 10, `${ill.failures.length} failures: the pause after a failure is kept`);
});
