/**
 * Attempts that were given up while their lane was lost: their engines work on for nobody until the agent's grace ends.
 * When the lane is back they are taken over for a moment, and ended.
 */
import type { NodeId } from '../../../lib/ids.ts';
import type { AttachOrder, GenerationSink, LaneHandle } from '../../ports.ts';

export interface AbandonedAttempt extends Omit<AttachOrder, 'creditBytes'> {
  readonly node: NodeId;
  readonly worker: number;
}

interface Kept {
  readonly attempt: AbandonedAttempt;
  readonly atMs: number;
}

/** Longer than any agent keeps a request without a lane by default; what is older has ended by itself. */
const KEPT_MS = 60_000;
const MAX_KEPT = 4096;

/** Nobody listens: whatever the agent says of it, the attempt is over. */
const NOBODY: GenerationSink = { onHead() {}, onTokens() {}, onBody() {}, onDone() {}, onError() {} };

export class AbandonedAttempts {
  #kept: Kept[] = [];

  get size(): number {
    return this.#kept.length;
  }

  add(attempt: AbandonedAttempt, nowMs: number): void {
    this.#kept.push({ attempt, atMs: nowMs });
    if (this.#kept.length > MAX_KEPT) this.#kept.shift();
  }

  /** Ends what was given up on the worker that this lane leads to. */
  laneOpened(lane: LaneHandle, nowMs: number): void {
    const rest: Kept[] = [];
    for (const kept of this.#kept) {
      const { node, worker, ...place } = kept.attempt;
      if (nowMs - kept.atMs > KEPT_MS) continue;
      if (node !== lane.nodeName || worker !== lane.worker) rest.push(kept);
      else lane.attach?.({ ...place, creditBytes: 0 }, NOBODY).cancel();
    }
    this.#kept = rest;
  }
}
