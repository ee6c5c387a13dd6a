/** Puts the GPU reader and the watch of its findings together. */
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { createGpuReader } from '../adapters/gpu/gpu_sensor.ts';
import { createGpuHealthStore, readBootId } from '../adapters/gpu/health_store.ts';
import { processEnvironment } from '../config.ts';
import type { GpuReader, SchedulerLinks } from '../ports.ts';
import type { GpuOrder } from '../run_loop/gpu_orders.ts';
import { GpuWatch } from '../run_loop/gpu_watch.ts';
import type { Parts } from './parts.ts';

/** A fault of the driver this long before an engine's end is taken for its cause. */
const XID_MATTERS_MS = 60_000;

export interface Gpus {
  readonly reader: GpuReader;
  readonly watch: GpuWatch;
  /** The newest Xid of one of these GPUs within the last minute. */
  recentXid(gpuIds: readonly number[]): number | undefined;
  quarantined(): readonly number[];
  start(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * @param onOrder what the health of a GPU asks of its engines
 * @param onChange the host has other GPUs than it had: orders that were refused for want of one may now be taken
 */
export function createGpusOf(
  parts: Parts,
  links: SchedulerLinks,
  onOrder: (order: GpuOrder) => void,
  onChange: () => void,
  onFailure: (reason: string) => void,
): Gpus {
  const { config, logger, dataFolder } = parts;
  const reader = createGpuReader({
    reader: config.gpuReader,
    nvmlLibrary: config.nvmlLibrary,
    nvmlTimeoutMs: config.nvmlTimeoutMs,
    nvidiaSmiTimeoutMs: config.nvidiaSmiTimeoutMs,
    periodMs: config.gpuPeriodMs,
    nvidiaSmiPeriodMs: config.nvidiaSmiPeriodMs,
    clock: systemClock,
    random: systemRandom,
    logger,
    environment: processEnvironment(),
    onFailure,
  });
  const watch = new GpuWatch({
    reader,
    store: createGpuHealthStore(dataFolder),
    clock: systemClock,
    bootId: readBootId(),
    policy: {
      quarantineShare: config.gpuQuarantineShare / 100,
      blindAfterMs: config.gpuBlindAfterMs,
      expectGpus: config.expectGpus,
    },
    log: logger,
    onEvent: (event) => links.sendGpuEvent(event),
    onOrder,
  });
  const xids = new Map<number, { readonly xid: number; readonly atMs: number }>();
  reader.onIncident(({ index, xid }) => {
    if (xid !== undefined) xids.set(index, { xid, atMs: systemClock.monotonicMs() });
  });
  let indexes = '';
  reader.onSample((sample) => {
    const now = sample.gpus.map(({ index }) => index).join();
    if (now === indexes) return;
    indexes = now;
    onChange();
  });
  return {
    reader,
    watch,
    recentXid(gpuIds) {
      const nowMs = systemClock.monotonicMs();
      const recent = gpuIds.flatMap((gpu) => xids.get(gpu) ?? []).filter(({ atMs }) => nowMs - atMs < XID_MATTERS_MS);
      return recent.toSorted((left, right) => right.atMs - left.atMs)[0]?.xid;
    },
    quarantined: () => watch.current().flatMap(({ index }) => index ?? []),
    // The watch listens before the first reading, so that none is missed.
    start() {
      watch.start();
      return reader.start();
    },
    stop() {
      watch.stop();
      return reader.stop();
    },
  };
}
