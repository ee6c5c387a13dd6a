/**
 * What was counted of each series of a metric since somebody looked. A request counts a dozen things, and the package
 * makes a text of all labels for each of them; here a series is found by its labels' values, a sum grows, and the
 * package is told at the next look.
 */

export type Labels = Record<string, string>;

export interface SeriesSum {
  /** As the package gets them. */
  readonly labels: Labels;
  pending: number;
  /** The package has this series. */
  told: boolean;
}

type Branch = Map<string, Branch | SeriesSum>;

/** Series that are kept of one metric; what is beyond goes to the package at once. */
const MAX_SUMS = 2048;

export class SeriesSums {
  readonly #names: readonly string[];
  readonly #guard: (labels: Labels) => Labels;
  readonly #sums: SeriesSum[] = [];
  readonly #root: Branch = new Map();

  /** @param guard what becomes of labels before the package gets them */
  constructor(names: readonly string[], guard: (labels: Labels) => Labels) {
    this.#names = names;
    this.#guard = guard;
  }

  /** The sum of a series; undefined when so many are kept that this one is not. */
  find(labels: Labels): SeriesSum | undefined {
    let branch = this.#root;
    const last = this.#names.length - 1;
    for (let i = 0; i < last; i++) {
      const value = labels[this.#names[i] as string] ?? '';
      const next = branch.get(value) as Branch | undefined;
      if (next === undefined) return this.#add(labels);
      branch = next;
    }
    const value = last < 0 ? '' : (labels[this.#names[last] as string] ?? '');
    return (branch.get(value) as SeriesSum | undefined) ?? this.#add(labels);
  }

  #add(labels: Labels): SeriesSum | undefined {
    if (this.#sums.length >= MAX_SUMS) return undefined;
    const sum: SeriesSum = { labels: this.#guard(labels), pending: 0, told: false };
    this.#sums.push(sum);
    let branch = this.#root;
    for (const name of this.#names.slice(0, -1)) {
      const value = labels[name] ?? '';
      const next = (branch.get(value) as Branch | undefined) ?? new Map();
      branch.set(value, next);
      branch = next;
    }
    branch.set(labels[this.#names.at(-1) ?? ''] ?? '', sum);
    return sum;
  }

  /** Gives what was counted since the last time. */
  drain(take: (labels: Labels, amount: number) => void): void {
    for (const sum of this.#sums) {
      if (sum.told && sum.pending === 0) continue;
      const { pending } = sum;
      sum.pending = 0;
      sum.told = true;
      take(sum.labels, pending);
    }
  }

  /** Forgets all series: what a label may be has changed. */
  clear(): void {
    this.#sums.length = 0;
    this.#root.clear();
  }
}
