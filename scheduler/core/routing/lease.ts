/**
 * A request's place on an engine and what its end teaches: how fast the engine is, what it had cached, whether its
 * breaker is to open. All of it goes to the life of the engine that was picked, however late the end comes.
 */
import type { EngineId } from '../../../lib/ids.ts';
import { breakerAfter, breakerSpoke, verdictOfOutcome } from './breaker.ts';
import type { PromptBlocks, Residency } from './contract.ts';
import { settleRow } from './engine_rows.ts';
import { type EngineSlot, prefillWorkMs, stepMs } from './engine_slot.ts';
import type { AttemptEnd, Lease, Place } from './reservations.ts';
import type { AttemptFigures, LabelTally } from './revision_tallies.ts';

/** What was there when the request was sent. */
export interface LeaseStart {
  readonly place: Place;
  readonly nowMs: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly blocks: PromptBlocks | undefined;
  /** Uncached tokens, and squares, that waited on the engine before this request. */
  readonly aheadTokens: number;
  readonly aheadSquares: number;
  /** It was picked past a breaker that was not closed: its end decides. */
  readonly decides: boolean;
}

export interface LeaseHost {
  readonly residency: Residency | undefined;
  /** A figure could not be and was left out. */
  readonly dropped: (where: 'fit_sample') => void;
  /** An answer was whole: how long it was. */
  readonly answered: (tokens: number) => void;
  /** Where attempts of the engine's revision are counted; absent: it is of none. */
  readonly tally?: LabelTally | undefined;
}

/** Ends that say that the engine did not begin with the prompt. */
const NOT_TAKEN: ReadonlySet<string> = new Set(['engine_unreachable', 'engine_overloaded', 'overloaded', 'draining']);
/** Shorter answers say too little about the time between tokens. */
const LEAST_TOKENS = 8;

export class RoutedLease implements Lease {
  readonly #host: LeaseHost;
  readonly #start: LeaseStart;
  readonly #slot: EngineSlot;
  #firstTokenAtMs: number | undefined;
  /** The engine's integrals at the first token. */
  #batchArea = 0;
  #contextArea = 0;
  #prefilledTokens = 0;
  #prefilledSquares = 0;

  constructor(host: LeaseHost, start: LeaseStart) {
    this.#host = host;
    this.#start = start;
    this.#slot = start.place.slot;
    if (host.tally !== undefined) host.tally.started += 1;
  }

  get engine(): EngineId {
    return this.#slot.engine;
  }

  get incarnation(): number {
    return this.#slot.incarnation;
  }

  firstToken(nowMs: number): void {
    if (this.#firstTokenAtMs !== undefined) return;
    this.#firstTokenAtMs = nowMs;
    if (this.#host.tally !== undefined) this.#host.tally.spoken += 1;
    this.#start.place.firstToken(nowMs);
    const slot = this.#slot;
    this.#batchArea = slot.batchArea;
    this.#contextArea = slot.contextArea;
    this.#prefilledTokens = slot.prefilledTokens;
    this.#prefilledSquares = slot.prefilledSquares;
    if (this.#start.decides) slot.breaker = breakerSpoke(slot.breaker, nowMs);
  }

  release(): void {
    const slot = this.#slot;
    const { place, decides, nowMs } = this.#start;
    if (!place.release()) return;
    this.#withdraw();
    // What was never sent decides nothing: the next request may.
    slot.breaker = breakerAfter(slot.breaker, 'neutral', !decides, nowMs);
    settleRow(slot);
  }

  end({ nowMs, outcome, outputTokens, cachedTokens }: AttemptEnd): void {
    const { place, blocks, decides } = this.#start;
    if (!place.release(nowMs)) return;
    const slot = this.#slot;
    slot.breaker = breakerAfter(slot.breaker, verdictOfOutcome(outcome), !decides, nowMs);
    this.#host.tally?.end(this.#figures(outcome, cachedTokens));
    if (blocks !== undefined && cachedTokens !== undefined)
      this.#host.residency?.corrected(slot, blocks, cachedTokens, nowMs);
    else if (this.#firstTokenAtMs === undefined && NOT_TAKEN.has(outcome)) this.#withdraw();
    if (outcome === 'ok') this.#host.answered(outputTokens);
    if (this.#firstTokenAtMs !== undefined) {
      this.#learnPrefill(this.#firstTokenAtMs, cachedTokens);
      if (outputTokens >= LEAST_TOKENS) this.#learnDecode(this.#firstTokenAtMs, nowMs, outputTokens - 1);
      slot.speed = slot.fit.speed;
    }
    settleRow(slot);
  }

  #figures(outcome: AttemptEnd['outcome'], told: number | undefined): AttemptFigures {
    const { nowMs, promptTokens, cachedTokens } = this.#start;
    const ttftMs = this.#firstTokenAtMs === undefined ? undefined : this.#firstTokenAtMs - nowMs;
    return { outcome, ttftMs, promptTokens, cachedTokens: told ?? cachedTokens };
  }

  /** The engine never had the prompt. */
  #withdraw(): void {
    const { blocks } = this.#start;
    if (blocks !== undefined) this.#host.residency?.withdrawn(this.#slot, blocks);
  }

  #learnPrefill(firstTokenAtMs: number, told: number | undefined): void {
    const { nowMs, promptTokens, aheadTokens, aheadSquares } = this.#start;
    const cached = Math.min(promptTokens, told ?? this.#start.cachedTokens);
    const slot = this.#slot;
    const running = slot.reservedRequests + slot.otherRequests;
    const taken = slot.fit.prefill({
      tookMs: firstTokenAtMs - nowMs,
      tokens: aheadTokens + promptTokens - cached,
      squares: aheadSquares + promptTokens * promptTokens - cached * cached,
      otherMs: running > 0 ? stepMs(slot.speed, running, slot.decodeTokens) : 0,
    });
    if (!taken) this.#host.dropped('fit_sample');
  }

  #learnDecode(firstTokenAtMs: number, nowMs: number, tokens: number): void {
    const slot = this.#slot;
    const tookMs = nowMs - firstTokenAtMs;
    const taken = slot.fit.decode({
      tookMs,
      tokens,
      sequences: (slot.batchArea - this.#batchArea) / tookMs,
      contextTokens: (slot.contextArea - this.#contextArea) / tookMs,
      otherMs: prefillWorkMs(
        slot.speed,
        slot.prefilledTokens - this.#prefilledTokens,
        slot.prefilledSquares - this.#prefilledSquares,
      ),
    });
    if (!taken) this.#host.dropped('fit_sample');
  }
}

/** The lease of a request that was not picked here: how it goes says nothing of what this scheduler expected. */
export function plainLease(place: Place): Lease {
  const { engine, incarnation } = place.slot;
  return {
    engine,
    incarnation,
    firstToken: (nowMs) => place.firstToken(nowMs),
    end: ({ nowMs }) => void place.release(nowMs),
    release: () => void place.release(),
  };
}
