/**
 * Whether agents have acknowledged what the log does not have. Generations of orders are numbers of the log, so an agent that
 * has taken up a higher one has seen events that are not there: the log lags, or the store came back from an older backup.
 */
import type { FleetState } from '../fleet/state.ts';

export interface Gap {
  readonly node: string;
  /** What it has acknowledged. */
  readonly generation: number;
}

/**
 * @param seq the last event of the log that is known here
 * @param epoch of the leader; agents that obey a newer one say nothing of this log
 * @param accepted generations up to this are no gap any more: a person has looked
 * @returns the widest gap; undefined: there is none
 */
export function gapOf(fleet: FleetState, seq: number, epoch: number, accepted: number): Gap | undefined {
  let gap: Gap | undefined;
  for (const { name, hello } of fleet.nodes.values()) {
    const { observedGeneration: generation, observedTerm: term } = hello;
    // A scheduler without a store takes its start as both term and generation: that is no place of a log.
    if (generation === undefined || generation === term || term === undefined || term > epoch) continue;
    if (generation > Math.max(seq, accepted, gap?.generation ?? 0)) gap = { node: name, generation };
  }
  return gap;
}
