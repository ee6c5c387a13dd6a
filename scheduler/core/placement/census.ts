/**
 * The GPUs of a node as a deployment sees them, model by model, in the steps in which they fall away: all, the sound, those that
 * may be shared, those with the memory. The filters of GPUs tell their reasons from it; planning asks fit.ts, which is quick
 * and says no more than yes or no, and a test holds both to the same answer.
 */
import { admits, type Board, freeBytes } from './board.ts';
import type { Demand } from './demand.ts';

export interface Census {
  /** Rows of the fleet. */
  readonly all: readonly number[];
  readonly sound: readonly number[];
  readonly open: readonly number[];
  readonly fitting: readonly number[];
}

/** One census for each model that the deployment allows. */
export function censuses(board: Board, node: number, demand: Demand): Census[] {
  const { gpuStart, modelId, usable } = board.fleet;
  const rowsOf = new Map<number, number[]>();
  for (let g = gpuStart[node] as number; g < (gpuStart[node + 1] as number); g++) {
    const id = modelId[g] as number;
    if (demand.allowsModel !== undefined && demand.allowsModel[id] === 0) continue;
    const rows = rowsOf.get(id) ?? [];
    rowsOf.set(id, rows);
    rows.push(g);
  }
  const need = leastNeed(board, node, demand);
  return [...rowsOf.values()].map((all) => {
    const sound = all.filter((g) => usable[g] === 1);
    const open = sound.filter((g) => admits(board, g, demand));
    return { all, sound, open, fitting: open.filter((g) => freeBytes(board, g) >= need(g)) };
  });
}

/** What a GPU must have free at least: less where the host has room for the spill. */
export function leastNeed(board: Board, node: number, demand: Demand): (row: number) => number {
  const spilledHost = demand.hostBytes + demand.gpus * demand.spillBytes;
  const maySpill = demand.spillBytes > 0 && (board.hostFree[node] as number) >= spilledHost;
  return (row) => demand.gpuBytes - (maySpill && board.fleet.coherent[row] === 1 ? demand.spillBytes : 0);
}

/** The census that comes closest, by the step that is asked about. */
export function closest(list: readonly Census[], step: keyof Census): Census | undefined {
  let best: Census | undefined;
  for (const each of list) if (best === undefined || each[step].length > best[step].length) best = each;
  return best;
}
