/**
 * How long a vLLM engine takes for a step, as data and formulas. The simulated engine and the fleet simulator both run
 * on it, so that a policy tried in simulation meets the same engine that the process tests meet.
 *
 * Source: NVIDIA's measured vLLM 0.24 kernel timings (ai-dynamo/aiconfigurator @095f58a, Apache-2.0), fitted; checked
 * against 55 measured 70B-fp8 points with a median error of 1.8-7.3 % in time per output token. GH200 is not in that
 * data: any use of these rows for it is an assumption and must be labelled as one.
 */

/** Fitted milliseconds of one engine configuration: prefill of T tokens, and a decode step of B sequences with K context tokens. */
export interface TimingRow {
  readonly model: string;
  readonly precision: 'bf16' | 'fp8';
  readonly gpu: string;
  readonly tensorParallel: number;
  readonly prefillBaseMs: number;
  readonly prefillMsPerToken: number;
  readonly prefillMsPerTokenSquared: number;
  readonly decodeBaseMs: number;
  readonly decodeMsPerSequence: number;
  readonly decodeMsPerContextToken: number;
}

function row(
  model: string,
  precision: 'bf16' | 'fp8',
  gpu: string,
  tensorParallel: number,
  prefill: readonly [number, number, number],
  decode: readonly [number, number, number],
): TimingRow {
  return Object.freeze({
    model,
    precision,
    gpu,
    tensorParallel,
    prefillBaseMs: prefill[0],
    prefillMsPerToken: prefill[1],
    prefillMsPerTokenSquared: prefill[2],
    decodeBaseMs: decode[0],
    decodeMsPerSequence: decode[1],
    decodeMsPerContextToken: decode[2],
  });
}

/** The measured configurations, by the name that `--sim-timing` takes. */
export const TIMING_ROWS = Object.freeze({
  '8b-bf16-h100': row('8B', 'bf16', 'H100', 1, [3.1, 0.0154, 6.9e-7], [5.94, 0.0096, 4.37e-5]),
  '8b-fp8-h100': row('8B', 'fp8', 'H100', 1, [2.28, 0.012, 4.3e-7], [4.17, 0.0084, 4.37e-5]),
  '8b-fp8-h200': row('8B', 'fp8', 'H200', 1, [2.49, 0.0101, 4.8e-7], [3.42, 0.0103, 3.15e-5]),
  '70b-bf16-h100-tp4': row('70B', 'bf16', 'H100', 4, [7.37, 0.065, 7.8e-7], [14.57, 0.0404, 2.66e-5]),
  '70b-fp8-h100-tp4': row('70B', 'fp8', 'H100', 4, [6.86, 0.0539, 2.5e-7], [9.92, 0.0424, 2.66e-5]),
  '70b-fp8-h100-tp2': row('70B', 'fp8', 'H100', 2, [6.74, 0.077, 5.6e-7], [16.39, 0.0409, 5.27e-5]),
  '70b-fp8-h200-tp4': row('70B', 'fp8', 'H200', 4, [6.42, 0.0504, 5.1e-7], [8.47, 0.0431, 1.97e-5]),
} as const);

export type TimingRowName = keyof typeof TIMING_ROWS;

/** Time that vLLM's API server adds to a request before its first token (inference-sim's fit), milliseconds. */
export const API_OVERHEAD_MS_PER_REQUEST = 15;

/** Time that vLLM's API server adds to each output token of a stream (inference-sim's fit), milliseconds. */
export const API_OVERHEAD_MS_PER_TOKEN = 0.046;

/** vLLM's defaults that decide how work is cut into steps. */
export const ENGINE_DEFAULTS = Object.freeze({
  maxSequences: 256,
  maxBatchedTokens: 8192,
  blockTokens: 16,
  /** KV tokens of Qwen3-32B on 2 x H100, llm-d's figure. */
  kvTokens: 307_328,
});

/** Milliseconds to prefill `tokens` uncached prompt tokens alone; 0 tokens take no time. */
export function prefillMs(timing: TimingRow, tokens: number): number {
  if (tokens <= 0) return 0;
  return timing.prefillBaseMs + prefillTokensMs(timing, 0, tokens);
}

/** Milliseconds that tokens `from`..`to` of one prompt add to a step; attention makes later tokens dearer. */
function prefillTokensMs(timing: TimingRow, from: number, to: number): number {
  return timing.prefillMsPerToken * (to - from) + timing.prefillMsPerTokenSquared * (to * to - from * from);
}

/** Milliseconds of a step that decodes one token for each of `sequences` with `contextTokens` in sum; 0 sequences take no time. */
export function decodeMs(timing: TimingRow, sequences: number, contextTokens: number): number {
  if (sequences <= 0) return 0;
  return timing.decodeBaseMs + timing.decodeMsPerSequence * sequences + timing.decodeMsPerContextToken * contextTokens;
}

/** A part of a prompt that one step prefills: uncached tokens `from` (inclusive) to `to` (exclusive) of that prompt. */
export interface PrefillChunk {
  readonly from: number;
  readonly to: number;
}

/** What one engine step does. */
export interface StepWork {
  readonly prefills: readonly PrefillChunk[];
  readonly sequences: number;
  readonly contextTokens: number;
}

/**
 * Milliseconds of one step. With chunked prefill, prompts and decoding share a step: its fixed cost is paid once, the
 * greater of the two, and the tokens' costs add up.
 */
export function stepMs(timing: TimingRow, work: StepWork): number {
  let tokensMs = 0;
  let prefilled = false;
  for (const chunk of work.prefills) {
    if (chunk.to <= chunk.from) continue;
    prefilled = true;
    tokensMs += prefillTokensMs(timing, chunk.from, chunk.to);
  }
  const decoding = decodeMs(timing, work.sequences, work.contextTokens);
  if (!prefilled) return decoding;
  if (work.sequences === 0) return timing.prefillBaseMs + tokensMs;
  return Math.max(timing.prefillBaseMs, timing.decodeBaseMs) + (decoding - timing.decodeBaseMs) + tokensMs;
}
