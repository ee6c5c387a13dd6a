/**
 * How fast an engine is believed to be before anything was observed of it: the row of the measured table that its model,
 * precision and GPU name, else a neutral one. The first observations correct it, so a wrong guess costs a few requests.
 */
import { type TimingRow, TIMING_ROWS, type TimingRowName } from '../../../lib/engine_timing.ts';
import type { EngineSpeed } from './contract.ts';

/** The speed that a row of the measured table states. */
export function speedOfRow(row: TimingRow): EngineSpeed {
  return {
    prefillBaseMs: row.prefillBaseMs,
    prefillPerTokenMs: row.prefillMsPerToken,
    prefillPerTokenSquaredMs: row.prefillMsPerTokenSquared,
    stepBaseMs: row.decodeBaseMs,
    stepPerSequenceMs: row.decodeMsPerSequence,
    stepPerContextTokenMs: row.decodeMsPerContextToken,
  };
}

/** A small model on one H100: of an engine of which nothing is known. */
export const NEUTRAL_SPEED: EngineSpeed = speedOfRow(TIMING_ROWS['8b-bf16-h100']);

/** What tells which row fits. */
export interface EngineHardware {
  /** The model's name as it is served, such as `meta-llama/Llama-3.1-70B-Instruct-FP8`. */
  readonly model: string;
  /** As the driver names it, such as `NVIDIA H100 80GB HBM3`. */
  readonly gpu: string;
  readonly gpus: number;
}

/** Rows by billions of parameters, precision and GPU; the GPUs decide among rows that differ only in them. */
const ROWS = Object.entries(TIMING_ROWS) as readonly (readonly [TimingRowName, TimingRow])[];

/**
 * The row of the hardware. A size, precision or GPU that is not in the table has no row: scaling would be a guess, and
 * the neutral speed is one as well.
 */
export function priorOf(hardware: EngineHardware): EngineSpeed {
  const size = /(?<![0-9.])(\d+)B(?![a-z])/i.exec(hardware.model)?.[1];
  const precision = /fp8/i.test(hardware.model) ? 'fp8' : 'bf16';
  const found = ROWS.find(
    ([, row]) =>
      row.model === `${size}B` &&
      row.precision === precision &&
      hardware.gpu.includes(row.gpu) &&
      row.tensorParallel === hardware.gpus,
  );
  return found === undefined ? NEUTRAL_SPEED : speedOfRow(found[1]);
}
