/**
 * Remembers what may be used once, for as long as it could be used again, and never more of it than a bound. A cache that
 * is full refuses what is new: to forget a used one early would let it be used twice.
 */

export class ReplayCache {
  readonly #maxEntries: number;
  /** By name, until when in milliseconds; in the order in which they came. */
  readonly #untilMs = new Map<string, number>();

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries;
  }

  get size(): number {
    return this.#untilMs.size;
  }

  has(name: string): boolean {
    return this.#untilMs.has(name);
  }

  /**
   * Uses `name`, which must be remembered until `untilMs`.
   * @returns `fresh` the first time, `used` afterwards, `full` when there is no room to remember it
   */
  use(name: string, untilMs: number, nowMs: number): 'fresh' | 'used' | 'full' {
    if (this.#untilMs.has(name)) return 'used';
    this.#forget(nowMs);
    if (this.#untilMs.size >= this.#maxEntries) return 'full';
    this.#untilMs.set(name, untilMs);
    return 'fresh';
  }

  /** From the oldest on: one that lives long holds back those behind it, by no more than the longest life. */
  #forget(nowMs: number): void {
    for (const [name, untilMs] of this.#untilMs) {
      if (untilMs > nowMs) return;
      this.#untilMs.delete(name);
    }
  }
}
