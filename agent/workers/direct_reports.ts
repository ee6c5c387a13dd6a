/**
 * What the direct listener tells the main thread, and through it the schedulers: which tickets were taken, how they fare,
 * what was refused. All that happens in one turn of the event loop leaves together. A lease that still runs is said again
 * well within its time, so that a report that got lost costs nothing.
 */
import type { LaneUsage } from '../../proto/codec.ts';
import type { DirectLease } from '../../proto/gen/fleet/v1/DirectLease.ts';
import type { DirectReport } from './relay_messages.ts';

/** A lease is said to be held this often within its time. */
const SAID_WITHIN_LEASE = 3;

export interface OpenLease {
  readonly id: string;
  readonly scheduler: string;
  readonly leaseMs: number;
  saidAtMs: number;
}

export class DirectReports {
  readonly #post: (report: DirectReport) => void;
  readonly #open = new Set<OpenLease>();
  readonly #waiting = new Map<string, DirectLease[]>();
  #refusals: Record<string, number> = {};
  #due = false;

  constructor(post: (report: DirectReport) => void) {
    this.#post = post;
  }

  /** A ticket was taken. */
  begun(
    lease: { readonly id: string; readonly scheduler: string; readonly leaseMs: number },
    nowMs: number,
  ): OpenLease {
    const open = { ...lease, saidAtMs: nowMs };
    this.#open.add(open);
    this.#say(open, { phase: 'DIRECT_PHASE_BEGUN' });
    return open;
  }

  firstToken(lease: OpenLease): void {
    this.#say(lease, { phase: 'DIRECT_PHASE_FIRST_TOKEN' });
  }

  /** @param code of docs/ERRORS.md; empty: it ended well */
  ended(lease: OpenLease, code: string, usage: LaneUsage | undefined): void {
    this.#open.delete(lease);
    this.#say(lease, { phase: 'DIRECT_PHASE_ENDED', code, ...usage });
  }

  refused(code: string): void {
    this.#refusals[code] = (this.#refusals[code] ?? 0) + 1;
    this.#ask();
  }

  /** Says again which leases run; to be called several times a second. */
  renew(nowMs: number): void {
    for (const lease of this.#open) {
      if ((nowMs - lease.saidAtMs) * SAID_WITHIN_LEASE < lease.leaseMs) continue;
      lease.saidAtMs = nowMs;
      this.#say(lease, { phase: 'DIRECT_PHASE_HELD' });
    }
  }

  #say({ id, scheduler }: OpenLease, what: Omit<DirectLease, 'lease'>): void {
    const waiting = this.#waiting.get(scheduler) ?? [];
    waiting.push({ ...what, lease: id });
    this.#waiting.set(scheduler, waiting);
    this.#ask();
  }

  #ask(): void {
    if (this.#due) return;
    this.#due = true;
    setImmediate(() => this.flush());
  }

  /** Tells at once what waits. */
  flush(): void {
    this.#due = false;
    for (const [scheduler, leases] of this.#waiting) this.#post({ what: 'leases', scheduler, leases });
    this.#waiting.clear();
    if (Object.keys(this.#refusals).length === 0) return;
    this.#post({ what: 'refused', counts: this.#refusals });
    this.#refusals = {};
  }
}
