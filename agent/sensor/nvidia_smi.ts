/**
 * Reads GPUs by the package node-nvidia-smi and makes figures of its strings. The package gives one GPU as an object and
 * several as an array, and every value as text with a unit; here all become numbers in base units, under the names and
 * with the meaning that NVML's readings have, so that health and memory per engine are judged alike from both. What
 * nvidia-smi does not know (`N/A`, `[Not Supported]`, a field of another release) stays absent, never 0. Tags are those
 * of drivers 535 to 580, seen whole on an H100 and an H200 (test/fixtures/nvidia-h200).
 */
import { z } from 'zod';
import type { GpuFacts, Readings } from './messages.ts';

export type SensorGpu = GpuFacts & Readings;

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
  MHz: 1,
  us: 1000,
};

/** `97871 MiB` in bytes, `35 %`, `31 C`, `98.4 W`, `12 us` in nanoseconds; undefined for anything else. */
export function parseFigure(text: string | undefined, ...units: readonly string[]): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,6})?) ([A-Za-z%]+)$/.exec(text?.trim() ?? '');
  const unit = match?.[2];
  if (match === null || unit === undefined || !units.includes(unit)) return undefined;
  return Number(match[1]) * (UNITS[unit] as number);
}

/** The bits of nvmlClocksEventReasons, by what follows `clocks_event_reason_` (`clocks_throttle_reason_` before 545). */
const REASON_BITS: Readonly<Record<string, number>> = {
  gpu_idle: 0x1,
  applications_clocks_setting: 0x2,
  sw_power_cap: 0x4,
  hw_slowdown: 0x8,
  sync_boost: 0x10,
  sw_thermal_slowdown: 0x20,
  hw_thermal_slowdown: 0x40,
  hw_power_brake_slowdown: 0x80,
  display_clocks_setting: 0x100,
};

/** The counters that NVML's throttle fields are; boost in step with other GPUs is none. */
const THROTTLE_COUNTERS = ['sw_power_cap', 'sw_therm_slowdown', 'hw_therm_slowdown', 'hw_power_brake'] as const;

/** What nvidia-smi calls the recovery actions of nvmlDeviceGpuRecoveryAction_t. */
const RECOVERY_WORDS: Readonly<Record<string, string>> = {
  None: 'none',
  Reset: 'reset',
  Reboot: 'reboot',
  'Drain P2P': 'drain',
  'Drain and Reset': 'drain_and_reset',
};

const MEMORY = ['B', 'KiB', 'MiB', 'GiB'] as const;
const UNKNOWN = /^\[?(N\/A|Not Supported|Unknown Error|GPU access blocked.*)\]?$/i;

const text = z.string().max(256).optional().catch(undefined);
const section = z.record(z.string(), z.unknown()).catch({});

const logSchema = z.object({
  nvidia_smi_log: z.object({
    driver_version: text,
    gpu: z
      .union([z.array(section).max(MAX_GPUS), z.record(z.string(), z.unknown()).transform((one) => [one])])
      .optional(),
  }),
});

type Section = Readonly<Record<string, unknown>>;

/** A value below a GPU, by the tags that lead to it; undefined for what is not known. */
function said(gpu: Section, ...tags: readonly string[]): string | undefined {
  let at: unknown = gpu;
  for (const tag of tags) at = section.parse(at)[tag];
  const found = text.parse(at)?.trim();
  return found === undefined || found === '' || UNKNOWN.test(found) ? undefined : found;
}

const below = (gpu: Section, tag: string): Section => section.parse(gpu[tag]);

const known = <Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } =>
  (value === undefined ? {} : { [key]: value }) as { [K in Key]?: Value };

function percent(value: string | undefined): number | undefined {
  const figure = parseFigure(value, '%');
  return figure === undefined ? undefined : figure / 100;
}

const counted = (value: string | undefined): number | undefined =>
  value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined;

const switched = (value: string | undefined, on: string, off: string): boolean | undefined =>
  value === on ? true : value === off ? false : undefined;

/** Known as soon as one part is, as NVML's sums are. */
function sum(parts: readonly (number | undefined)[]): number | undefined {
  const figures = parts.filter((part) => part !== undefined);
  return figures.length === 0 ? undefined : figures.reduce((total, part) => total + part, 0);
}

function reasonMask(gpu: Section): number | undefined {
  const reasons = { ...below(gpu, 'clocks_throttle_reasons'), ...below(gpu, 'clocks_event_reasons') };
  const bits = Object.entries(reasons).map(([tag, value]) => {
    const bit = REASON_BITS[tag.replace(/^clocks_(event|throttle)_reason_/, '')];
    const active = switched(text.parse(value), 'Active', 'Not Active');
    return bit === undefined || active === undefined ? undefined : active ? bit : 0;
  });
  return sum(bits);
}

function loadOf(gpu: Section): Readings {
  const power = (...tags: readonly string[]): number | undefined => parseFigure(said(gpu, ...tags), 'W', 'mW');
  const memory = (tag: string): number | undefined => parseFigure(said(gpu, 'fb_memory_usage', tag), ...MEMORY);
  const celsius = (tag: string): number | undefined => parseFigure(said(gpu, 'temperature', tag), 'C');
  return {
    ...known('utilizationRatio', percent(said(gpu, 'utilization', 'gpu_util'))),
    ...known('memoryUsedBytes', memory('used')),
    ...known('memoryFreeBytes', memory('free')),
    ...known('memoryTotalBytes', memory('total')),
    ...known('temperatureCelsius', celsius('gpu_temp')),
    ...known('memoryTemperatureCelsius', celsius('memory_temp')),
    ...known('temperatureLimitCelsius', celsius('gpu_temp_slow_threshold')),
    ...known('memoryTemperatureLimitCelsius', celsius('gpu_temp_max_mem_threshold')),
    ...known(
      'powerWatts',
      power('gpu_power_readings', 'instant_power_draw') ??
        power('gpu_power_readings', 'power_draw') ??
        power('power_readings', 'power_draw'),
    ),
    ...known('smClockMhz', parseFigure(said(gpu, 'clocks', 'sm_clock'), 'MHz')),
    ...known('memoryClockMhz', parseFigure(said(gpu, 'clocks', 'mem_clock'), 'MHz')),
    ...known('clocksEventReasons', reasonMask(gpu)),
  };
}

function healthOf(gpu: Section): Readings {
  const ecc = (tag: string): number | undefined => counted(said(gpu, 'ecc_errors', 'aggregate', tag));
  const rows = (tag: string): string | undefined => said(gpu, 'remapped_rows', `remapped_row_${tag}`);
  const recovery = said(gpu, 'gpu_recovery_action');
  const throttled = THROTTLE_COUNTERS.map((tag) =>
    parseFigure(said(gpu, 'clocks_event_reasons_counters', `clocks_event_reasons_counters_${tag}`), 'us'),
  );
  const uncorrectable = ['sram_uncorrectable', 'sram_uncorrectable_parity', 'sram_uncorrectable_secded'];
  return {
    ...known('throttledNs', sum(throttled)),
    ...known('eccCorrectedTotal', sum([ecc('sram_correctable'), ecc('dram_correctable')])),
    ...known('eccUncorrectedTotal', sum([...uncorrectable.map(ecc), ecc('dram_uncorrectable')])),
    ...known('remappedRowsCorrected', counted(rows('corr'))),
    ...known('remappedRowsUncorrected', counted(rows('unc'))),
    ...known('remapPending', switched(rows('pending'), 'Yes', 'No')),
    ...known('remapFailed', switched(rows('failure'), 'Yes', 'No')),
    ...known('recoveryAction', recovery === undefined ? undefined : (RECOVERY_WORDS[recovery] ?? 'other')),
    ...known('addressingMode', said(gpu, 'addressing_mode')?.toLowerCase()),
    ...known('migEnabled', switched(said(gpu, 'mig_mode', 'current_mig'), 'Enabled', 'Disabled')),
    ...known('pcieReplayTotal', counted(said(gpu, 'pci', 'replay_counter'))),
    ...known('persistenceMode', switched(said(gpu, 'persistence_mode'), 'Enabled', 'Disabled')),
  };
}

/** Compute processes, as NVML's list has them; undefined where nvidia-smi could not tell. */
function processesOf(gpu: Section): Readings['processes'] {
  const list = gpu['processes'];
  // An empty element is an empty text; a list that could not be had is N/A.
  if (typeof list === 'string' && list.trim() === '') return [];
  const { process_info: infos } = section.parse(list);
  if (infos === undefined) return undefined;
  return (Array.isArray(infos) ? infos : [infos]).flatMap((one) => {
    const info = section.parse(one);
    const pid = counted(said(info, 'pid'));
    if (pid === undefined || pid === 0 || !/C/.test(said(info, 'type') ?? '')) return [];
    return [{ pid, ...known('memoryBytes', parseFigure(said(info, 'used_memory'), ...MEMORY)) }];
  });
}

/** @throws ZodError when `data` is not what nvidia-smi prints */
export function normalise(data: unknown): readonly SensorGpu[] {
  const { nvidia_smi_log: log } = logSchema.parse(data);
  return (log.gpu ?? []).map((gpu, index) => ({
    index,
    ...known('uuid', said(gpu, 'uuid')),
    ...known('name', said(gpu, 'product_name')),
    ...known('driverVersion', log.driver_version),
    ...loadOf(gpu),
    ...healthOf(gpu),
    ...known('processes', processesOf(gpu)),
  }));
}
