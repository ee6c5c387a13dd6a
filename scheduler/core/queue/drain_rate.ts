/**
 * How fast the held requests of a model get their turn, and how long answers take at least: what a place in the queue,
 * a Retry-After and "this cannot make its deadline" are computed from. Only time in which something waited counts,
 * because an idle fleet says nothing about its speed. Time is an argument.
 */

/** Observations lose their weight over this time; short enough to follow a fleet that loses engines. */
const MEMORY_MS = 15_000;
/** Less than this is not enough to call anything a rate. */
const LEAST_OBSERVED_MS = 500;
const LEAST_SERVED = 3;
const KEPT_ANSWERS = 16;

export class DrainRate {
  /** Waiting time so far, of all periods in which something waited. */
  #waitedMs = 0;
  #waitingSinceMs: number | undefined;
  /** Tokens that got their turn, with what is left of their weight at `#atWaitedMs`. */
  #tokens = 0;
  #served = 0;
  #atWaitedMs = 0;
  readonly #answersMs: number[] = [];
  #quickestMs = 0;

  /** Something waits from now on, or nothing does any more. */
  waiting(isWaiting: boolean, nowMs: number): void {
    if (isWaiting) {
      this.#waitingSinceMs ??= nowMs;
      return;
    }
    this.#waitedMs = this.#waitedAt(nowMs);
    this.#waitingSinceMs = undefined;
  }

  /** A held request got its turn. */
  served(costTokens: number, nowMs: number): void {
    const waitedMs = this.#waitedAt(nowMs);
    this.#tokens = this.#tokens * Math.exp((this.#atWaitedMs - waitedMs) / MEMORY_MS) + costTokens;
    this.#served += 1;
    this.#atWaitedMs = waitedMs;
  }

  /** An answer has ended well, `tookMs` after its engine got it. */
  answered(tookMs: number): void {
    this.#answersMs.push(tookMs);
    if (this.#answersMs.length > KEPT_ANSWERS) this.#answersMs.shift();
    this.#quickestMs = Math.min(...this.#answersMs);
  }

  /** Tokens a second; undefined until enough was seen. A standstill lowers it by itself. */
  tokensPerS(nowMs: number): number | undefined {
    const waitedMs = this.#waitedAt(nowMs);
    if (waitedMs < LEAST_OBSERVED_MS || this.#served < LEAST_SERVED) return undefined;
    const weighed = this.#tokens * Math.exp((this.#atWaitedMs - waitedMs) / MEMORY_MS);
    // The weight of all the time in which something could have been observed.
    const observedMs = MEMORY_MS * (1 - Math.exp(-waitedMs / MEMORY_MS));
    return (weighed / observedMs) * 1000;
  }

  /** Milliseconds until so many tokens have had their turn; undefined until that can be told. */
  etaMs(tokens: number, nowMs: number): number | undefined {
    const rate = this.tokensPerS(nowMs);
    return rate === undefined ? undefined : (tokens / rate) * 1000;
  }

  /** The quickest of the newest answers: no answer is expected to take less. 0 until there was one. */
  get quickestAnswerMs(): number {
    return this.#quickestMs;
  }

  #waitedAt(nowMs: number): number {
    return this.#waitedMs + (this.#waitingSinceMs === undefined ? 0 : nowMs - this.#waitingSinceMs);
  }
}
