/**
 * The speed of one engine, fitted online from what its requests take: two lines, one for the time to the first token
 * over the uncached prompt tokens ahead of and in a request, one for the time between tokens over its batch. What cannot
 * be (not a number, negative, zero, a month) is left out and counted, and no weight can leave its bounds, so a speed is
 * always positive and finite.
 */
import type { EngineSpeed } from './contract.ts';
import { createLeastSquares, type LeastSquares } from './least_squares.ts';

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

/** Longest time that is believed, ten minutes: a request lives no longer by default. */
const MOST_MS = 600_000;
const MOST_TOKENS = 2 ** 24;
/** Bounds of weights: base, per token or sequence, per square or context token, in milliseconds. */
const LEAST_PREFILL = [0.01, 1e-5, 1e-12] as const;
const MOST_PREFILL = [60_000, 100, 1e-2] as const;
const LEAST_DECODE = [0.01, 1e-6, 1e-9] as const;
const MOST_DECODE = [60_000, 1000, 1] as const;
const MEMORY = 0.99;
/** A part of a time that must remain once other work is taken off, so that a rough guess of it cannot turn the sign. */
const LEAST_PART = 0.05;

const counts = (value: number): boolean => value >= 0 && value <= MOST_TOKENS ** 2;

function isTime(tookMs: number, otherMs: number): boolean {
  return tookMs > 0 && tookMs <= MOST_MS && otherMs >= 0 && otherMs < Infinity;
}

function lines(prior: EngineSpeed): { readonly prefill: LeastSquares; readonly decode: LeastSquares } {
  return {
    prefill: createLeastSquares({
      start: [prior.prefillBaseMs, prior.prefillPerTokenMs, prior.prefillPerTokenSquaredMs ?? LEAST_PREFILL[2]],
      least: LEAST_PREFILL,
      most: MOST_PREFILL,
      scales: [1, 1, 1],
      memory: MEMORY,
    }),
    decode: createLeastSquares({
      start: [prior.stepBaseMs, prior.stepPerSequenceMs, prior.stepPerContextTokenMs],
      least: LEAST_DECODE,
      most: MOST_DECODE,
      scales: [1, 1, 1],
      memory: MEMORY,
    }),
  };
}

export function createSpeedFit(prior: EngineSpeed): SpeedFit {
  const { prefill, decode } = lines(prior);
  let speed: EngineSpeed = prior;
  let rejected = 0;
  const settle = (): void => {
    const [prefillBaseMs, prefillPerTokenMs, prefillPerTokenSquaredMs] = prefill.weights;
    const [stepBaseMs, stepPerSequenceMs, stepPerContextTokenMs] = decode.weights;
    speed = {
      prefillBaseMs,
      prefillPerTokenMs,
      prefillPerTokenSquaredMs,
      stepBaseMs,
      stepPerSequenceMs,
      stepPerContextTokenMs,
    };
  };
  return {
    get speed() {
      return speed;
    },
    get taken() {
      return prefill.count + decode.count;
    },
    get rejected() {
      return rejected;
    },
    prefill({ tookMs, tokens, squares, otherMs }) {
      if (!isTime(tookMs, otherMs) || !counts(tokens) || !counts(squares)) {
        rejected += 1;
        return false;
      }
      prefill.observe([1, tokens, squares], Math.max(tookMs - otherMs, tookMs * LEAST_PART));
      settle();
      return true;
    },
    decode({ tookMs, tokens, sequences, contextTokens, otherMs }) {
      if (
        !isTime(tookMs, otherMs) ||
        !(tokens >= 1) ||
        !counts(tokens) ||
        !counts(sequences) ||
        !counts(contextTokens)
      ) {
        rejected += 1;
        return false;
      }
      decode.observe([1, sequences, contextTokens], Math.max(tookMs - otherMs, tookMs * LEAST_PART) / tokens);
      settle();
      return true;
    },
  };
}
