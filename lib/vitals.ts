/**
 * The signs of life that a process must show before its service manager is told that it lives. A watchdog that is fed
 * by a timer alone stays calm while the work behind it hangs; this one is fed only while each named part has turned
 * within its own bound. Pure: the caller brings the time, in monotonic milliseconds.
 */

/** Most parts that one process names; a part beyond them is a programming error. */
const MAX_PARTS = 32;

export interface StalePart {
  readonly part: string;
  /** Since its last sign of life, in milliseconds. */
  readonly silentMs: number;
  readonly limitMs: number;
}

interface Part {
  readonly limitMs: () => number;
  atMs: number;
}

export class Vitals {
  readonly #parts = new Map<string, Part>();

  /**
   * Names a part that must beat at least every `limitMs` from now on; the bound is asked for at each judgement, because
   * periods change while a process runs.
   * @throws Error when the part is there already or too many are named
   */
  expect(part: string, limitMs: () => number, nowMs: number): void {
    if (this.#parts.has(part)) throw new Error(`The part ${part} is watched already.`);
    if (this.#parts.size >= MAX_PARTS) throw new Error(`No more than ${MAX_PARTS} parts are watched.`);
    this.#parts.set(part, { limitMs, atMs: nowMs });
  }

  /** The part has turned; a part that nobody expects is ignored. */
  beat(part: string, nowMs: number): void {
    const known = this.#parts.get(part);
    if (known !== undefined) known.atMs = nowMs;
  }

  /** The parts that were silent for longer than they may, the longest silent first; empty when all live. */
  stale(nowMs: number): StalePart[] {
    return [...this.#parts]
      .map(([part, { atMs, limitMs }]) => ({ part, silentMs: nowMs - atMs, limitMs: limitMs() }))
      .filter(({ silentMs, limitMs }) => silentMs > limitMs)
      .sort((a, b) => b.silentMs - a.silentMs);
  }
}
