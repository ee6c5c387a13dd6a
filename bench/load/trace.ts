/**
 * Traces as `bench -- load` replays them: read by the simulator's reader, so that both mean the same by a file, with the
 * prompts' shared blocks as ids. `mooncake` and `azure` name the two that lie in the project.
 */
import { CodedError } from '../../lib/errors.ts';
import { TraceError } from '../sim/traces/formats.ts';
import { readTrace } from '../sim/traces/read.ts';
import type { Workload } from '../sim/traces/workload.ts';
import type { Arrival } from './arrivals.ts';

/** The requests of a workload. */
export function arrivalsOf(workload: Workload): Arrival[] {
  const { chunkStart, chunkIds } = workload;
  return Array.from({ length: workload.requests }, (_, r) => ({
    atMs: workload.arrivalMs[r] as number,
    inputTokens: workload.inputTokens[r] as number,
    outputTokens: workload.outputTokens[r] as number,
    blocks: [...chunkIds.subarray(chunkStart[r], chunkStart[r + 1])],
    blockTokens: workload.chunkTokens,
  }));
}

/**
 * @param seed shapes a synthetic trace only
 * @throws CodedError when there is no such trace, or a row of it cannot be understood
 */
export async function readArrivals(nameOrFile: string, seed: number): Promise<Arrival[]> {
  try {
    return arrivalsOf(await readTrace(nameOrFile, seed));
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    throw new CodedError('invalid_value', error.message, { param: 'trace', cause: error });
  }
}
