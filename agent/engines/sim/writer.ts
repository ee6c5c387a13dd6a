/**
 * Which token comes next. It depends on the engine's seed and on all ids before it (prompt and answer) and on nothing
 * else, so a continuation from prompt ids + emitted ids equals the uncut run, whatever else the engine runs beside it.
 */
import { ANSWER_START, EOS, type Vocabulary } from './vocabulary.ts';

/** What the answer to a chat begins with: the engine names itself. */
export const SIMULATED_PREFIX = '[simulated]';

/** One sequence's place in its text. */
export interface Writer {
  /** Takes the id that follows; ids of the prompt first, then each id that was emitted. */
  feed(id: number): void;
  /** The next id; `mayEnd` false never gives the end-of-sequence token. */
  next(mayEnd: boolean): number;
  /** Sampling with a seed starts over at the request's first token, as vLLM's sampler does; so no continuation equals it. */
  reseed(seed: number): void;
}

export interface WriterOptions {
  readonly vocabulary: Vocabulary;
  readonly seed: number;
  /** Token ids of SIMULATED_PREFIX. */
  readonly prefixIds: readonly number[];
  /** Mean number of tokens of an answer; the end comes with a chance of 1 in this at every token. */
  readonly meanTokens: number;
}

function mix(hash: number, value: number): number {
  let x = Math.imul(hash ^ value, 0x9e3779b1);
  x ^= x >>> 15;
  x = Math.imul(x, 0x85ebca77);
  return (x ^ (x >>> 13)) | 0;
}

function pick(list: readonly number[], draw: number): number {
  return list[draw % list.length] as number;
}

export function createWriter(options: WriterOptions): Writer {
  const { vocabulary, prefixIds, meanTokens } = options;
  let hash = mix(0x5f3759df, options.seed);
  let last = -1;
  /** Tokens since the answer began while they are the prefix; -1 elsewhere. */
  let inPrefix = -1;
  return {
    feed(id) {
      hash = mix(hash, id);
      last = id;
      if (id === ANSWER_START) inPrefix = 0;
      else if (inPrefix >= 0) inPrefix = prefixIds[inPrefix] === id ? inPrefix + 1 : -1;
    },
    reseed(seed) {
      hash = mix(mix(hash, 0x2545f491), seed | 0);
    },
    next(mayEnd) {
      if (inPrefix >= 0 && inPrefix < prefixIds.length) return prefixIds[inPrefix] as number;
      const following = vocabulary.following.get(last);
      const draw = mix(hash, 0x1b873593) >>> 0;
      if (following !== undefined) return pick(following, draw);
      if (mayEnd && draw % meanTokens === 0) return EOS;
      const choice = (mix(hash, 0x7feb352d) >>> 0) % 100;
      if (choice < 80) return pick(vocabulary.words, draw);
      if (choice < 88) return pick(vocabulary.punctuation, draw);
      if (choice < 92) return pick(vocabulary.code, draw);
      if (choice < 96) return pick(vocabulary.whole, draw);
      return pick(vocabulary.partial, draw);
    },
  };
}
