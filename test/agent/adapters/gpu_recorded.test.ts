/** Both readers over what an H100 and an H200 really answered, at rest and under a load, and one against the other. */
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { createGpuReader } from '../../../agent/adapters/gpu/gpu_sensor.ts';
import { gpuFacts, gpuReading } from '../../../agent/adapters/telemetry.ts';
import { gpuMemoryByEngine } from '../../../agent/core/gpu_memory.ts';
import { judgeRelease } from '../../../agent/core/gpu_release.ts';
import { usableBytes } from '../../../agent/core/gpu_sample.ts';
import type { GpuSample, GpuState } from '../../../agent/ports.ts';
import { GROUPS } from '../../../agent/sensor/messages.ts';
import { normalise } from '../../../agent/sensor/nvidia_smi.ts';
import { openNvml } from '../../../agent/sensor/nvml.ts';
import { removeFolder, until } from '../../support/fake_scheduler.ts';
import { OPTIONS } from '../../support/gpu_bench.ts';
import { compareGpus } from '../../support/gpu_fields.ts';
import { fixtureFile, type Moment, type Part, readFixture, recordedNative } from '../../support/recorded_gpu.ts';

t.setTimeout(120_000);

const PARTS: readonly Part[] = ['nvidia-h100', 'nvidia-h200'];
const MOMENTS: readonly Moment[] = ['idle', 'load'];
const MIB = 2 ** 20;
const GIB = 2 ** 30;

async function byNvml(part: Part, moment: Moment): Promise<GpuState> {
  const session = await openNvml(recordedNative(part, moment), 'libnvidia-ml.so.1', '/nowhere');
  const [facts] = session.gpus;
  const [read] = await session.read(GROUPS, []);
  const { lost: _lost, ...known } = facts as NonNullable<typeof facts>;
  return Object.assign({}, known, ...Object.values(read?.groups ?? {})) as GpuState;
}

/** Through the sensor process and the package, with a program that prints what was recorded. */
async function bySmi(t: Test, print: string): Promise<GpuSample> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-recorded-'));
  writeFileSync(path.join(folder, 'nvidia-smi'), `#!/bin/sh\n${print}\n`);
  chmodSync(path.join(folder, 'nvidia-smi'), 0o755);
  const reader = createGpuReader({
    ...OPTIONS,
    reader: 'nvidia-smi',
    nvmlLibrary: path.join(folder, 'none'),
    environment: { PATH: `${folder}:/usr/bin:/bin` },
  });
  t.teardown(async () => {
    await reader.stop();
    await removeFolder(folder);
  });
  await reader.start();
  await until(() => reader.latest().gpus.length > 0, 'figures');
  return reader.latest();
}

t.test('NVML on an H200, every reading', async (t) => {
  t.same(await byNvml('nvidia-h200', 'load'), {
    index: 0,
    uuid: 'GPU-00000000-1111-2222-3333-444444444444',
    name: 'NVIDIA H200',
    driverVersion: '580.159.04',
    utilizationRatio: 0.99,
    memoryTotalBytes: 143_771 * MIB,
    memoryUsedBytes: 10_198_843_392,
    memoryFreeBytes: 139_911_036_928,
    temperatureCelsius: 57,
    temperatureLimitCelsius: 89,
    memoryTemperatureCelsius: 46,
    memoryTemperatureLimitCelsius: 95,
    powerWatts: 673.031,
    smClockMhz: 1440,
    memoryClockMhz: 3201,
    clocksEventReasons: 4,
    throttledNs: 3_979_981_664,
    eccCorrectedTotal: 0,
    eccUncorrectedTotal: 0,
    remappedRowsCorrected: 0,
    remappedRowsUncorrected: 0,
    remapPending: false,
    remapFailed: false,
    recoveryAction: 'none',
    addressingMode: 'none',
    migEnabled: false,
    pcieReplayTotal: 1,
    pcieErrorTotal: 66,
    pcieFatalTotal: 0,
    persistenceMode: true,
    processes: [
      { pid: 628, memoryBytes: 9_133_096_960 },
      { pid: 634, memoryBytes: 1_050_673_152 },
    ],
  });
});

for (const part of PARTS)
  for (const moment of MOMENTS)
    t.test(`${part}, ${moment}: nvidia-smi tells what NVML tells`, async (t) => {
      const nvml = await byNvml(part, moment);
      const sample = await bySmi(t, `cat '${fixtureFile(part, `${moment}-q.xml`)}'`);
      t.equal(sample.source, 'nvidia-smi');
      const [smi] = sample.gpus as [GpuState];
      for (const { field, left, right, alike } of compareGpus(nvml, smi))
        t.ok(alike && left !== undefined, `${field}: ${String(left)} and ${String(right)}`);
      t.ok((smi.processesAtMs as number) <= sample.atMs, 'the list of processes has its time');
    });

t.test(
  'what programs can have is told beside the total: the same at rest and under a load, by both readers',
  async (t) => {
    for (const [part, usable] of [
      ['nvidia-h100', 85_017_493_504],
      ['nvidia-h200', 150_109_880_320],
    ] as const) {
      const gpus = await Promise.all(MOMENTS.map((moment) => byNvml(part, moment)));
      for (const gpu of gpus) {
        t.equal(gpuReading(gpu, 'ok').memoryUsableBytes, usable);
        t.equal(gpuFacts(gpu).memoryUsableBytes, usable);
        t.ok(usable < (gpuFacts(gpu).memoryTotalBytes as number));
      }
      const { gpus: smi } = await bySmi(t, `cat '${fixtureFile(part, 'load-q.xml')}'`);
      t.ok(
        Math.abs((usableBytes(smi[0] as GpuState) as number) - usable) <= 2 * MIB,
        'nvidia-smi rounds both parts to MiB',
      );
    }
    const older = { index: 0, memoryTotalBytes: GIB, memoryUsedBytes: 5 };
    t.notOk(
      'memoryUsableBytes' in gpuReading(older, undefined),
      'a reader that does not tell what is free says nothing',
    );
    t.same(gpuFacts(older), { index: 0, memoryTotalBytes: GIB });
  },
);

t.test('memory per engine and its release are told by nvidia-smi too', async (t) => {
  const sample = await bySmi(t, `cat '${fixtureFile('nvidia-h200', 'load-q.xml')}'`);
  t.same(gpuMemoryByEngine(sample, new Map([['chat', [628]]])), new Map([['chat', 8710 * MIB]]));
  t.match(judgeRelease(sample, [0], new Set([634]), sample.atMs - 60_000), {
    kind: 'held',
    message: /pid 634 on GPU 0 \(1002 MiB\)/,
  });
  t.equal(judgeRelease(sample, [0], new Set([1]), sample.atMs - 60_000).kind, 'released');
  t.equal(judgeRelease(sample, [0], new Set([1]), sample.atMs).kind, 'wait', 'the list is older than the sample');
});

const gpu = (fields: object): GpuState =>
  normalise({ nvidia_smi_log: { driver_version: '550.1', gpu: fields } })[0] as GpuState;

t.test('tags of other drivers, one process, several, none, and a list that could not be had', async (t) => {
  t.same(
    gpu({
      clocks_throttle_reasons: {
        clocks_throttle_reason_hw_slowdown: 'Active',
        clocks_throttle_reason_hw_thermal_slowdown: 'Active',
        clocks_throttle_reason_gpu_idle: 'Not Active',
        clocks_throttle_reason_of_tomorrow: 'Active',
      },
      ecc_errors: { aggregate: { sram_correctable: '1', dram_correctable: '2', sram_uncorrectable: '3' } },
      temperature: { gpu_temp_slow_threshold: '89 C', gpu_temp_max_mem_threshold: '95 C' },
      power_readings: { power_draw: '70.5 W' },
      clocks_event_reasons_counters: {
        clocks_event_reasons_counters_sw_power_cap: '1 us',
        clocks_event_reasons_counters_sw_therm_slowdown: '2 us',
        clocks_event_reasons_counters_hw_therm_slowdown: '4 us',
        clocks_event_reasons_counters_hw_power_brake: '8 us',
        clocks_event_reasons_counters_sync_boost: '16 us',
      },
      gpu_recovery_action: 'Drain P2P',
      remapped_rows: { remapped_row_pending: 'Yes', remapped_row_failure: 'N/A' },
      processes: { process_info: { pid: '7', type: 'C', used_memory: 'N/A' } },
    }),
    {
      index: 0,
      driverVersion: '550.1',
      clocksEventReasons: 0x48,
      throttledNs: 15_000,
      eccCorrectedTotal: 3,
      eccUncorrectedTotal: 3,
      temperatureLimitCelsius: 89,
      memoryTemperatureLimitCelsius: 95,
      powerWatts: 70.5,
      recoveryAction: 'drain',
      remapPending: true,
      processes: [{ pid: 7 }],
    },
  );
  const several = [
    { pid: '1', type: 'G', used_memory: '5 MiB' },
    { pid: '2', type: 'C+G', used_memory: '6 MiB' },
    { pid: 'N/A', type: 'C', used_memory: '6 MiB' },
  ];
  t.same(gpu({ processes: { process_info: several } }).processes, [{ pid: 2, memoryBytes: 6 * MIB }]);
  t.same(gpu({ processes: '' }).processes, []);
  t.equal(gpu({ processes: 'N/A' }).processes, undefined);
  t.equal(gpu({ gpu_recovery_action: 'Something New' }).recoveryAction, 'other');
  t.equal(gpu({ gpu_recovery_action: 'N/A', addressing_mode: '[N/A]' }).recoveryAction, undefined);
});

t.test('the recorded text names no real part', async (t) => {
  for (const part of PARTS)
    for (const name of ['load-q.xml', 'idle-q.xml', 'load-query-gpu.csv', 'list.txt']) {
      const text = readFixture(part, name);
      t.notMatch(text.replaceAll('GPU-00000000-1111-2222-3333-444444444444', ''), /GPU-[0-9a-f]{8}-/, name);
    }
  t.match(readFileSync(fixtureFile('nvidia-h200', 'README.md'), 'utf8'), /made up/);
});
