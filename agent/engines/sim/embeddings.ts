/**
 * Embeddings and log probabilities that are made up but steady: equal inputs give equal answers, similar inputs similar
 * vectors, and every vector has length 1, so that clients of either can be tested.
 */
import type { TokenLogprob } from '../surface/backend.ts';

function scramble(value: number): number {
  let x = Math.imul(value ^ 0x9e3779b1, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** The normalised sum of one steady direction per token, so texts that share tokens point the same way. */
export function embedIds(ids: readonly number[], dimensions: number, seed: number): Float32Array {
  const sum = new Float64Array(dimensions);
  for (const id of ids) {
    let state = scramble(id + Math.imul(seed + 1, 0x27d4eb2f));
    for (let at = 0; at < dimensions; at += 1) {
      state = scramble(state + at);
      sum[at] = (sum[at] ?? 0) + state / 0x8000_0000 - 1;
    }
  }
  let norm = Math.hypot(...sum);
  if (norm === 0) norm = 1;
  return Float32Array.from(sum, (value) => value / norm);
}

/** A plausible natural log probability: the chosen token first, its alternatives falling off behind it. */
export function logprobOf(ask: { id: number; position: number; top: number; vocabularySize: number }): TokenLogprob {
  const draw = scramble(ask.id * 31 + ask.position) / 0x1_0000_0000;
  const logprob = Math.log(0.5 + draw * 0.49);
  const rest = 1 - Math.exp(logprob);
  const top = Array.from({ length: ask.top }, (_, rank) => ({
    id: rank === 0 ? ask.id : (ask.id + rank * 7) % ask.vocabularySize,
    logprob: rank === 0 ? logprob : Math.log(rest * 0.5 ** rank),
  }));
  return { logprob, top };
}
