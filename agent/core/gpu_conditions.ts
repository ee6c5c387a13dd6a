/**
 * States of a GPU that a reading shows and that hold until they are over, each with what is done when it begins. A
 * reading that is absent neither begins nor ends one: unknown is not well. Rules after gpud; bits of nvml.h 13.5.
 */
import type { GpuState } from '../ports.ts';
import { type GpuAction, type GpuLevel, RECOVERY_RULES } from './gpu_health_table.ts';

/** nvmlClocksEventReason bits of the hardware; the software's power cap is a normal thing under load. */
export const CLOCKS = { hwSlowdown: 0x8, hwThermal: 0x40, hwPowerBrake: 0x80 } as const;

/** gpud: hardware slowdown is a fault from 0.6 events a minute over ten minutes on. */
const SLOWDOWN_WINDOW_MINUTES = 10;
const SLOWDOWN_EVENTS_PER_MINUTE = 0.6;
const MINUTE_MS = 60_000;

export interface ConditionInput {
  readonly gpu: GpuState;
  /** Minutes since the epoch in which the hardware slowed the GPU down, newest last. */
  readonly slowMinutes: readonly number[];
  readonly nowMs: number;
}

export interface Condition {
  readonly name: string;
  /** The kind of the event. */
  readonly kind: string;
  readonly level: GpuLevel;
  readonly action: GpuAction | ((gpu: GpuState) => GpuAction);
  /** The sentence when it holds, false when it does not, undefined when that is unknown. */
  readonly holds: (input: ConditionInput) => string | false | undefined;
}

const has = (mask: number, bit: number): boolean => Math.floor(mask / bit) % 2 === 1;

/** Adds this moment's minute when the hardware slows the GPU down; keeps the window only. */
export function noteSlowdown(minutes: readonly number[], gpu: GpuState, nowMs: number): readonly number[] {
  const minute = Math.floor(nowMs / MINUTE_MS);
  const recent = minutes.filter((one) => one > minute - SLOWDOWN_WINDOW_MINUTES && one <= minute);
  const reasons = gpu.clocksEventReasons;
  const slowed = reasons !== undefined && Object.values(CLOCKS).some((bit) => has(reasons, bit));
  return slowed && recent.at(-1) !== minute ? [...recent, minute] : recent;
}

const flagged = (value: boolean | undefined, sentence: string): string | false | undefined =>
  value === undefined ? undefined : value && sentence;

function above(value: number | undefined, limit: number | undefined, what: string): string | false | undefined {
  if (value === undefined || limit === undefined || limit === 0) return undefined;
  return value >= limit && `${what} is at ${value} C, its limit is ${limit} C.`;
}

const clocks = (gpu: GpuState, bit: number, sentence: string): string | false | undefined =>
  gpu.clocksEventReasons === undefined ? undefined : has(gpu.clocksEventReasons, bit) && sentence;

export const CONDITIONS: readonly Condition[] = [
  {
    name: 'remap_failed',
    kind: 'row_remap',
    level: 'unhealthy',
    action: 'replace',
    holds: ({ gpu }) => flagged(gpu.remapFailed, 'A memory row could not be remapped: open a ticket with the vendor.'),
  },
  {
    name: 'remap_pending',
    kind: 'row_remap',
    level: 'unhealthy',
    action: 'reboot',
    holds: ({ gpu }) => flagged(gpu.remapPending, 'A memory row waits to be remapped, which happens at a restart.'),
  },
  {
    name: 'recovery_action',
    kind: 'recovery_action',
    level: 'unhealthy',
    action: (gpu) => RECOVERY_RULES[gpu.recoveryAction as string] ?? 'record',
    holds: ({ gpu }) => {
      const wanted = gpu.recoveryAction;
      return wanted === undefined ? undefined : wanted !== 'none' && `The driver asks for this recovery: ${wanted}.`;
    },
  },
  {
    name: 'slowdown_sustained',
    kind: 'thermal',
    level: 'unhealthy',
    action: 'drain',
    holds: ({ gpu, slowMinutes }) =>
      gpu.clocksEventReasons === undefined
        ? undefined
        : slowMinutes.length >= SLOWDOWN_WINDOW_MINUTES * SLOWDOWN_EVENTS_PER_MINUTE &&
          `The hardware slowed the GPU down in ${slowMinutes.length} of the last ${SLOWDOWN_WINDOW_MINUTES} minutes.`,
  },
  {
    name: 'thermal_slowdown',
    kind: 'thermal',
    level: 'degraded',
    action: 'record',
    holds: ({ gpu }) => clocks(gpu, CLOCKS.hwThermal, 'The hardware slows the GPU down because it is too hot.'),
  },
  {
    name: 'power_brake',
    kind: 'power',
    level: 'degraded',
    action: 'record',
    holds: ({ gpu }) => clocks(gpu, CLOCKS.hwPowerBrake, 'The power supply has put the brake on the GPU.'),
  },
  {
    name: 'over_temperature',
    kind: 'thermal',
    level: 'degraded',
    action: 'record',
    holds: ({ gpu }) => above(gpu.temperatureCelsius, gpu.temperatureLimitCelsius, 'The GPU'),
  },
  {
    name: 'memory_over_temperature',
    kind: 'thermal',
    level: 'degraded',
    action: 'record',
    holds: ({ gpu }) => above(gpu.memoryTemperatureCelsius, gpu.memoryTemperatureLimitCelsius, 'The memory'),
  },
  {
    name: 'persistence_off',
    kind: 'persistence',
    level: 'unhealthy',
    action: 'record',
    holds: ({ gpu }) =>
      gpu.persistenceMode === undefined
        ? undefined
        : !gpu.persistenceMode && 'Persistence mode is off: the driver unloads the GPU when nobody uses it.',
  },
  {
    name: 'c2c_link_down',
    kind: 'c2c',
    level: 'degraded',
    action: 'record',
    holds: ({ gpu: { c2cLinkCount: links, c2cLinksActive: active } }) =>
      links === undefined || active === undefined
        ? undefined
        : active < links && `${active} of ${links} chip-to-chip links are active.`,
  },
];

/** A counter whose growth is an event each time, and what enough of them in a day are. */
export interface Counter {
  readonly name: 'eccUncorrectedTotal' | 'c2cErrorTotal' | 'pcieFatalTotal';
  readonly kind: string;
  readonly level: GpuLevel;
  readonly sentence: string;
  /** So many growths in a day make it a reason to drain. */
  readonly drainAfter?: number;
}

export const COUNTERS: readonly Counter[] = [
  {
    name: 'eccUncorrectedTotal',
    kind: 'ecc',
    level: 'degraded',
    sentence: 'Memory errors that could not be corrected',
    drainAfter: 3,
  },
  { name: 'pcieFatalTotal', kind: 'pcie', level: 'degraded', sentence: 'PCIe errors that are not correctable' },
  { name: 'c2cErrorTotal', kind: 'c2c', level: 'ok', sentence: 'Errors on the chip-to-chip links' },
];
