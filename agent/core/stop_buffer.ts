/**
 * Finds stop strings in the text of a continuation. An engine holds back text that may yet become a stop string, so at a
 * cut some of it was generated and never sent; that text goes first here, and a stop string may begin in it.
 */

/** Text that may be sent, and the stop string that ended it. */
export interface Found {
  readonly text: string;
  readonly stop: string | undefined;
}

/** Length of the longest end of `text` that begins one of `stops` without being one. */
function heldLength(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
      if (!stop.startsWith(text.slice(text.length - length))) continue;
      longest = length;
      break;
    }
  }
  return longest;
}

export class StopBuffer {
  readonly #stops: readonly string[];
  readonly #include: boolean;
  #held: string;

  /**
   * @param held text that stands before the first push and was not sent
   * @param include whether the stop string itself is sent, too (include_stop_str_in_output)
   */
  constructor(stops: readonly string[], include: boolean, held: string) {
    this.#stops = stops.filter((stop) => stop !== '');
    this.#include = include;
    this.#held = held;
  }

  /** Takes text; gives what may be sent of all that came. */
  push(text: string): Found {
    const all = this.#held + text;
    let at = -1;
    let found: string | undefined;
    for (const stop of this.#stops) {
      const here = all.indexOf(stop);
      if (here === -1 || (at !== -1 && here >= at)) continue;
      at = here;
      found = stop;
    }
    if (found !== undefined) {
      this.#held = '';
      return { text: all.slice(0, this.#include ? at + found.length : at), stop: found };
    }
    const sent = all.length - heldLength(all, this.#stops);
    this.#held = all.slice(sent);
    return { text: all.slice(0, sent), stop: undefined };
  }

  /** What was held back, once no more text can come. */
  flush(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }
}
