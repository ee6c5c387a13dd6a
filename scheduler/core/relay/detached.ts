/**
 * Requests that run on at agents without a scheduler: after the death of the one that had them, their clients come back
 * to another, or to the same one restarted, and find them here. The agents tell of them, per worker, when a lane opens
 * and when another scheduler's lane is lost.
 */
import type { CodedError } from '../../../lib/errors.ts';
import type { RequestId } from '../../../lib/ids.ts';
import type { DetachedRequest } from '../../../proto/codec.ts';
import type { LaneHandle } from '../../ports.ts';
import type { Placement } from './relay_host.ts';

/** An attempt whose lane is lost: it may run on at its agent. */
export interface DetachedAttempt {
  readonly placement: Placement;
  readonly lane: LaneHandle;
  readonly error: CodedError;
  /** Its place was given back, and the request is looked for another one. */
  readonly settled: boolean;
}

export interface DetachedPlace {
  readonly lane: LaneHandle;
  readonly detached: DetachedRequest;
}

/** A generation that nobody asks for ends by itself at its agent after its grace. */
const KEPT_MS = 60_000;
const MAX_KEPT = 16_384;

export class DetachedRequests {
  readonly #places = new Map<string, DetachedPlace & { readonly atMs: number }>();

  get size(): number {
    return this.#places.size;
  }

  told(lane: LaneHandle, list: readonly DetachedRequest[], nowMs: number): void {
    for (const detached of list) {
      this.#places.delete(detached.id);
      this.#places.set(detached.id, { lane, detached, atMs: nowMs });
    }
    for (const [id, { atMs, lane: on }] of this.#places) {
      const over = this.#places.size > MAX_KEPT;
      if (over || nowMs - atMs > KEPT_MS || on.closed === true) this.#places.delete(id);
    }
  }

  find(id: RequestId): DetachedPlace | undefined {
    const place = this.#places.get(id);
    return place === undefined || place.lane.closed === true ? undefined : place;
  }

  /** It is come back for, or of no use. */
  forget(id: RequestId): void {
    this.#places.delete(id);
  }
}
