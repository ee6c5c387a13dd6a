/**
 * GPUs read by NVML: a false library behind the real addon in the real sensor process. Each scenario is one row, printed
 * with what the agent makes of it.
 */
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { createGpuReader, type GpuReaderOptions } from '../../../agent/adapters/gpu/gpu_sensor.ts';
import { createGpuHealthStore } from '../../../agent/adapters/gpu/health_store.ts';
import { gpuHoldouts, gpuMemoryByEngine } from '../../../agent/core/gpu_memory.ts';
import type { GpuOrder } from '../../../agent/core/gpu_health_state.ts';
import type { GpuIncident, GpuReader, GpuState } from '../../../agent/ports.ts';
import { GpuWatch } from '../../../agent/run_loop/gpu_watch.ts';
import { createLogger } from '../../../lib/io/logger.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import type { GpuEvent } from '../../../proto/gen/fleet/v1/GpuEvent.ts';
import { createFakeNvml, type FakeNvml, gh200 } from '../../support/fake_nvml.ts';
import { removeFolder, until } from '../../support/fake_scheduler.ts';

t.setTimeout(180_000);
const logger = createLogger({ name: 'test', level: 'silent' });

interface Bench {
  readonly nvml: FakeNvml;
  readonly reader: GpuReader;
  readonly watch: GpuWatch;
  readonly events: GpuEvent[];
  readonly orders: GpuOrder[];
  readonly incidents: GpuIncident[];
  readonly failures: string[];
  readonly folder: string;
  gpu(index?: number): GpuState;
}

interface BenchOptions extends Partial<GpuReaderOptions> {
  readonly old?: boolean;
  readonly play?: readonly string[];
  readonly quarantineShare?: number;
  readonly bootId?: string;
}

const OPTIONS = {
  reader: 'auto',
  nvmlTimeoutMs: 20_000,
  nvidiaSmiTimeoutMs: 20_000,
  periodMs: 100,
  nvidiaSmiPeriodMs: 100,
  groupPeriodsMs: { process: 100, gh200: 100, c2c: 100, throttle: 100, health: 100 },
  clock: systemClock,
  random: systemRandom,
  logger,
  onFailure: () => undefined,
} as const satisfies Partial<GpuReaderOptions>;

/** A reader and a watch on a false NVML; periods are short so that a test waits for what it changed and not for time. */
function bench(t: Test, options: BenchOptions = {}): Bench {
  const { old, play, quarantineShare = 1, bootId = 'boot-1', ...readerOptions } = options;
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-nvml-'));
  const nvml = createFakeNvml(folder, old === true ? { old: true } : {});
  nvml.play(...(play ?? [gh200(0)]));
  const failures: string[] = [];
  const reader = createGpuReader({
    ...OPTIONS,
    nvmlLibrary: nvml.library,
    environment: { PATH: folder },
    onFailure: (reason) => failures.push(reason),
    ...readerOptions,
  });
  const events: GpuEvent[] = [];
  const orders: GpuOrder[] = [];
  const incidents: GpuIncident[] = [];
  const watch = new GpuWatch({
    reader,
    store: createGpuHealthStore(path.join(folder, 'data')),
    clock: systemClock,
    bootId,
    policy: { quarantineShare, blindAfterMs: 60_000, expectGpus: false },
    log: logger,
    onEvent: (event) => events.push(event),
    onOrder: (order) => orders.push(order),
  });
  watch.start();
  reader.onIncident((incident) => incidents.push(incident));
  t.teardown(async () => {
    watch.stop();
    await reader.stop();
    await removeFolder(folder);
  });
  return {
    nvml,
    reader,
    watch,
    events,
    orders,
    incidents,
    failures,
    folder,
    gpu: (index = 0) => reader.latest().gpus.find((gpu) => gpu.index === index) as GpuState,
  };
}

const opened = async (b: Bench): Promise<void> => {
  await b.reader.start();
  await until(() => b.reader.latest().gpus.length > 0, 'the first figures');
};

t.test('every reading of a GPU that tells all of it, in base units', async (t) => {
  const b = bench(t, {
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
  });
});

t.test('what a GPU does not have is unknown, never 0, and is asked once', async (t) => {
  const b = bench(t, { play: ['log_calls', 'gpu gpu=0 uuid=GPU-0 memory=1000 used=10'] });
  await opened(b);
  const samples: number[] = [];
  b.reader.onSample((sample) => samples.push(sample.atMs));
  await until(() => samples.length >= 4, 'four more samples');
  const { index, uuid, memoryUsedBytes, memoryTotalBytes, driverVersion, processes, ...rest } = b.gpu();
  t.same(
    { index, uuid, memoryUsedBytes, memoryTotalBytes },
    { index: 0, uuid: 'GPU-0', memoryUsedBytes: 10, memoryTotalBytes: 1000 },
  );
  t.same(rest, {}, 'nothing else is claimed');
  const times = (name: string): number => b.nvml.calls().filter((call) => call === `${name} 0`).length;
  t.equal(times('nvmlDeviceGetUtilizationRates'), 1);
  t.equal(times('nvmlDeviceGetPowerUsage'), 1, 'the way round the missing field is missing too');
  t.ok(times('nvmlDeviceGetMemoryInfo_v2') >= 4, 'what it has is asked each time');
});

t.test('a driver of 2020 is read by the older forms of the calls', async (t) => {
  const b = bench(t, {
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

t.test('several GPUs, one of them split by MIG: its processes are those of its parts', async (t) => {
  const b = bench(t, {
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
  const b = bench(t, {
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
  t.match(gpuHoldouts(b.reader.latest(), [pid], [0]), [{ gpu: 0, pid, memoryBytes: 70_000_000_000 }]);
  const before = b.gpu().memoryUsedBytes as number;
  child.kill('SIGKILL');
  await until(() => {
    const holdouts = gpuHoldouts(b.reader.latest(), [pid], [0]);
    return holdouts !== 'unknown' && holdouts.length === 0;
  }, 'the memory to be free');
  await until(() => before - (b.gpu().memoryUsedBytes as number) === 70_000_000_000, 'the figure to fall');
});

interface Row {
  readonly scenario: string;
  /** The scenario after the healthy one. */
  readonly then: readonly string[];
  readonly event: Partial<GpuEvent>;
  readonly order?: GpuOrder['kind'];
}

const ROWS_OF_MEMORY = 'remapped_corrected=0 remapped_uncorrected=0 remap_pending=0 remap_failed=0 ecc_uncorrected=0';
const WELL: readonly string[] = [
  gh200(0),
  gh200(1, ROWS_OF_MEMORY),
  'field gpu=1 id=230 value=0',
  'field gpu=1 id=144 value=0',
];
const xid = (...numbers: readonly number[]): string[] => [
  ...WELL,
  ...numbers.map((number, index) => `event seq=${index + 1} gpu=1 data=${number}`),
];
const changed = (more: string, ...fields: readonly string[]): string[] => [
  ...WELL,
  gh200(1, `${ROWS_OF_MEMORY} ${more}`),
  ...fields,
];

const ROWS: readonly Row[] = [
  {
    scenario: 'Xid 31, a page fault',
    then: xid(31),
    event: { xid: 31, action: 'GPU_ACTION_RESTART_ENGINE', quarantined: false },
    order: 'restart_engines',
  },
  {
    scenario: 'Xid 43, the application',
    then: xid(43),
    event: { xid: 43, action: 'GPU_ACTION_RECORD', quarantined: false },
  },
  {
    scenario: 'Xid 79, off the bus',
    then: xid(79),
    event: { xid: 79, action: 'GPU_ACTION_REBOOT', quarantined: true },
    order: 'quarantine',
  },
  {
    scenario: 'Xid 119, no answer of the GSP',
    then: xid(119),
    event: { xid: 119, action: 'GPU_ACTION_RESET', quarantined: true },
    order: 'quarantine',
  },
  {
    scenario: 'Xid 48, uncorrectable',
    then: xid(48),
    event: { xid: 48, action: 'GPU_ACTION_DRAIN', quarantined: true },
    order: 'quarantine',
  },
  {
    scenario: 'Xid 45 after Xid 119',
    then: xid(119, 45),
    event: {
      xid: 45,
      action: 'GPU_ACTION_RECORD',
      message: 'Xid 45. Channels were removed after another fault. It follows xid 119.',
    },
  },
  {
    scenario: 'Xid 157, remapping failed',
    then: xid(157),
    event: { xid: 157, action: 'GPU_ACTION_REPLACE', quarantined: true },
    order: 'quarantine',
  },
  {
    scenario: 'Xid 999, in no table',
    then: xid(999),
    event: { xid: 999, action: 'GPU_ACTION_RECORD', quarantined: false },
  },
  {
    scenario: 'the GPU is lost',
    then: changed('lost=1'),
    event: { kind: 'lost', action: 'GPU_ACTION_REBOOT', quarantined: true },
    order: 'quarantine',
  },
  {
    scenario: 'a row waits to be remapped',
    then: changed('', 'field gpu=1 id=144 value=1'),
    event: { kind: 'row_remap', action: 'GPU_ACTION_REBOOT', quarantined: true },
    order: 'quarantine',
  },
  {
    scenario: 'a row cannot be remapped',
    then: changed('remap_failed=1'),
    event: { kind: 'row_remap', action: 'GPU_ACTION_REPLACE', quarantined: true },
    order: 'quarantine',
  },
  {
    scenario: 'recovery action: reset',
    then: changed('', 'field gpu=1 id=230 value=1'),
    event: { kind: 'recovery_action', action: 'GPU_ACTION_RESET', quarantined: true },
    order: 'quarantine',
  },
  {
    scenario: 'everything says "reset required"',
    then: [...changed(''), 'status call=nvmlDeviceGetPersistenceMode gpu=1 code=16'],
    event: { kind: 'recovery_action', action: 'GPU_ACTION_RESET', quarantined: true },
    order: 'quarantine',
  },
  {
    scenario: 'too hot',
    then: changed('temp=90'),
    event: { kind: 'thermal', action: 'GPU_ACTION_RECORD', quarantined: false },
  },
  {
    scenario: 'thermal brake',
    then: changed(`reasons=${0x40}`),
    event: { kind: 'thermal', action: 'GPU_ACTION_RECORD', quarantined: false },
  },
  {
    scenario: 'power brake',
    then: changed(`reasons=${0x80}`),
    event: { kind: 'power', action: 'GPU_ACTION_RECORD', quarantined: false },
  },
  {
    scenario: 'persistence mode off',
    then: changed('persistence=0'),
    event: { kind: 'persistence', action: 'GPU_ACTION_RECORD', quarantined: false },
  },
  {
    scenario: 'more uncorrected errors',
    then: changed('ecc_uncorrected=2'),
    event: { kind: 'ecc', action: 'GPU_ACTION_RECORD', quarantined: false },
  },
];

t.test('each fault with its action', async (t) => {
  for (const row of ROWS) {
    await t.test(row.scenario, async (t) => {
      const b = bench(t, { play: WELL });
      await opened(b);
      b.nvml.play(...row.then);
      const isIt = (event: GpuEvent): boolean =>
        Object.entries(row.event).every(([key, value]) => event[key as keyof GpuEvent] === value);
      await until(() => b.events.some(isIt), `the event of: ${row.scenario}; there were ${JSON.stringify(b.events)}`);
      const event = b.events.find(isIt);
      t.match(event, { index: 1, uuid: 'GPU-1' });
      if (row.order !== undefined) t.match(b.orders.at(0), { kind: row.order, gpu: 1 });
      else
        t.same(
          b.orders.filter(({ kind }) => kind !== 'quarantine'),
          [],
        );
      t.equal(b.watch.healthOf(0), 'ok', 'the other GPU is well');
      t.comment(
        `${row.scenario.padEnd(34)} ${String(event?.action).replace('GPU_ACTION_', '').toLowerCase().padEnd(15)} ${(row.order ?? '-').padEnd(16)} ${b.watch.healthOf(1)}`,
      );
    });
  }
});

t.test(
  'a library that is missing, a driver that is not loaded, one that does not fit: two clean ways down',
  async (t) => {
    const smi = `#!/bin/sh
cat <<'END'
<?xml version="1.0" ?><nvidia_smi_log><gpu id="0"><uuid>GPU-smi</uuid></gpu></nvidia_smi_log>
END
`;
    const rows: readonly (readonly [string, (nvml: FakeNvml) => void, RegExp])[] = [
      ['library missing', (nvml) => nvml.uninstall(), /cannot open shared object/],
      ['driver not loaded', (nvml) => nvml.play('status call=nvmlInit_v2 code=9'), /NVML: Driver Not Loaded/],
      ['driver does not fit', (nvml) => nvml.play('status call=nvmlInit_v2 code=18'), /version mismatch/],
    ];
    for (const [name, arrange, reason] of rows) {
      const b = bench(t, { environment: { PATH: '' } });
      arrange(b.nvml);
      await b.reader.start();
      t.match(b.reader.latest(), { source: 'none', gpus: [], reason }, name);
      t.match(b.reader.latest().reason, /there is no nvidia-smi on PATH/);
      t.same(b.failures, [], 'a host without GPUs is no failure');
      const second = bench(t);
      second.reader.onSample(() => undefined);
      writeFileSync(path.join(second.folder, 'nvidia-smi'), smi);
      chmodSync(path.join(second.folder, 'nvidia-smi'), 0o755);
      arrange(second.nvml);
      const withSmi = createGpuReader({
        ...OPTIONS,
        nvmlLibrary: second.nvml.library,
        environment: { PATH: `${second.folder}:/usr/bin:/bin` },
      });
      t.teardown(() => withSmi.stop());
      await withSmi.start();
      t.match(withSmi.latest(), { source: 'nvidia-smi', gpus: [{ index: 0, uuid: 'GPU-smi' }] }, name);
      t.comment(`${name.padEnd(34)} source none or nvidia-smi`);
    }
    const forced = bench(t, { reader: 'nvml', play: ['status call=nvmlInit_v2 code=9'] });
    await forced.reader.start();
    t.match(forced.reader.latest(), { source: 'nvml', gpus: [], reason: 'NVML: Driver Not Loaded' });
    t.match(forced.failures, ['failed']);
    forced.nvml.play(gh200(0));
    await until(() => forced.reader.latest().gpus.length === 1, 'the driver that is loaded later');
    t.equal(forced.reader.latest().reason, undefined);
    const empty = bench(t, { play: ['library driver=580.95.05'] });
    await empty.reader.start();
    t.match(empty.reader.latest(), { source: 'nvml', gpus: [], reason: 'NVML lists no GPU' });
  },
);

/** Live processes of the sensor that hold this test's library. */
const sensorsOf = (folder: string): string[] =>
  readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return (
        readFileSync(`/proc/${pid}/maps`, 'utf8').includes('fake_nvml') &&
        readFileSync(`/proc/${pid}/environ`, 'utf8').includes(folder)
      );
    } catch {
      return false;
    }
  });

t.test('one GPU hangs the driver: it is named and let alone, and the others stay in sight', async (t) => {
  const b = bench(t, { play: [gh200(0), gh200(1)], nvmlTimeoutMs: 1500 });
  await opened(b);
  b.nvml.play(gh200(0), gh200(1), 'hang call=nvmlDeviceGetUtilizationRates gpu=1 ms=-1');
  await until(() => b.failures.includes('timeout'), 'the deadline');
  t.match(b.reader.latest().reason, /NVML did not answer within 1500 ms \(GetUtilizationRates of GPU 1\)/);
  t.match(b.incidents.at(-1), { index: 1, uuid: 'GPU-1', kind: 'unavailable' });
  const failedAtMs = Date.now();
  await until(() => b.reader.latest().atMs > failedAtMs && b.reader.latest().gpus.length === 2, 'a later sample');
  t.match(b.gpu(0), { utilizationRatio: 0.35 });
  t.same(b.gpu(1), { index: 1, uuid: 'GPU-1', name: 'NVIDIA_GH200_480GB', driverVersion: '580.95.05' });
  t.match(b.reader.latest().reason, /GPU 1 does not answer/);
  t.equal(b.watch.healthOf(1), 'degraded');
  await until(() => sensorsOf(b.folder).length === 1, 'one sensor only');
  t.comment(`${'one GPU hangs the driver'.padEnd(34)} record          -                degraded`);
});

t.test('the only GPU hangs: the figures grow old, with their reason, and come back', async (t) => {
  const b = bench(t, { nvmlTimeoutMs: 1500, play: [gh200(0)] });
  await opened(b);
  b.nvml.play(gh200(0), 'hang call=nvmlInit_v2 ms=-1', 'hang call=nvmlDeviceGetMemoryInfo_v2 gpu=0 ms=-1');
  await until(() => b.failures.length >= 2, 'two deadlines');
  const { atMs, gpus, reason } = b.reader.latest();
  t.ok(Date.now() - atMs >= 1500, 'the sample has its age');
  t.match(gpus, [{ utilizationRatio: 0.35 }], 'the last figures are still told');
  t.match(reason, /NVML did not answer within 1500 ms \(Init\)/);
  b.nvml.play(gh200(0, 'util=50'));
  await until(() => b.gpu().utilizationRatio === 0.5, 'figures again');
  t.equal(b.reader.latest().reason, undefined);
});

t.test('a GPU that vanishes from the list is lost, whatever number its neighbour has then', async (t) => {
  const b = bench(t, { play: [gh200(0), gh200(1), gh200(2)] });
  await opened(b);
  b.nvml.play(gh200(0), gh200(1, 'uuid=GPU-2'), 'status call=nvmlDeviceGetFieldValues code=0');
  const [sensor] = sensorsOf(b.folder);
  process.kill(Number(sensor), 'SIGKILL');
  await until(() => b.incidents.some(({ kind }) => kind === 'lost'), 'the loss');
  t.match(b.incidents.at(-1), { kind: 'lost', uuid: 'GPU-1', index: 2 });
  await until(() => b.reader.latest().gpus.length === 3, 'all three in the table');
  t.match(
    b.reader.latest().gpus.map(({ index, uuid }) => [index, uuid]),
    [
      [0, 'GPU-0'],
      [1, 'GPU-2'],
      [2, 'GPU-1'],
    ],
  );
  t.ok(b.failures.includes('crashed'));
  t.match(b.watch.current(), [{ uuid: 'GPU-1', quarantined: true, kind: 'lost' }]);
});

t.test('an event of the driver without a number: unavailable, and a changed recovery action', async (t) => {
  const b = bench(t, {
    play: [gh200(0), 'event seq=1 gpu=0 type=16384', 'event seq=2 gpu=0 type=32768', 'event seq=3 gpu=0 type=2'],
  });
  await opened(b);
  await until(() => b.incidents.length === 3, 'three incidents');
  t.match(b.incidents, [{ kind: 'unavailable' }, { kind: 'recovery_action' }, { kind: 'xid', xid: 48 }]);
});
