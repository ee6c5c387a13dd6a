/**
 * What goes wrong by itself and what is done about it, as a table. Operators' wishes (scale, delete, drain, a new revision)
 * are no symptoms: they have no limit and no action event. docs/RECONCILE.md has the same table with its reasons.
 */

export const SYMPTOMS = {
  node_lost: {
    action: 'place_elsewhere',
    words: 'the node was not reachable for too long',
  },
  gpu_bad: {
    action: 'move',
    words: 'a GPU failed or is in quarantine',
  },
  node_quarantined: {
    action: 'move',
    words: 'the node is in quarantine',
  },
  engine_failed: {
    action: 'stop_and_avoid',
    words: 'the agent has given the engine up',
  },
  gang_member_failed: {
    action: 'restart_gang',
    words: 'a member of a replica over several hosts has failed, so all of it is stopped and started again',
  },
  gang_start_failed: {
    action: 'stop_and_avoid',
    words: 'a member of a replica over several hosts does not start, so all of it is stopped',
  },
  gang_host_lost: {
    action: 'restart_gang',
    words: 'a host of a replica over several hosts was not reachable for too long, so all of it is stopped',
  },
  spec_rejected: {
    action: 'stop_and_avoid',
    words: 'the agent refuses the specification',
  },
} as const satisfies Record<string, { readonly action: string; readonly words: string }>;

export type Symptom = keyof typeof SYMPTOMS;

/** Counts actions within a window that slides; time is an argument. */
export class ActionBudget {
  readonly #most: number;
  readonly #windowMs: number;
  #times: number[] = [];

  constructor(most: number, windowMs: number) {
    this.#most = most;
    this.#windowMs = windowMs;
  }

  left(nowMs: number): number {
    this.#times = this.#times.filter((atMs) => nowMs - atMs < this.#windowMs);
    return this.#most - this.#times.length;
  }

  spend(count: number, nowMs: number): void {
    for (let i = 0; i < count; i++) this.#times.push(nowMs);
  }
}
