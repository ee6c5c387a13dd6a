/**
 * An estimate corrected by what engines of the same kind have shown: same model and revision, same parallelism, same kind of GPU.
 * What was measured takes the place of what was estimated, part by part; the largest of several measurements counts, as a
 * replica that is given too little does not start.
 */
import type { MemoryEstimate } from './estimate.ts';

/** What one engine showed; absent: it did not say. vLLM's log and metrics have all of it. */
export interface MeasuredMemory {
  readonly weightsBytes?: number;
  /** The peak of activations in its profile run. */
  readonly activationBytes?: number;
  /** Beside weights, KV cache and activations. */
  readonly overheadBytes?: number;
  /** Size of the KV cache by the tokens that it holds. */
  readonly kvBytesPerToken?: number;
}

export interface CorrectedEstimate extends MemoryEstimate {
  /** Parts that come from measurements. */
  readonly measured: readonly (keyof MeasuredMemory)[];
}

/** Room above what was measured: the next start is not exactly like the last. */
const MARGIN = 1.02;
/** Figures this far from the estimate are not believed: a reading was mixed up. */
const MOST_RATIO = 4;

const PARTS = [
  'weightsBytes',
  'activationBytes',
  'overheadBytes',
  'kvBytesPerToken',
] as const satisfies readonly (keyof MeasuredMemory)[];

export function correctEstimate(estimate: MemoryEstimate, measurements: readonly MeasuredMemory[]): CorrectedEstimate {
  const values: Record<(typeof PARTS)[number], number> = { ...estimate };
  const measured: (keyof MeasuredMemory)[] = [];
  for (const part of PARTS) {
    const seen = measurements.flatMap((each) => (isBelievable(each[part], estimate[part], part) ? [each[part]] : []));
    if (seen.length === 0) continue;
    values[part] = Math.ceil(Math.max(...seen) * (part === 'kvBytesPerToken' ? 1 : MARGIN));
    measured.push(part);
  }
  const scale = estimate.kvBytesPerToken === 0 ? 1 : values.kvBytesPerToken / estimate.kvBytesPerToken;
  const kvBytes = Math.ceil(estimate.kvBytes * scale);
  const { weightsBytes, activationBytes, overheadBytes } = values;
  return { ...values, kvBytes, totalBytes: weightsBytes + kvBytes + activationBytes + overheadBytes, measured };
}

/** Activations and overhead are estimated loosely, so only what is tied to the files is held against the estimate. */
function isBelievable(value: number | undefined, estimated: number, part: keyof MeasuredMemory): value is number {
  if (value === undefined || !Number.isFinite(value) || value < 0) return false;
  if (part === 'activationBytes' || part === 'overheadBytes') return true;
  return value > 0 && value <= estimated * MOST_RATIO && value >= estimated / MOST_RATIO;
}
