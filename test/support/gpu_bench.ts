/** A GPU reader and the watch of its health on a false NVML, for tests: the real addon in the real sensor process. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { createGpuReader, type GpuReaderOptions } from '../../agent/adapters/gpu/gpu_sensor.ts';
import { createGpuHealthStore } from '../../agent/adapters/gpu/health_store.ts';
import type { GpuOrder } from '../../agent/core/gpu_health_state.ts';
import type { GpuIncident, GpuReader, GpuState } from '../../agent/ports.ts';
import { GpuWatch } from '../../agent/run_loop/gpu_watch.ts';
import { createLogger } from '../../lib/io/logger.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import type { GpuEvent } from '../../proto/gen/fleet/v1/GpuEvent.ts';
import { createFakeNvml, type FakeNvml, gh200 } from '../../bench/gpu/fake_nvml.ts';
import { removeFolder, until } from './fake_scheduler.ts';

const logger = createLogger({ name: 'test', level: 'silent' });

export interface GpuBench {
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

export interface GpuBenchOptions extends Partial<GpuReaderOptions> {
  readonly old?: boolean;
  readonly play?: readonly string[];
  readonly quarantineShare?: number;
  readonly bootId?: string;
}

export const OPTIONS = {
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
export function gpuBench(t: Test, options: GpuBenchOptions = {}): GpuBench {
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

/** Starts the reader and waits for figures. */
export const opened = async (b: GpuBench): Promise<void> => {
  await b.reader.start();
  await until(() => b.reader.latest().gpus.length > 0, 'the first figures');
};
