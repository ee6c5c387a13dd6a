/**
 * What the agent asks its sensor and what the sensor answers, as schemas: the sensor is a process of its own that talks
 * to a driver, so its answers are checked like any other input.
 */
import { z } from 'zod';

/** Readings that are taken together, at a period of their own. */
export const GROUPS = ['load', 'process', 'gh200', 'c2c', 'throttle', 'health'] as const;
export type Group = (typeof GROUPS)[number];

export type SensorQuestion =
  | { readonly id: number; readonly ask: 'open'; readonly library: string; readonly numaFolder: string }
  | {
      readonly id: number;
      readonly ask: 'read';
      readonly groups: readonly Group[];
      /** GPUs that hung the driver lately and are let alone. */
      readonly skip: readonly number[];
    }
  | { readonly id: number; readonly ask: 'nvidia-smi' };

const count = z.number().nonnegative();
const figure = count.optional();
const flag = z.boolean().optional();

/** Readings of one GPU; what is unknown is absent. The keys are those of GpuState in agent/ports.ts. */
export const readingsSchema = z.object({
  utilizationRatio: figure,
  memoryUsedBytes: figure,
  memoryTotalBytes: figure,
  memoryFreeBytes: figure,
  temperatureCelsius: figure,
  temperatureLimitCelsius: figure,
  powerWatts: figure,
  memoryTemperatureCelsius: figure,
  memoryTemperatureLimitCelsius: figure,
  smClockMhz: figure,
  memoryClockMhz: figure,
  clocksEventReasons: figure,
  throttledNs: figure,
  eccCorrectedTotal: figure,
  eccUncorrectedTotal: figure,
  remappedRowsCorrected: figure,
  remappedRowsUncorrected: figure,
  remapPending: flag,
  remapFailed: flag,
  recoveryAction: z.string().optional(),
  numaNode: figure,
  numaMemoryTotalBytes: figure,
  numaMemoryFreeBytes: figure,
  addressingMode: z.string().optional(),
  c2cLinkCount: figure,
  c2cLinksActive: figure,
  c2cBandwidthMbps: figure,
  c2cErrorTotal: figure,
  c2cLowPower: flag,
  migEnabled: flag,
  pcieReplayTotal: figure,
  pcieErrorTotal: figure,
  pcieFatalTotal: figure,
  persistenceMode: flag,
  processes: z.array(z.object({ pid: z.int().positive(), memoryBytes: figure })).optional(),
});
export type Readings = z.infer<typeof readingsSchema>;

const gpuFacts = z.object({
  index: z.int().min(0),
  uuid: z.string().optional(),
  name: z.string().optional(),
  driverVersion: z.string().optional(),
});
export type GpuFacts = z.infer<typeof gpuFacts>;

const readGpu = z.object({
  index: z.int().min(0),
  /** The driver says that the GPU has fallen off the bus. */
  lost: z.boolean().optional(),
  groups: z.partialRecord(z.enum(GROUPS), readingsSchema),
});
export type ReadGpu = z.infer<typeof readGpu>;

const place = z.object({ call: z.string(), gpu: z.int() });

export const answerSchema = z.discriminatedUnion('kind', [
  z.object({ id: z.number(), kind: z.literal('opened'), gpus: z.array(gpuFacts.extend({ lost: z.boolean() })) }),
  z.object({ id: z.number(), kind: z.literal('read'), gpus: z.array(readGpu) }),
  z.object({ id: z.number(), kind: z.literal('smi'), gpus: z.array(gpuFacts.extend(readingsSchema.shape)) }),
  z.object({ id: z.number(), kind: z.literal('failed'), failure: z.string(), reason: z.string() }),
]);
export type SensorAnswer = z.infer<typeof answerSchema>;

/** Told by itself: what the driver said, and at which call it hangs. */
export const tellingSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('incident'),
    index: z.int().min(0),
    what: z.enum(['xid', 'unavailable', 'recovery_action']),
    xid: z.int().optional(),
    atMs: z.number(),
  }),
  z.object({ kind: z.literal('waiting'), id: z.number(), place }),
  // The process is up and takes questions: its start is not the driver's doing.
  z.object({ kind: z.literal('started') }),
]);
export type SensorTelling = z.infer<typeof tellingSchema>;
