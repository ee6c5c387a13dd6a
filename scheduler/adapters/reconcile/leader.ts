/**
 * Whether this scheduler leads. The lease lies in the store and is timed by the store's clock; here only the time since it
 * was asked for is counted, on the monotonic clock, which goes on while the process is stopped. So a scheduler that wakes up
 * after a pause knows at once that it leads no more, whatever it was about to do.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { Fence, Lease, LeaseStore } from '../../core/events/store_port.ts';

export const RECONCILE_LEASE = 'reconcile';

export interface LeaderDeps {
  readonly leases: LeaseStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Unique for this life of this process. */
  readonly holder: string;
  readonly ttlMs: number;
  /** Highest term that agents have seen: an epoch must be above it, or nobody would obey. */
  readonly observedTerm: () => number;
  /** Called when this scheduler begins or ceases to lead. */
  readonly onChanged: () => void;
}

/** Of the lease's time: this much is left unused, for clocks that do not run alike. */
const MARGIN = 0.1;
const RENEWALS_PER_TTL = 3;
/** How soon after the end of another's lease it is asked for. */
const AFTER_END_MS = 20;
const LEAST_WAIT_MS = 50;

export class Leader {
  readonly #deps: LeaderDeps;
  #epoch: number | undefined;
  #untilMs = 0;
  #known: Lease | undefined;
  #stopped = false;
  #cancel: (() => void) | undefined;
  #work: Promise<void> = Promise.resolve();
  #wasLeading = false;
  #lastTrouble = '';
  #sinceMs = 0;

  constructor(deps: LeaderDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#later(0);
  }

  /** Gives the lease up, so that another may lead at once. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#work;
    const epoch = this.#epoch;
    this.#epoch = undefined;
    this.#known = undefined;
    this.#tell();
    if (epoch === undefined) return;
    await this.#deps.leases
      .release(RECONCILE_LEASE, this.#deps.holder, epoch)
      .catch((error: unknown) => this.#trouble(error));
  }

  isLeading(): boolean {
    return this.#epoch !== undefined && this.#deps.clock.monotonicMs() < this.#untilMs;
  }

  /** Monotonic milliseconds since when it leads; meaningless while it does not. */
  get sinceMs(): number {
    return this.#sinceMs;
  }

  /** The newest epoch that is known, of whoever holds the lease; 0: none is. */
  get epoch(): number {
    return Math.max(this.#epoch ?? 0, this.#known?.epoch ?? 0);
  }

  get holder(): string | undefined {
    if (this.isLeading()) return this.#deps.holder;
    return this.#known !== undefined && this.#known.leftMs > 0 ? this.#known.holder : undefined;
  }

  get fence(): Fence {
    return { lease: RECONCILE_LEASE, epoch: this.#epoch ?? 0 };
  }

  /** The store refused an append of this epoch: somebody else leads. */
  fenced(epoch: number): void {
    if (this.#epoch === undefined || this.#epoch >= epoch) return;
    this.#deps.logger.warn({ epoch: this.#epoch, newest: epoch }, 'an append was refused: another scheduler leads');
    this.#epoch = undefined;
    this.#tell();
    this.#later(0);
  }

  #later(delayMs: number): void {
    if (this.#stopped) return;
    this.#cancel?.();
    this.#cancel = this.#deps.clock.after(delayMs, () => {
      this.#work = this.#step();
    });
  }

  async #step(): Promise<void> {
    try {
      this.#later(await this.#ask());
    } catch (error) {
      this.#trouble(error);
      this.#later(this.#deps.ttlMs / RENEWALS_PER_TTL);
    }
    this.#tell();
  }

  /** @returns when to ask again */
  async #ask(): Promise<number> {
    const { leases, holder, ttlMs, clock, observedTerm } = this.#deps;
    const askedAtMs = clock.monotonicMs();
    const above = observedTerm();
    if (this.#epoch !== undefined && above > this.#epoch) {
      // Agents obey a newer term than this lease has: a new lease above it is the only way to be obeyed again.
      await leases.release(RECONCILE_LEASE, holder, this.#epoch);
      this.#epoch = undefined;
    }
    const outcome =
      this.#epoch === undefined
        ? await leases.acquire(RECONCILE_LEASE, holder, ttlMs, above)
        : await leases.renew(RECONCILE_LEASE, holder, this.#epoch, ttlMs);
    this.#lastTrouble = '';
    this.#known = outcome.lease;
    if (outcome.kind === 'held') {
      this.#epoch = outcome.lease.epoch;
      this.#untilMs = askedAtMs + ttlMs * (1 - MARGIN);
      return ttlMs / RENEWALS_PER_TTL;
    }
    this.#epoch = undefined;
    const leftMs = outcome.lease?.leftMs ?? 0;
    return Math.min(ttlMs / RENEWALS_PER_TTL, Math.max(LEAST_WAIT_MS, leftMs + AFTER_END_MS));
  }

  #tell(): void {
    const isLeading = this.isLeading();
    if (isLeading === this.#wasLeading) return;
    this.#wasLeading = isLeading;
    const { logger, holder, clock, onChanged } = this.#deps;
    if (isLeading) this.#sinceMs = clock.monotonicMs();
    logger.info({ epoch: this.epoch, holder: isLeading ? holder : this.holder }, isLeading ? 'leads' : 'leads no more');
    onChanged();
  }

  #trouble(error: unknown): void {
    const code = error instanceof CodedError ? error.code : 'internal';
    if (code !== this.#lastTrouble)
      this.#deps.logger.warn({ err: error }, 'the lease of reconcile cannot be asked for');
    this.#lastTrouble = code;
  }
}
