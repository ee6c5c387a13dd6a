/**
 * Divides requests among the revisions of a deployment. Each engine has one small number, its group, in an array beside the
 * rows; 0 means that nothing is divided there, and a model of which all engines have 0 is not looked at. What the weights
 * ask for and no engine can give goes to the other groups, so a revision without a routable engine fails nothing.
 */
import type { RandomSource } from '../../../lib/rng.ts';
import type { OpenSet } from './admission.ts';
import { ROW_SIZE } from './engine_rows.ts';
import type { EngineSlot } from './engine_slot.ts';
import type { EngineMark } from './traffic_rules.ts';

/** Revisions of one split that are told apart; those beyond are one group with the last. */
const MOST_GROUPS = 8;
const NOBODY = -1;
const NOT_DRAWN = -2;

interface Split {
  readonly labels: string[];
  readonly weights: Float64Array;
  readonly standby: Uint8Array;
}

export interface NarrowAsk {
  /** Group of each engine, by the number of its row. */
  readonly groups: Int32Array;
  readonly random: RandomSource;
  /** Groups of engines that have failed this request: another revision is better for it, if it has an engine. */
  readonly avoid: ReadonlySet<number>;
}

export class TrafficSplits {
  readonly #byName = new Map<string, number>();
  readonly #splits: Split[] = [];
  #counts = new Int32Array(MOST_GROUPS);
  #chosen = new Int32Array(1);

  /** Forgets all splits; groups that were given out mean nothing any more. */
  clear(): void {
    this.#byName.clear();
    this.#splits.length = 0;
  }

  /** The group of an engine with this mark; 0: it is divided from no other. */
  groupOf(mark: EngineMark | undefined): number {
    if (mark?.share === undefined) return 0;
    const { split: name, weight, standby } = mark.share;
    const index = this.#byName.get(name) ?? this.#add(name);
    const split = this.#splits[index] as Split;
    const known = split.labels.indexOf(mark.label);
    const at = Math.min(MOST_GROUPS - 1, known < 0 ? split.labels.push(mark.label) - 1 : known);
    split.weights[at] = weight > 0 && weight < Infinity ? weight : 0;
    split.standby[at] = standby ? 1 : 0;
    return index * MOST_GROUPS + at + 1;
  }

  #add(name: string): number {
    const weights = new Float64Array(MOST_GROUPS);
    const index = this.#splits.push({ labels: [], weights, standby: new Uint8Array(MOST_GROUPS) }) - 1;
    this.#byName.set(name, index);
    this.#counts = new Int32Array(this.#splits.length * MOST_GROUPS);
    this.#chosen = new Int32Array(this.#splits.length).fill(NOT_DRAWN);
    return index;
  }

  /**
   * Leaves of the open engines those of one group of each split, drawn by weight; engines of no split stay.
   * @returns how many were left out
   */
  narrow(open: OpenSet, ask: NarrowAsk): number {
    this.#count(open, ask.groups);
    return this.#keep(open, ask.groups, (split) => this.#draw(split, ask));
  }

  /** Leaves out what only stands by, where anything else is open: for asking whether there is room. */
  withoutStandby(open: OpenSet, groups: Int32Array): void {
    this.#count(open, groups);
    const { slots, rowsAt } = open;
    let kept = 0;
    for (let i = 0; i < open.count; i++) {
      const group = groups[(rowsAt[i] as number) / ROW_SIZE] as number;
      if (group !== 0 && !this.#mayTake(group)) continue;
      slots[kept] = slots[i] as EngineSlot;
      rowsAt[kept++] = rowsAt[i] as number;
    }
    open.count = kept;
  }

  #count(open: OpenSet, groups: Int32Array): void {
    this.#counts.fill(0);
    this.#chosen.fill(NOT_DRAWN);
    for (let i = 0; i < open.count; i++) {
      const group = groups[(open.rowsAt[i] as number) / ROW_SIZE] as number;
      if (group !== 0) this.#counts[group - 1] = (this.#counts[group - 1] as number) + 1;
    }
  }

  #keep(open: OpenSet, groups: Int32Array, draw: (split: number) => number): number {
    const { slots, rowsAt } = open;
    const chosen = this.#chosen;
    const before = open.count;
    let kept = 0;
    for (let i = 0; i < before; i++) {
      const group = groups[(rowsAt[i] as number) / ROW_SIZE] as number;
      if (group !== 0) {
        const split = ((group - 1) / MOST_GROUPS) | 0;
        if (chosen[split] === NOT_DRAWN) chosen[split] = draw(split);
        if (chosen[split] !== group) continue;
      }
      slots[kept] = slots[i] as EngineSlot;
      rowsAt[kept++] = rowsAt[i] as number;
    }
    open.count = kept;
    return before - kept;
  }

  /** One group with an open engine, by weight; else one that stands by; NOBODY when there is neither. */
  #draw(split: number, { random, avoid }: NarrowAsk): number {
    const first = split * MOST_GROUPS + 1;
    const isAvoided = (group: number): boolean => avoid.size > 0 && avoid.has(group);
    const found = this.#drawWeighted(first, random, isAvoided) ?? this.#standbyOf(first, isAvoided);
    if (found !== undefined || avoid.size === 0) return found ?? NOBODY;
    // Every revision has failed the request once: the shares count again.
    const never = (): boolean => false;
    return this.#drawWeighted(first, random, never) ?? this.#standbyOf(first, never) ?? NOBODY;
  }

  #drawWeighted(first: number, random: RandomSource, isAvoided: (group: number) => boolean): number | undefined {
    const counts = this.#counts;
    const { weights } = this.#splits[(first / MOST_GROUPS) | 0] as Split;
    let total = 0;
    let last: number | undefined;
    for (let at = 0; at < MOST_GROUPS; at++) {
      const weight = weights[at] as number;
      if (weight === 0 || counts[first - 1 + at] === 0 || isAvoided(first + at)) continue;
      total += weight;
      last = first + at;
    }
    if (last === undefined) return undefined;
    let left = random.next() * total;
    for (let at = 0; first + at < last; at++) {
      const weight = weights[at] as number;
      if (weight === 0 || counts[first - 1 + at] === 0 || isAvoided(first + at)) continue;
      left -= weight;
      if (left < 0) return first + at;
    }
    return last;
  }

  #standbyOf(first: number, isAvoided: (group: number) => boolean): number | undefined {
    const { standby } = this.#splits[(first / MOST_GROUPS) | 0] as Split;
    for (let at = 0; at < MOST_GROUPS; at++) {
      if (standby[at] === 1 && (this.#counts[first - 1 + at] as number) > 0 && !isAvoided(first + at))
        return first + at;
    }
    return undefined;
  }

  /** Whether a request may go to the group as things stand: it has a weight, or it stands by and no other has. */
  #mayTake(group: number): boolean {
    const split = ((group - 1) / MOST_GROUPS) | 0;
    const { weights, standby } = this.#splits[split] as Split;
    const at = (group - 1) % MOST_GROUPS;
    if ((weights[at] as number) > 0) return true;
    if (standby[at] === 0) return false;
    const first = split * MOST_GROUPS;
    return !weights.some((weight, each) => weight > 0 && (this.#counts[first + each] as number) > 0);
  }
}
