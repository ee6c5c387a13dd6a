/**
 * Which calls and fields of NVML make which reading, as data. Field ids and units are those of NVIDIA's nvml.h (13.5,
 * checked against 12.9). A reading with a fallback is asked by the fallback once the first way is known not to be there.
 * GetPcieThroughput is left out on purpose: it blocks for 20 ms.
 */
import type { NvmlCall, NvmlField } from '../../native/contract.ts';
import type { Group, Readings } from './messages.ts';

export interface FieldReading {
  readonly group: Group;
  readonly field: number;
  /** Asked instead where the GPU has no such field. */
  readonly insteadAsk?: CallReading;
  readonly take: (value: number) => Readings;
}

export interface CallReading {
  readonly call: NvmlCall;
  readonly take: (values: readonly number[]) => Readings;
}

const ADDRESSING_MODES = ['none', 'hmm', 'ats'] as const;
/** nvmlDeviceGpuRecoveryAction_t. */
const RECOVERY_ACTIONS = [
  'none',
  'reset',
  'reboot',
  'drain',
  'drain_and_reset',
  'recover_imex_domain',
  'bus_reset',
  'system_reboot',
] as const;

const first = (values: readonly number[]): number => values[0] as number;

export const CALL_READINGS: Readonly<Record<Group, readonly CallReading[]>> = {
  load: [
    { call: 'utilization', take: (values) => ({ utilizationRatio: first(values) / 100 }) },
    {
      call: 'memory',
      take: ([total, used, free]) => ({ memoryTotalBytes: total, memoryUsedBytes: used, memoryFreeBytes: free }),
    },
    { call: 'temperature', take: (values) => ({ temperatureCelsius: Math.max(0, first(values)) }) },
    { call: 'smClock', take: (values) => ({ smClockMhz: first(values) }) },
    { call: 'memoryClock', take: (values) => ({ memoryClockMhz: first(values) }) },
    { call: 'eventReasons', take: (values) => ({ clocksEventReasons: first(values) }) },
  ],
  process: [{ call: 'migMode', take: (values) => ({ migEnabled: first(values) === 1 }) }],
  gh200: [
    { call: 'numaNode', take: (values) => ({ numaNode: first(values) }) },
    { call: 'addressingMode', take: (values) => ({ addressingMode: ADDRESSING_MODES[first(values)] ?? 'other' }) },
  ],
  c2c: [],
  throttle: [],
  health: [
    { call: 'persistence', take: (values) => ({ persistenceMode: first(values) === 1 }) },
    { call: 'slowdownLimit', take: (values) => ({ temperatureLimitCelsius: first(values) }) },
    { call: 'memoryLimit', take: (values) => ({ memoryTemperatureLimitCelsius: first(values) }) },
  ],
};

const remapped: CallReading = {
  call: 'remappedRows',
  take: ([corrected, uncorrected, pending, failed]) => ({
    remappedRowsCorrected: corrected,
    remappedRowsUncorrected: uncorrected,
    remapPending: pending !== 0,
    remapFailed: failed !== 0,
  }),
};

/** Milliwatts, millions of nothing: each field in the unit of nvml.h. */
export const FIELD_READINGS: readonly FieldReading[] = [
  {
    group: 'load',
    field: 186,
    take: (milliwatts) => ({ powerWatts: milliwatts / 1000 }),
    insteadAsk: { call: 'power', take: (values) => ({ powerWatts: first(values) / 1000 }) },
  },
  { group: 'load', field: 82, take: (celsius) => ({ memoryTemperatureCelsius: celsius }) },
  {
    group: 'health',
    field: 5,
    take: (total) => ({ eccCorrectedTotal: total }),
    insteadAsk: { call: 'eccCorrected', take: (values) => ({ eccCorrectedTotal: first(values) }) },
  },
  {
    group: 'health',
    field: 6,
    take: (total) => ({ eccUncorrectedTotal: total }),
    insteadAsk: { call: 'eccUncorrected', take: (values) => ({ eccUncorrectedTotal: first(values) }) },
  },
  { group: 'health', field: 142, take: (rows) => ({ remappedRowsCorrected: rows }), insteadAsk: remapped },
  { group: 'health', field: 143, take: (rows) => ({ remappedRowsUncorrected: rows }), insteadAsk: remapped },
  { group: 'health', field: 144, take: (pending) => ({ remapPending: pending !== 0 }), insteadAsk: remapped },
  { group: 'health', field: 145, take: (failed) => ({ remapFailed: failed !== 0 }), insteadAsk: remapped },
  {
    group: 'health',
    field: 94,
    take: (replays) => ({ pcieReplayTotal: replays }),
    insteadAsk: { call: 'pcieReplays', take: (values) => ({ pcieReplayTotal: first(values) }) },
  },
  { group: 'health', field: 230, take: (action) => ({ recoveryAction: RECOVERY_ACTIONS[action] ?? 'other' }) },
];

/** Sums that are one reading: known as soon as one of their fields is. */
export interface SumReading {
  readonly group: Group;
  readonly fields: readonly number[];
  readonly take: (sum: number) => Readings;
}

export const SUM_READINGS: readonly SumReading[] = [
  {
    group: 'health',
    fields: [173, 174, 175, 176, 177, 178, 181, 182, 183],
    take: (sum) => ({ pcieErrorTotal: sum }),
  },
  { group: 'health', fields: [179, 180], take: (sum) => ({ pcieFatalTotal: sum }) },
];

/**
 * Nanoseconds of lowered clocks. The thermal and power-brake fields had the numbers 251-253 until 13.0 and have 269-271
 * since 13.0 Update 1 (driver 580.82), where the old numbers mean something else; between the two nobody can tell.
 */
export function throttleFields(driverVersion: string): readonly number[] {
  const POWER_CAP = 74;
  const [major = 0, minor = 0] = driverVersion.split('.').map(Number);
  if (major > 0 && major < 580) return [POWER_CAP, 251, 252, 253];
  if (major > 580 || (major === 580 && minor >= 82)) return [POWER_CAP, 269, 270, 271];
  return [POWER_CAP];
}

/** Number of C2C links of a Grace Hopper or Grace Blackwell part. */
export const C2C_LINK_COUNT: NvmlField = { id: 170, scope: 0 };
/** So many links fit into one GetFieldValues; a GH200 has ten. */
export const MOST_C2C_LINKS = 10;
export const C2C_STATUS = 171;
export const C2C_BANDWIDTH = 172;
export const C2C_ERRORS: readonly number[] = [231, 232, 233];
export const C2C_POWER_STATE = 234;
