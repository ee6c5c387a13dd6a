/**
 * Compares what two readers say of one GPU, field by field, with a tolerance where a figure moves between two readings.
 * A field that one reader does not have is named, so that a reader that goes blind is seen.
 */
import type { GpuState } from '../../agent/ports.ts';

const MIB = 2 ** 20;

/** nvidia-smi rounds memory to whole MiB. What a load moves within a second is given more room. */
const TOLERANCES = {
  index: 0,
  uuid: 0,
  name: 0,
  driverVersion: 0,
  memoryTotalBytes: MIB,
  memoryUsedBytes: MIB,
  memoryFreeBytes: MIB,
  utilizationRatio: 0.1,
  temperatureCelsius: 5,
  memoryTemperatureCelsius: 5,
  powerWatts: 120,
  smClockMhz: 300,
  memoryClockMhz: 0,
  clocksEventReasons: 0,
  throttledNs: 2e9,
  eccCorrectedTotal: 0,
  eccUncorrectedTotal: 0,
  remappedRowsCorrected: 0,
  remappedRowsUncorrected: 0,
  remapPending: 0,
  remapFailed: 0,
  recoveryAction: 0,
  addressingMode: 0,
  migEnabled: 0,
  pcieReplayTotal: 0,
  persistenceMode: 0,
} as const satisfies Partial<Record<keyof GpuState, number>>;

export type ComparedField = keyof typeof TOLERANCES;

export interface FieldRow {
  readonly field: ComparedField | 'processes';
  readonly left: unknown;
  readonly right: unknown;
  readonly alike: boolean;
}

function alike(left: unknown, right: unknown, tolerance: number): boolean {
  if (typeof left === 'number' && typeof right === 'number') return Math.abs(left - right) <= tolerance;
  return left === right;
}

/** Processes that one list has and the other has not, or not with the same memory. */
function processRow(left: GpuState, right: GpuState): FieldRow {
  const texts = [left, right].map(({ processes }) =>
    processes
      ?.map(({ pid, memoryBytes }) => `${pid}: ${memoryBytes === undefined ? '?' : Math.floor(memoryBytes / MIB)} MiB`)
      .toSorted()
      .join(', '),
  );
  return { field: 'processes', left: texts[0], right: texts[1], alike: texts[0] === texts[1] };
}

/** A row per field, also for those that both readers lack. */
export function compareGpus(left: GpuState, right: GpuState): FieldRow[] {
  const rows = (Object.keys(TOLERANCES) as ComparedField[]).map(
    (field): FieldRow => ({
      field,
      left: left[field],
      right: right[field],
      alike: alike(left[field], right[field], TOLERANCES[field]),
    }),
  );
  return [...rows, processRow(left, right)];
}
