/**
 * The changes of one pass while they are made: places as they would be, and in the end one event for each that differs. What
 * ends something comes before what begins something, so that a part of them that was written leaves nothing started twice.
 */
import type { AppendItem } from '../events/store_port.ts';
import {
  type Action,
  AVOID_KIND,
  type Avoidance,
  type Declared,
  PLACE_KIND,
  type Place,
  type PlacePhase,
  type QuarantineResource,
} from './contract.ts';
import { replicaText, wantedBy } from '../resources/pinned.ts';
import { withGang } from './gang.ts';
import { newPlace, placeValue, type PlaceWish } from './places.ts';

export interface Writer {
  /** Such as `scheduler:a`. */
  readonly actor: string;
  readonly correlationId: string;
}

const OVER = 'its time is over';
const MAX_REASON = 400;
const cut = (text: string): string => (text.length <= MAX_REASON ? text : `${text.slice(0, MAX_REASON)}...`);

export class Draft {
  readonly #before: ReadonlyMap<string, Place>;
  readonly #now: Map<string, Place>;
  readonly #numbers = new Map<string, Set<number>>();
  /** What is said of a change where it is not the place's own reason. */
  readonly #words = new Map<string, string>();
  /** One for each deployment and node: of two that fail together on one node the log takes one entry. */
  readonly #avoid = new Map<string, Avoidance>();
  readonly #lifted = new Map<string, QuarantineResource>();
  readonly actions: Action[] = [];
  readonly withheld: (Action & { readonly why: string })[] = [];
  readonly lines: string[] = [];
  readonly #declared: Declared;

  constructor(declared: Declared) {
    this.#declared = declared;
    this.#before = new Map(declared.places.map((place) => [place.name, place]));
    this.#now = new Map(this.#before);
    for (const place of declared.places) this.#numbersOf(place).add(place.number);
  }

  /** As they would be after the pass. */
  get places(): Place[] {
    return [...this.#now.values()];
  }

  /** What is declared, with the changes so far. */
  get declared(): Declared {
    const avoidances = [...this.#declared.avoidances, ...this.#avoid.values()];
    const left = [...this.#declared.quarantines].filter(([name]) => !this.#lifted.has(name));
    const quarantines = this.#lifted.size === 0 ? this.#declared.quarantines : new Map(left);
    return { ...this.#declared, places: this.places, avoidances, quarantines };
  }

  find(name: string): Place | undefined {
    return this.#now.get(name);
  }

  /**
   * Starts a place for a replica; its number is the first that no other place of its index has.
   * @param addressOf where a node is reached by others
   */
  assign(wish: PlaceWish, addressOf: (node: string) => string): void {
    const numbers = this.#numbersOf(wish);
    let number = 1;
    while (numbers.has(number)) number += 1;
    numbers.add(number);
    const place = withGang(newPlace({ ...wish, reason: cut(wish.reason) }, number), {
      addressOf,
      seq: this.#declared.seq,
      places: this.#now.values(),
    });
    this.#now.set(place.name, place);
    const where = place.parts.map(({ node, gpus }) => `${node}${gpus.length === 0 ? '' : ` GPU ${gpus.join(',')}`}`);
    const waits = place.phase === 'waiting' ? ', once what is there has stopped' : '';
    this.lines.push(
      `start ${replicaText(place.deployment, place.index)} on ${where.join(' and ')}${waits}: ${place.reason}`,
    );
  }

  /** Moves a place to a phase; one that never started is released instead of stopped. */
  move(place: Place, phase: PlacePhase, reason: string): void {
    if (place.phase === 'waiting' && phase !== 'placed') {
      this.release(place, `${reason}; it had not started`);
      return;
    }
    this.#now.set(place.name, { ...place, phase, reason: cut(reason) });
    this.lines.push(`${WORDS[phase]} ${replicaText(place.deployment, place.index)} (${placeText(place)}): ${reason}`);
  }

  /** All members of a gang stop at once: what one of them alone still does is of no use. */
  breakUp(place: Place, phase: 'stopping' | 'lost', reason: string): void {
    this.move(place, phase, reason);
    const moved = this.#now.get(place.name);
    if (moved?.gang !== undefined) this.#now.set(place.name, { ...moved, gang: { ...moved.gang, broken: true } });
  }

  /** What it held on some of its hosts is free; why it goes stays what was said of it. */
  keepParts(place: Place, parts: Place['parts'], reason: string): void {
    this.#now.set(place.name, { ...place, parts });
    this.#words.set(place.name, reason);
    this.lines.push(`free ${replicaText(place.deployment, place.index)} (${placeText(place)}): ${reason}`);
  }

  release(place: Place, reason: string): void {
    this.#now.delete(place.name);
    this.lines.push(`release ${replicaText(place.deployment, place.index)} (${placeText(place)}): ${reason}`);
  }

  avoid(avoidance: Avoidance): void {
    this.#avoid.set(`${avoidance.deployment}/${avoidance.node}`, avoidance);
  }

  /** Ends a quarantine whose time is over. */
  lift(quarantine: QuarantineResource): void {
    this.#lifted.set(quarantine.name, quarantine);
    this.lines.push(`lift quarantine/${quarantine.name}: ${OVER}`);
  }

  act(action: Action): void {
    this.actions.push(action);
  }

  withhold(action: Action, why: string): void {
    this.withheld.push({ ...action, why });
  }

  items({ actor, correlationId }: Writer): AppendItem[] {
    const by = { actor, correlationId };
    const released: AppendItem[] = [];
    const moved: AppendItem[] = [];
    const assigned: AppendItem[] = [];
    for (const place of this.#before.values()) {
      const now = this.#now.get(place.name);
      const resource = { kind: PLACE_KIND, name: place.name };
      const expected = place.version;
      if (now === undefined)
        released.push({ kind: 'placement.released', resource, ...by, reason: 'it is gone', after: null, expected });
      else if (now !== place) {
        const reason = this.#words.get(place.name) ?? now.reason;
        moved.push({ kind: 'placement.moved', resource, ...by, reason, after: placeValue(now), expected });
      }
    }
    for (const place of this.#now.values()) {
      if (this.#before.has(place.name)) continue;
      const resource = { kind: PLACE_KIND, name: place.name };
      const after = placeValue(place);
      assigned.push({ kind: 'placement.assigned', resource, ...by, reason: place.reason, after, expected: 'absent' });
    }
    return [...released, ...moved, ...this.#records(by), ...assigned];
  }

  #records(by: Writer): AppendItem[] {
    const avoided = [...this.#avoid.values()].map(({ deployment, node, untilMs, times, version }): AppendItem => {
      const resource = { kind: AVOID_KIND, name: `${deployment}/${node}` };
      const expected = version === 0 ? 'absent' : version;
      const reason = `engines of ${deployment} were given up there`;
      return { kind: 'lifecycle.changed', resource, ...by, reason, after: { untilMs, times }, expected };
    });
    const lifted = [...this.#lifted.values()].map(({ name, version }): AppendItem => {
      const resource = { kind: 'Quarantine', name };
      return { kind: 'quarantine.lifted', resource, ...by, reason: OVER, after: null, expected: version };
    });
    const taken = this.actions.map((action): AppendItem => {
      const resource = wantedBy(action.deployment);
      return { kind: 'action.taken', resource, ...by, reason: cut(action.detail), after: { ...action } };
    });
    return [...avoided, ...lifted, ...taken];
  }

  #numbersOf({ deployment, index }: Pick<Place, 'deployment' | 'index'>): Set<number> {
    const key = `${deployment}/${index}`;
    const numbers = this.#numbers.get(key) ?? new Set<number>();
    this.#numbers.set(key, numbers);
    return numbers;
  }
}

const WORDS: Readonly<Record<PlacePhase, string>> = {
  waiting: 'hold',
  placed: 'start',
  leaving: 'move',
  stopping: 'stop',
  lost: 'give up',
};

/** Where a place is, for a person. */
export const placeText = ({ parts, engine }: Place): string =>
  parts.map(({ node }) => `${node}/${engine}`).join(' and ');
