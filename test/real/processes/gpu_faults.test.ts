/**
 * Faults of GPUs on a false NVML, through the real addon and the real sensor: each scenario is one row, printed with
 * the action that follows, the order to the engines, and the health that is told.
 */
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { createGpuReader } from '../../../agent/adapters/gpu/gpu_sensor.ts';
import type { GpuOrder } from '../../../agent/core/gpu_health_state.ts';
import type { GpuEvent } from '../../../proto/gen/fleet/v1/GpuEvent.ts';
import { type FakeNvml, gh200 } from '../../../bench/gpu/fake_nvml.ts';
import { until } from '../../support/fake_scheduler.ts';
import { gpuBench, opened, OPTIONS } from '../../support/gpu_bench.ts';

t.setTimeout(180_000);

interface Row {
  readonly scenario: string;
  /** The scenario after the healthy one. */
  readonly lines: readonly string[];
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

type Word = 'RECORD' | 'RESTART_ENGINE' | 'DRAIN' | 'RESET' | 'REBOOT' | 'REPLACE';

const row = (
  scenario: string,
  lines: readonly string[],
  event: Partial<GpuEvent>,
  action: Word,
  order?: GpuOrder['kind'],
): Row => ({
  scenario,
  lines,
  event: { ...event, action: `GPU_ACTION_${action}`, ...(order === 'quarantine' ? { quarantined: true } : {}) },
  ...(order === undefined ? {} : { order }),
});

const afterXid45 = 'Xid 45. Channels were removed after another fault. It follows xid 119.';

const ROWS: readonly Row[] = [
  row('Xid 31, a page fault', xid(31), { xid: 31 }, 'RESTART_ENGINE', 'restart_engines'),
  row('Xid 43, the application', xid(43), { xid: 43 }, 'RECORD'),
  row('Xid 79, off the bus', xid(79), { xid: 79 }, 'REBOOT', 'quarantine'),
  row('Xid 119, no answer of the GSP', xid(119), { xid: 119 }, 'RESET', 'quarantine'),
  row('Xid 48, uncorrectable', xid(48), { xid: 48 }, 'DRAIN', 'quarantine'),
  row('Xid 45 after Xid 119', xid(119, 45), { xid: 45, message: afterXid45 }, 'RECORD'),
  row('Xid 157, remapping failed', xid(157), { xid: 157 }, 'REPLACE', 'quarantine'),
  row('Xid 999, in no table', xid(999), { xid: 999 }, 'RECORD'),
  row('the GPU is lost', changed('lost=1'), { kind: 'lost' }, 'REBOOT', 'quarantine'),
  row(
    'a row waits to be remapped',
    changed('', 'field gpu=1 id=144 value=1'),
    { kind: 'row_remap' },
    'REBOOT',
    'quarantine',
  ),
  row('a row cannot be remapped', changed('remap_failed=1'), { kind: 'row_remap' }, 'REPLACE', 'quarantine'),
  row(
    'recovery action: reset',
    changed('', 'field gpu=1 id=230 value=1'),
    { kind: 'recovery_action' },
    'RESET',
    'quarantine',
  ),
  row(
    '"reset required" as an answer',
    [...WELL, 'status call=nvmlDeviceGetPersistenceMode gpu=1 code=16'],
    { kind: 'recovery_action' },
    'RESET',
    'quarantine',
  ),
  row('too hot', changed('temp=90'), { kind: 'thermal' }, 'RECORD'),
  row('thermal brake', changed('reasons=64'), { kind: 'thermal' }, 'RECORD'),
  row('power brake', changed('reasons=128'), { kind: 'power' }, 'RECORD'),
  row('persistence mode off', changed('persistence=0'), { kind: 'persistence' }, 'RECORD'),
  row('more uncorrected errors', changed('ecc_uncorrected=2'), { kind: 'ecc' }, 'RECORD'),
];

t.test('each fault with its action', async (t) => {
  for (const one of ROWS) {
    await t.test(one.scenario, async (t) => {
      const b = gpuBench(t, { play: WELL });
      await opened(b);
      b.nvml.play(...one.lines);
      const isIt = (event: GpuEvent): boolean =>
        Object.entries(one.event).every(([key, value]) => event[key as keyof GpuEvent] === value);
      await until(() => b.events.some(isIt), `the event of: ${one.scenario}; there were ${JSON.stringify(b.events)}`);
      const event = b.events.find(isIt);
      t.match(event, { index: 1, uuid: 'GPU-1' });
      if (one.order !== undefined) t.match(b.orders.at(0), { kind: one.order, gpu: 1 });
      else
        t.same(
          b.orders.filter(({ kind }) => kind !== 'quarantine'),
          [],
        );
      t.equal(b.watch.healthOf(0), 'ok', 'the other GPU is well');
      t.comment(
        `${one.scenario.padEnd(34)} ${String(event?.action).replace('GPU_ACTION_', '').toLowerCase().padEnd(15)} ${(one.order ?? '-').padEnd(16)} ${b.watch.healthOf(1)}`,
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
      const b = gpuBench(t, { environment: { PATH: '' } });
      arrange(b.nvml);
      await b.reader.start();
      t.match(b.reader.latest(), { source: 'none', gpus: [], reason }, name);
      t.match(b.reader.latest().reason, /there is no nvidia-smi on PATH/);
      t.same(b.failures, [], 'a host without GPUs is no failure');
      const second = gpuBench(t);
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
    const forced = gpuBench(t, { reader: 'nvml', play: ['status call=nvmlInit_v2 code=9'] });
    await forced.reader.start();
    t.match(forced.reader.latest(), { source: 'nvml', gpus: [], reason: 'NVML: Driver Not Loaded' });
    t.match(forced.failures, ['failed']);
    forced.nvml.play(gh200(0));
    await until(() => forced.reader.latest().gpus.length === 1, 'the driver that is loaded later');
    t.equal(forced.reader.latest().reason, undefined);
    const empty = gpuBench(t, { play: ['library driver=580.95.05'] });
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
  const b = gpuBench(t, { play: [gh200(0), gh200(1)], nvmlTimeoutMs: 1500 });
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
  const b = gpuBench(t, { nvmlTimeoutMs: 1500, play: [gh200(0)] });
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
  const b = gpuBench(t, { play: [gh200(0), gh200(1), gh200(2)] });
  await opened(b);
  b.nvml.play(gh200(0), gh200(1, 'uuid=GPU-2'), 'status call=nvmlDeviceGetFieldValues code=0');
  const [sensor] = sensorsOf(b.folder);
  process.kill(Number(sensor), 'SIGKILL');
  await until(() => b.incidents.some(({ kind }) => kind === 'lost'), 'the loss');
  t.match(b.incidents.at(-1), { kind: 'lost', uuid: 'GPU-1', index: 2 });
  await until(() => b.gpu(2).uuid === 'GPU-1', 'the new order of the table');
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
  const b = gpuBench(t, {
    play: [gh200(0), 'event seq=1 gpu=0 type=16384', 'event seq=2 gpu=0 type=32768', 'event seq=3 gpu=0 type=2'],
  });
  await opened(b);
  await until(() => b.incidents.length === 3, 'three incidents');
  t.match(b.incidents, [{ kind: 'unavailable' }, { kind: 'recovery_action' }, { kind: 'xid', xid: 48 }]);
});
