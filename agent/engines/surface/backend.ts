/**
 * The seam between the HTTP surface that looks like vLLM and whatever makes the tokens behind it.
 * The surface owns HTTP, validation, chunk building, stop strings, usage and metrics; a backend owns tokens.
 * Two backends stand behind it: the embedded real model (engines/llama) and the simulated engine (engines/sim).
 */

/** One chat message after validation; content parts were flattened to text by the surface. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
  readonly tool_call_id?: string;
  readonly tool_calls?: readonly unknown[];
}

/** What a backend needs to make tokens for one sequence. All limits are already resolved by the surface. */
export interface GenerateRequest {
  readonly requestId: string;
  /** Prompt token ids; never empty, shorter than `contextTokens`. */
  readonly promptIds: readonly number[];
  /** At most this many new tokens; >= 1 and within the context that the prompt leaves. */
  readonly maxTokens: number;
  readonly minTokens: number;
  /** 0 means greedy. */
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number | undefined;
  readonly ignoreEos: boolean;
  readonly stopTokenIds: readonly number[];
  /** Text that a simulated engine must emit instead of its own (tool calls); a real model ignores it. */
  readonly scripted?: string;
}

/** Why a sequence ended, in vLLM's words. */
export type EndReason = 'stop' | 'length' | 'abort' | 'error';

export interface GenerateSink {
  /** The prompt is in the cache; `cachedTokens` of it were already there. Called once, before the first token. */
  onPrefill(cachedTokens: number): void;
  /** New token ids, in order. Backends that step many tokens at once may give several. */
  onTokens(ids: readonly number[]): void;
  /** Called exactly once, last. `error` only with reason 'error'. */
  onEnd(reason: EndReason, error?: { message: string; code: number }): void;
}

/** Load figures under vLLM's metric names. A figure that the backend does not know is absent, never 0. */
export interface BackendLoad {
  readonly running: number;
  readonly waiting: number;
  readonly kvCacheUsage?: number;
  readonly iterations?: number;
  readonly prefixCacheQueries?: number;
  readonly prefixCacheHits?: number;
  readonly preemptions?: number;
  /** Size of the KV cache, told as vLLM's `cache_config_info`. */
  readonly kvBlocks?: { readonly blockTokens: number; readonly blocks: number };
}

/** A token's natural log probability and its best alternatives, best first. */
export interface TokenLogprob {
  readonly logprob: number;
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export interface Backend {
  /** 'llama' or 'sim'; a simulated backend is named as such in /v1/models. */
  readonly kind: 'llama' | 'sim';
  readonly contextTokens: number;
  tokenize(text: string, addSpecialTokens: boolean): number[];
  /** Bytes of the tokens' text, each token's bytes independent of its neighbours; special tokens give none when skipped. A single token may be part of a multi-byte character, so this is bytes, not a string. */
  detokenize(ids: readonly number[], skipSpecialTokens?: boolean): Uint8Array;
  /** Token ids at or above it are refused as prompt ids; absent means unknown, and then not checked. */
  readonly vocabularySize?: number;
  /** Present and true where `scripted` is honoured: only then are forced tool calls and response formats accepted. */
  readonly followsScript?: boolean;
  /** Present where log probabilities can be told: that of `id` at `position` of the answer, with `top` alternatives. */
  logprob?(id: number, position: number, top: number): TokenLogprob;
  /** Applies the model's chat template. `continueFinal` leaves the last assistant message open. */
  chatPrompt(
    messages: readonly ChatMessage[],
    options: { addGenerationPrompt: boolean; continueFinal: boolean; tools?: readonly unknown[] },
  ): string;
  /** Starts one sequence; the returned function aborts it (idempotent; onEnd('abort') follows). */
  generate(request: GenerateRequest, sink: GenerateSink): () => void;
  /** Present only where the backend can embed. One vector of float32 per input. */
  embed?(inputs: readonly (readonly number[])[]): Promise<Float32Array[]>;
  load(): BackendLoad;
  /** False once the engine core is known to be dead: /health then answers 503. */
  healthy(): boolean;
  resetPrefixCache?(): void;
  stop(): Promise<void>;
}
