/**
 * Reads GPUs by the package node-nvidia-smi and makes figures of its strings. The package gives one GPU as an object and
 * several as an array, and every value as text with a unit; here all become numbers in base units. What nvidia-smi does
 * not know (`N/A`, `[Not Supported]`, a field of another release) stays absent, never 0.
 */
import { z } from 'zod';

export interface SensorGpu {
  readonly index: number;
  readonly uuid?: string;
  readonly name?: string;
  readonly driverVersion?: string;
  readonly utilizationRatio?: number;
  readonly memoryUsedBytes?: number;
  readonly memoryTotalBytes?: number;
  readonly temperatureCelsius?: number;
  readonly powerWatts?: number;
}

const MAX_GPUS = 64;
const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  '%': 1,
  C: 1,
  W: 1,
  mW: 0.001,
};

/** `97871 MiB` in bytes, `35 %`, `31 C`, `98.4 W`; undefined for anything else. */
export function parseFigure(text: string | undefined, ...units: readonly string[]): number | undefined {
  const match = /^(\d{1,12}(?:\.\d{1,6})?) ([A-Za-z%]+)$/.exec(text?.trim() ?? '');
  const unit = match?.[2];
  if (match === null || unit === undefined || !units.includes(unit)) return undefined;
  return Number(match[1]) * (UNITS[unit] as number);
}

function percent(value: string | undefined): number | undefined {
  const figure = parseFigure(value, '%');
  return figure === undefined ? undefined : figure / 100;
}

const text = z.string().max(256).optional().catch(undefined);

const gpuSchema = z.object({
  uuid: text,
  product_name: text,
  fb_memory_usage: z.object({ total: text, used: text }).optional().catch(undefined),
  utilization: z.object({ gpu_util: text }).optional().catch(undefined),
  temperature: z.object({ gpu_temp: text }).optional().catch(undefined),
  gpu_power_readings: z.object({ power_draw: text, instant_power_draw: text }).optional().catch(undefined),
  power_readings: z.object({ power_draw: text }).optional().catch(undefined),
});

const logSchema = z.object({
  nvidia_smi_log: z.object({
    driver_version: text,
    gpu: z.union([z.array(gpuSchema).max(MAX_GPUS), gpuSchema.transform((one) => [one])]).optional(),
  }),
});

const known = <Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } =>
  (value === undefined || value === 'N/A' ? {} : { [key]: value }) as { [K in Key]?: Value };

/** @throws ZodError when `data` is not what nvidia-smi prints */
export function normalise(data: unknown): readonly SensorGpu[] {
  const { nvidia_smi_log: log } = logSchema.parse(data);
  return (log.gpu ?? []).map((gpu, index) => ({
    index,
    ...known('uuid', gpu.uuid),
    ...known('name', gpu.product_name),
    ...known('driverVersion', log.driver_version),
    ...known('utilizationRatio', percent(gpu.utilization?.gpu_util)),
    ...known('memoryUsedBytes', parseFigure(gpu.fb_memory_usage?.used, 'B', 'KiB', 'MiB', 'GiB')),
    ...known('memoryTotalBytes', parseFigure(gpu.fb_memory_usage?.total, 'B', 'KiB', 'MiB', 'GiB')),
    ...known('temperatureCelsius', parseFigure(gpu.temperature?.gpu_temp, 'C')),
    ...known(
      'powerWatts',
      parseFigure(gpu.gpu_power_readings?.instant_power_draw, 'W', 'mW') ??
        parseFigure(gpu.gpu_power_readings?.power_draw, 'W', 'mW') ??
        parseFigure(gpu.power_readings?.power_draw, 'W', 'mW'),
    ),
  }));
}
