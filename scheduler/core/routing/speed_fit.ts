/**
 * How fast engines are, fitted online from what requests take: the time to the first token over the uncached prompt tokens
 * ahead of and in a request, and the time between tokens over the batch. Engines of the same model on the same hardware
 * share one fit, and each has a factor of its own that is 1 until it is clearly slower or faster than the others: engines
 * that are alike must look alike, or requests would run after the noise of the fits. A factor fades while the others go
 * on being observed, so an engine that once looked slow is tried again. What cannot be (not a number, negative, zero, a
 * month) is left out and counted.
 */
import type { EngineSpeed } from './contract.ts';
import { createScaledFit, type Factors, type ScaledFit } from './scaled_fit.ts';

/** A first token: how long it took, and what was before it. */
export interface PrefillSample {
  /** Milliseconds from the pick to the first token. */
  readonly tookMs: number;
  /** Uncached tokens ahead of and in the request, and their squares. */
  readonly tokens: number;
  readonly squares: number;
  /** Milliseconds of it that other work took, such as the step that was under way. */
  readonly otherMs: number;
}

/** A stream: its mean time between tokens, and what ran beside it. */
export interface DecodeSample {
  /** Milliseconds from the first to the last token, and the tokens after the first. */
  readonly tookMs: number;
  readonly tokens: number;
  /** Sequences and context tokens of the batch, mean over that time. */
  readonly sequences: number;
  readonly contextTokens: number;
  /** Milliseconds of it that the prefill of other prompts took. */
  readonly otherMs: number;
}

export interface SpeedFit {
  readonly speed: EngineSpeed;
  /** Observations taken in, and those that could not be. */
  readonly taken: number;
  readonly rejected: number;
  /** False: the sample could not be, and was left out. */
  prefill(sample: PrefillSample): boolean;
  decode(sample: DecodeSample): boolean;
}

/** What engines of one model on the same hardware have in common. */
export interface SpeedPool {
  readonly prior: EngineSpeed;
  readonly prefill: ScaledFit;
  readonly decode: ScaledFit;
}

/** Longest time that is believed, ten minutes: a request lives no longer by default. */
const MOST_MS = 600_000;
const MOST_TOKENS = 2 ** 24;
/** A part of a time that must remain once other work is taken off, so that a rough guess of it cannot turn the sign. */
const LEAST_PART = 0.05;
/** An engine's own ratio follows what is seen at this pace, in logarithms, and is heeded from this much on. */
const PACE = 0.05;
const DEAD_BAND = Math.log(1.3);
const MOST_FACTOR = Math.log(8);
/** Observations of the pool after which an engine's own ratio has lost two thirds of its weight. */
const FADING = 500;

const counts = (value: number): boolean => value >= 0 && value <= MOST_TOKENS ** 2;

function isTime(tookMs: number, otherMs: number): boolean {
  return tookMs > 0 && tookMs <= MOST_MS && otherMs >= 0 && otherMs < Infinity;
}

export function createSpeedPool(prior: EngineSpeed): SpeedPool {
  return {
    prior,
    prefill: createScaledFit(),
    decode: createScaledFit(),
  };
}

/** How one engine differs from its pool in one of the two times. */
class OwnFactor {
  readonly #fit: ScaledFit;
  #log = 0;
  #atCount = 0;

  constructor(fit: ScaledFit) {
    this.#fit = fit;
  }

  get factor(): number {
    const log = this.#faded();
    // Heeded a little from the band on and wholly at twice the band, so that it never jumps.
    const heeded = Math.min(1, Math.max(0, Math.abs(log) / DEAD_BAND - 1));
    return Math.exp(log * heeded);
  }

  observe(parts: Factors, y: number): void {
    const ratio = this.#fit.observe(parts, y);
    const log = this.#faded();
    this.#log = Math.min(MOST_FACTOR, Math.max(-MOST_FACTOR, log + PACE * (Math.log(ratio) - log)));
    this.#atCount = this.#fit.count;
  }

  #faded(): number {
    return this.#log * Math.exp((this.#atCount - this.#fit.count) / FADING);
  }
}

/** The fit of one engine of a pool. */
export function createSpeedFit(pool: SpeedPool): SpeedFit {
  return new PooledFit(pool);
}

class PooledFit implements SpeedFit {
  readonly #pool: SpeedPool;
  readonly #prefill: OwnFactor;
  readonly #decode: OwnFactor;
  taken = 0;
  rejected = 0;

  constructor(pool: SpeedPool) {
    this.#pool = pool;
    this.#prefill = new OwnFactor(pool.prefill);
    this.#decode = new OwnFactor(pool.decode);
  }

  get speed(): EngineSpeed {
    const { prior, prefill, decode } = this.#pool;
    if (prefill.count + decode.count === 0) return prior;
    const [prefillFactor, decodeFactor] = [this.#prefill.factor, this.#decode.factor];
    const [base, perToken, perSquare] = prefill.factors;
    const [step, perSequence, perContextToken] = decode.factors;
    return {
      prefillBaseMs: prior.prefillBaseMs * base * prefillFactor,
      prefillPerTokenMs: prior.prefillPerTokenMs * perToken * prefillFactor,
      prefillPerTokenSquaredMs: (prior.prefillPerTokenSquaredMs ?? 0) * perSquare * prefillFactor,
      stepBaseMs: prior.stepBaseMs * step * decodeFactor,
      stepPerSequenceMs: prior.stepPerSequenceMs * perSequence * decodeFactor,
      stepPerContextTokenMs: prior.stepPerContextTokenMs * perContextToken * decodeFactor,
    };
  }

  prefill({ tookMs, tokens, squares, otherMs }: PrefillSample): boolean {
    if (!isTime(tookMs, otherMs) || !counts(tokens) || !counts(squares)) return this.#reject();
    const { prior } = this.#pool;
    const perSquare = prior.prefillPerTokenSquaredMs ?? 0;
    const parts = [prior.prefillBaseMs, prior.prefillPerTokenMs * tokens, perSquare * squares] as const;
    this.#prefill.observe(parts, Math.max(tookMs - otherMs, tookMs * LEAST_PART));
    this.taken += 1;
    return true;
  }

  decode({ tookMs, tokens, sequences, contextTokens, otherMs }: DecodeSample): boolean {
    const usable = isTime(tookMs, otherMs) && tokens >= 1 && counts(tokens);
    if (!usable || !counts(sequences) || !counts(contextTokens)) return this.#reject();
    const { prior } = this.#pool;
    const parts = [
      prior.stepBaseMs,
      prior.stepPerSequenceMs * sequences,
      prior.stepPerContextTokenMs * contextTokens,
    ] as const;
    this.#decode.observe(parts, Math.max(tookMs - otherMs, tookMs * LEAST_PART) / tokens);
    this.taken += 1;
    return true;
  }

  #reject(): false {
    this.rejected += 1;
    return false;
  }
}
