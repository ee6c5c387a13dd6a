/**
 * What the parts of routing tell each other. Policies see a request's shape and the state of each engine that may be
 * picked; where the state comes from (agents' telemetry, or the simulator's engines) is not theirs to know, so the
 * scheduler and the fleet simulator run the very same code. Types only.
 */
import type { EngineId, TenantId } from '../../../lib/ids.ts';

/** One life of one engine: what is counted for a life never touches its successor. */
export interface EngineLife {
  readonly engine: EngineId;
  readonly incarnation: number;
}

/**
 * The leading full blocks of a prompt. Each hash stands for its block and all before it (a chain), seeded by what keeps
 * caches apart: tenant salt, LoRA adapter, image content. Two 32-bit halves a block: [high 0, low 0, high 1, low 1, ...].
 */
export interface PromptBlocks {
  /** Tokens a block; for byte blocks, the tokens that so many bytes are estimated to be. */
  readonly blockTokens: number;
  readonly hashes: Uint32Array;
}

/** What routing is told of one request; no prompt and no answer is in it. */
export interface RequestShape {
  readonly model: string;
  readonly tenant: TenantId;
  /** Counted where the model's tokeniser is known, else estimated from bytes. */
  readonly promptTokens: number;
  /** The request's own limit; absent: the policy's estimate of a typical answer counts. */
  readonly maxOutputTokens?: number;
  /** Absent: nothing is known of the prompt's prefix. */
  readonly blocks?: PromptBlocks;
  /** What a session-sticky policy hashes: a client's session or prompt-cache key. */
  readonly sessionKey?: string;
}

/** Which prefixes the engines hold, as far as is known. */
export interface Residency {
  /**
   * Leading blocks of the prompt that each engine holds.
   * @param out one entry per engine, in their order; it is overwritten
   */
  overlap(engines: readonly EngineLife[], blocks: PromptBlocks, out: Uint32Array): void;
  /** The request was sent there: its blocks will be held there soon. */
  dispatched(life: EngineLife, blocks: PromptBlocks, nowMs: number): void;
  /** The engine said how many prompt tokens it had cached: what was believed wrongly is taken back. */
  corrected(life: EngineLife, blocks: PromptBlocks, cachedTokens: number, nowMs: number): void;
  /** The request was sent there and never reached its prefill: what only it would have brought there is taken back. */
  withdrawn(life: EngineLife, blocks: PromptBlocks): void;
  /** Tokens that fit into the engine's cache, where that is known. */
  sized(life: EngineLife, tokens: number): void;
  /** The life has ended: nothing of it is held any more. */
  forget(life: EngineLife): void;
  /** Bytes of memory that the index takes; never above its cap. */
  readonly bytes: number;
}

/** What a policy knows of one engine that may be picked. */
export interface EngineLoad extends EngineLife {
  /** Requests of this scheduler on it, and those of others by the newest reading. */
  readonly reservedRequests: number;
  readonly otherRequests: number;
  /** Uncached prompt tokens that wait for their first token: this scheduler's own, exactly. */
  readonly pendingPrefillTokens: number;
  /** Context tokens of the sequences that decode: this scheduler's own. */
  readonly decodeTokens: number;
  /** From the newest reading; absent: unknown. */
  readonly kvUsageRatio?: number;
  /** The speed as fitted online from observed first-token and inter-token times. */
  readonly speed: EngineSpeed;
  /** Monotonic milliseconds; when this scheduler last sent it a request, -Infinity: never. */
  readonly lastPickedAtMs: number;
}

/** Milliseconds that work costs on an engine: prefill = base + perToken * T, decode step = base + perSequence * B + perContextToken * K. */
export interface EngineSpeed {
  readonly prefillBaseMs: number;
  readonly prefillPerTokenMs: number;
  /** Attention makes late tokens dearer: over a prompt's tokens from c to t it adds this times t*t - c*c; absent: 0. */
  readonly prefillPerTokenSquaredMs?: number;
  readonly stepBaseMs: number;
  readonly stepPerSequenceMs: number;
  readonly stepPerContextTokenMs: number;
}

/** One part of a cost, for `sophia explain request`. */
export interface CostPart {
  readonly name: string;
  readonly value: number;
}

/** A policy's verdict on one engine; the lowest cost wins. */
export interface Cost {
  /** Milliseconds for the default policy, the policy's own unit for others. */
  readonly total: number;
  readonly parts: readonly CostPart[];
}
