/**
 * When a relay thread tells its figures. An idle thread that added them up at each tick would do so several times a second
 * for nothing; a busy one tells them at each tick even when they are the same, for silence would look like a thread that
 * is stuck.
 */
export class StatsTurn {
  #stirred = true;
  #lastOpen = 0;
  #lastText = '';

  /** Something happened that the next tick tells of; what nobody stirs for is told at the end of the pulse's period. */
  stir(): void {
    this.#stirred = true;
  }

  /** @returns whether the figures are to be added up at this tick */
  isDue(open: number, periodEnds: boolean): boolean {
    const due = this.#stirred || periodEnds || open > 0 || this.#lastOpen > 0;
    this.#stirred = false;
    this.#lastOpen = open;
    return due;
  }

  /** @returns whether the figures that were due are to be told */
  isNews(text: string): boolean {
    const news = text !== this.#lastText || this.#lastOpen > 0;
    this.#lastText = text;
    return news;
  }
}
