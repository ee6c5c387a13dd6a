/**
 * In which order the held requests of one model go: classes first (migrations, then priorities, smaller first), weighted
 * deficit round robin over the tenants of a class, the earliest deadline first within a tenant. The deficit is counted
 * in tokens, because a request of 30 tokens and one of 30,000 are not the same share of an engine.
 *
 * Source: M. Shreedhar and G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995), with two
 * changes. The quantum is small against a request, so that tenants alternate request by request; rounds in which nobody
 * could be served are then given in one step. And a share is given back when an answer was shorter than it was taken
 * for, because what an answer costs is known only at its end (Y. Sheng et al., "Fairness in Serving Large Language
 * Models", OSDI 2024).
 */
import type { TenantId } from '../../../lib/ids.ts';

/** What the order is made of. The values of a held request never change. */
export interface HeldFacts {
  readonly tenant: TenantId;
  /** Share of the tenant under contention, 1 = normal. */
  readonly weight: number;
  /** Class: smaller first, strictly. */
  readonly rank: number;
  /** Monotonic milliseconds; Infinity: none. */
  readonly deadlineAtMs: number;
  /** Tokens that it is expected to cost an engine: prompt and answer. */
  readonly costTokens: number;
  readonly bytes: number;
}

/** What stands before a request, by the order. */
export interface Ahead {
  readonly requests: number;
  readonly tokens: number;
}

/** One tenant's requests of one class. */
interface Line<Held> {
  readonly tenant: TenantId;
  weight: number;
  deficitTokens: number;
  /** Sorted; the next one is the last, so that taking it is cheap. */
  readonly items: Held[];
  tokens: number;
  bytes: number;
}

interface Ring<Held> {
  readonly rank: number;
  readonly lines: Line<Held>[];
  /** Whose turn it is. */
  turn: number;
}

/** What the heaviest tenant of a class gets a turn; the others get theirs in proportion. */
const QUANTUM_TOKENS = 256;
const LEAST_WEIGHT = 0.001;
const LARGEST_WEIGHT = 1000;
/** Sums of shares are not exact; a request is covered when this part of it at most is missing. */
const ROUNDING = 1e-9;

export class FairOrder<Held extends HeldFacts> {
  /** By rank, smallest first. */
  readonly #rings: Ring<Held>[] = [];
  #size = 0;
  #tokens = 0;
  #bytes = 0;

  get size(): number {
    return this.#size;
  }

  /** Expected tokens of all that is held. */
  get tokens(): number {
    return this.#tokens;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(item: Held): void {
    const ring = this.#ringOf(item.rank);
    let line = ring.lines.find((each) => each.tenant === item.tenant);
    if (line === undefined) {
      line = { tenant: item.tenant, weight: 1, deficitTokens: 0, items: [], tokens: 0, bytes: 0 };
      ring.lines.push(line);
    }
    line.weight = Math.min(LARGEST_WEIGHT, Math.max(LEAST_WEIGHT, item.weight));
    line.items.splice(placeIn(line.items, item), 0, item);
    line.tokens += item.costTokens;
    line.bytes += item.bytes;
    this.#count(item, 1);
  }

  /** Takes a request out that is not served; false when it is not here. Its tenant's share is untouched. */
  remove(item: Held): boolean {
    return this.#takeOut(item) !== undefined;
  }

  /** The first of each class that is not empty, best class first. Asking again gives the same until something changes. */
  heads(): Held[] {
    return this.#rings.map((ring) => nextLine(ring).items.at(-1) as Held);
  }

  /** Takes out a request that is served now and charges its tenant for it; false when it is not here. */
  serve(item: Held): boolean {
    const line = this.#takeOut(item);
    if (line !== undefined) line.deficitTokens -= item.costTokens;
    return line !== undefined;
  }

  /** A served request cost fewer tokens than it was charged for, or more (negative): counts while its tenant waits. */
  giveBack(item: HeldFacts, tokens: number): void {
    const line = this.#lineOf(item);
    if (line !== undefined) line.deficitTokens += tokens;
  }

  /** What a tenant holds here, in all classes. */
  heldBy(tenant: TenantId): { readonly requests: number; readonly bytes: number; readonly tokens: number } {
    const sum = { requests: 0, bytes: 0, tokens: 0 };
    for (const { lines } of this.#rings) {
      const line = lines.find((each) => each.tenant === tenant);
      if (line === undefined) continue;
      sum.requests += line.items.length;
      sum.bytes += line.bytes;
      sum.tokens += line.tokens;
    }
    return sum;
  }

  /** The part of the service that a tenant of this weight gets among those who wait now, itself included. */
  shareOf(tenant: TenantId, weight: number): number {
    const weights = new Map(this.#rings.flatMap((ring) => ring.lines.map((line) => [line.tenant, line.weight])));
    weights.set(tenant, weight);
    let total = 0;
    for (const each of weights.values()) total += each;
    return weight / total;
  }

  /**
   * Whose place a newcomer may have in a full queue: the last request of whoever holds most for its weight in the worst
   * class, when that class is worse than the newcomer's, or when its owner would still hold more than the newcomer's
   * tenant with the newcomer.
   */
  victimFor(newcomer: HeldFacts): Held | undefined {
    const ring = this.#rings.at(-1);
    if (ring === undefined || ring.rank < newcomer.rank) return undefined;
    let heaviest = ring.lines[0] as Line<Held>;
    for (const line of ring.lines) if (loadOf(line) > loadOf(heaviest)) heaviest = line;
    if (ring.rank > newcomer.rank) return heaviest.items[0];
    const own = ring.lines.find((line) => line.tenant === newcomer.tenant)?.items.length ?? 0;
    return loadOf(heaviest) > (own + 1) / newcomer.weight ? heaviest.items[0] : undefined;
  }

  /** What a request would find before it, were it added now. */
  aheadOf(item: HeldFacts): Ahead {
    const own = this.#lineOf(item)?.items ?? [];
    const before = own.slice(placeIn(own, item)).filter((other) => other !== item);
    const ownTokens = before.reduce((sum, other) => sum + other.costTokens, 0);
    return this.#aheadOf(item, { requests: before.length, tokens: ownTokens });
  }

  /** Each held request; a copy, so that it may change meanwhile. */
  items(): Held[] {
    return this.#rings.flatMap((ring) => ring.lines.flatMap((line) => line.items));
  }

  /** Each held request with what stands before it; the order among them is not the order of service. */
  *entries(): Generator<[item: Held, ahead: Ahead]> {
    for (const ring of [...this.#rings]) {
      for (const line of [...ring.lines]) {
        let tokens = 0;
        const items = line.items.toReversed();
        for (const [requests, item] of items.entries()) {
          yield [item, this.#aheadOf(item, { requests, tokens })];
          tokens += item.costTokens;
        }
      }
    }
  }

  /** Adds what goes before of other classes and tenants, who are served by their weights meanwhile. */
  #aheadOf(item: HeldFacts, own: Ahead): Ahead {
    let { requests, tokens } = own;
    for (const ring of this.#rings) {
      if (ring.rank > item.rank) break;
      for (const line of ring.lines) {
        if (ring.rank === item.rank && line.tenant === item.tenant) continue;
        const meanwhile = ring.rank < item.rank ? Infinity : (own.tokens * line.weight) / item.weight;
        const theirs = Math.min(line.tokens, meanwhile);
        tokens += theirs;
        requests += line.tokens === 0 ? 0 : Math.round((line.items.length * theirs) / line.tokens);
      }
    }
    return { requests, tokens };
  }

  #lineOf(item: HeldFacts): Line<Held> | undefined {
    const ring = this.#rings.find((each) => each.rank === item.rank);
    return ring?.lines.find((line) => line.tenant === item.tenant);
  }

  #ringOf(rank: number): Ring<Held> {
    const found = this.#rings.find((ring) => ring.rank === rank);
    if (found !== undefined) return found;
    const ring: Ring<Held> = { rank, lines: [], turn: 0 };
    const at = this.#rings.findIndex((each) => each.rank > rank);
    this.#rings.splice(at === -1 ? this.#rings.length : at, 0, ring);
    return ring;
  }

  #takeOut(item: Held): Line<Held> | undefined {
    const line = this.#lineOf(item);
    const at = line?.items.lastIndexOf(item) ?? -1;
    if (line === undefined || at === -1) return undefined;
    line.items.splice(at, 1);
    line.tokens -= item.costTokens;
    line.bytes -= item.bytes;
    this.#count(item, -1);
    if (line.items.length === 0) this.#close(item.rank, line);
    return line;
  }

  /** A tenant with nothing to wait for saves no share for later. */
  #close(rank: number, line: Line<Held>): void {
    const ring = this.#ringOf(rank);
    const at = ring.lines.indexOf(line);
    ring.lines.splice(at, 1);
    if (ring.lines.length === 0) {
      this.#rings.splice(this.#rings.indexOf(ring), 1);
      return;
    }
    if (at < ring.turn) ring.turn -= 1;
    ring.turn %= ring.lines.length;
  }

  #count(item: Held, by: 1 | -1): void {
    this.#size += by;
    this.#tokens += by * item.costTokens;
    this.#bytes += by * item.bytes;
  }
}

/** Where an item stands among `items`, which are sorted with the latest deadline first; of equals the older goes first. */
function placeIn<Held extends HeldFacts>(items: readonly Held[], item: HeldFacts): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((items[middle] as Held).deadlineAtMs > item.deadlineAtMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

const loadOf = (line: Line<HeldFacts>): number => line.items.length / line.weight;
const missing = (line: Line<HeldFacts>): number => (line.items.at(-1) as HeldFacts).costTokens - line.deficitTokens;
const isCovered = (line: Line<HeldFacts>): boolean =>
  missing(line) <= (line.items.at(-1) as HeldFacts).costTokens * ROUNDING;

/** Moves the turn on until it is at a tenant whose share covers its next request. */
function nextLine<Held extends HeldFacts>(ring: Ring<Held>): Line<Held> {
  const { lines } = ring;
  const current = lines[ring.turn] as Line<Held>;
  if (isCovered(current)) return current;
  const perWeight = QUANTUM_TOKENS / lines.reduce((most, line) => Math.max(most, line.weight), 0);
  for (;;) {
    // Each pass gives every tenant a quantum, so the least that is missing shrinks until somebody is covered.
    for (let step = 0; step < lines.length; step += 1) {
      ring.turn = (ring.turn + 1) % lines.length;
      const line = lines[ring.turn] as Line<Held>;
      line.deficitTokens += line.weight * perWeight;
      if (isCovered(line)) return line;
    }
    const fewest = lines.reduce((least, line) => Math.min(least, missing(line) / (line.weight * perWeight)), Infinity);
    const rounds = Math.floor(fewest);
    for (const line of lines) line.deficitTokens += rounds * line.weight * perWeight;
  }
}
