/**
 * One life of one engine as routing keeps it: what the fleet says of it, what this scheduler has on it, how fast it is,
 * and whether its breaker lets requests through. A slot is one object that is changed in place, so that a pick over
 * thousands of engines allocates nothing; what belongs to a life stays with that life's slot and never touches the next.
 */
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { Endpoint } from '../../ports.ts';
import { type Breaker, newBreaker } from './breaker.ts';
import type { EngineLife, EngineLoad, EngineSpeed } from './contract.ts';
import { createSpeedFit, createSpeedPool, type SpeedFit } from './speed_fit.ts';
import { NEUTRAL_SPEED } from './speed_priors.ts';
import type { EngineMark } from './traffic_rules.ts';

/** Why an engine may not be picked. A state's word (`draining`, `starting`, ...) stands for itself. */
export interface Refusal {
  readonly by: string;
  readonly detail: string;
}

/** What is known of an engine from outside: from its agent's messages, or from the simulator. */
export interface EngineFacts extends EngineLife {
  readonly node: NodeId;
  /** Name of the engine on its node. */
  readonly name: string;
  /** Models with the endpoints that each answers; none named: all. */
  readonly serves: readonly { readonly model: string; readonly endpoints: readonly Endpoint[] }[];
  /** Why it may not be picked by any request; absent: it may. */
  readonly refusal?: Refusal | undefined;
  /** Monotonic milliseconds; when its agent last said anything. */
  readonly lastSeenAtMs: number;
  /** Requests on it that are not this scheduler's; what is no count is taken for none. */
  readonly otherRequests: number;
  /** Used part of its KV cache, 0 to 1. */
  readonly kvUsageRatio?: number | undefined;
  /** Tokens that fit into its KV cache. */
  readonly kvTokens?: number | undefined;
  /** Most requests that this scheduler may have on it. */
  readonly maxRequests?: number | undefined;
  /** Most sequences that it works on at a time. */
  readonly maxSequences?: number | undefined;
  /** Where the fit of its speed starts; absent: a neutral speed. */
  readonly prior?: EngineSpeed | undefined;
}

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** A request that waits for its first token. */
export interface PendingPrefill {
  readonly tokens: number;
  readonly squares: number;
  /** Its answer comes whole, so nobody sees its first token: it is believed once its time is over. */
  readonly blind: boolean;
  firstToken(nowMs: number): void;
}

export interface EngineSlot extends Omit<Mutable<EngineLoad>, 'engine' | 'incarnation' | 'kvUsageRatio'> {
  readonly engine: EngineId;
  readonly incarnation: number;
  /** Its numbers for picks, and where they stand among all rows; undefined and -1: it is not listed. */
  row: Float64Array | undefined;
  rowAt: number;
  node: NodeId;
  name: string;
  /** Whether the fleet has it now; a slot that is not listed only waits for its requests to end. */
  listed: boolean;
  refusal: Refusal | undefined;
  /** Which revision it is of; undefined: of no deployment. */
  mark: EngineMark | undefined;
  /** Among whom its model's requests are divided (traffic_splits.ts); 0: they are not. */
  group: number;
  lastSeenAtMs: number;
  /** NaN: unknown. */
  kvUsageRatio: number;
  /** 0: unknown. */
  kvTokens: number;
  maxRequests: number;
  maxSequences: number;
  serves: EngineFacts['serves'];
  fit: SpeedFit;
  breaker: Breaker;
  /** Hash of the engine's name, for rendezvous hashing. */
  readonly nameHash: number;
  /** Larger for engines that were picked later, 0: never. */
  pickOrder: number;
  /** Of the prompts that wait: the sum of t*t - c*c over their uncached tokens from c to t. */
  pendingPrefillSquares: number;
  /** The prompts that wait, oldest first. */
  readonly pending: Set<PendingPrefill>;
  /** The oldest of them and since when it is the oldest, monotonic milliseconds. */
  head: PendingPrefill | undefined;
  headSinceMs: number;
  /** Context tokens of all this scheduler's requests, those that wait included. */
  contextTokens: number;
  /** Integrals over time of running sequences and of their context, and uncached tokens whose prefill is done. */
  batchArea: number;
  contextArea: number;
  areaAtMs: number;
  prefilledTokens: number;
  prefilledSquares: number;
}

/** The endpoints as bits of one number. */
export const ENDPOINT_BIT: Readonly<Record<Endpoint, number>> = { chat: 1, completions: 2, embeddings: 4 };
export const ANY_ENDPOINT = 7;

/** FNV-1a, 32 bits. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

export function newSlot(engine: EngineId, incarnation: number): EngineSlot {
  const slash = engine.indexOf('/');
  const fit = createSpeedFit(createSpeedPool(NEUTRAL_SPEED));
  return {
    engine,
    incarnation,
    row: undefined,
    rowAt: -1,
    node: engine.slice(0, slash) as NodeId,
    name: engine.slice(slash + 1),
    listed: false,
    refusal: undefined,
    mark: undefined,
    group: 0,
    lastSeenAtMs: 0,
    otherRequests: 0,
    kvUsageRatio: Number.NaN,
    kvTokens: 0,
    maxRequests: Infinity,
    maxSequences: Infinity,
    serves: [],
    fit,
    speed: fit.speed,
    breaker: newBreaker(),
    nameHash: hashText(engine),
    lastPickedAtMs: -Infinity,
    pickOrder: 0,
    reservedRequests: 0,
    pendingPrefillTokens: 0,
    pendingPrefillSquares: 0,
    pending: new Set(),
    head: undefined,
    headSinceMs: 0,
    decodeTokens: 0,
    contextTokens: 0,
    batchArea: 0,
    contextArea: 0,
    areaAtMs: 0,
    prefilledTokens: 0,
    prefilledSquares: 0,
  };
}

/** Milliseconds of prefill that `tokens` uncached tokens with such squares take, without the fixed part. */
export function prefillWorkMs(speed: EngineSpeed, tokens: number, squares: number): number {
  return speed.prefillPerTokenMs * tokens + (speed.prefillPerTokenSquaredMs ?? 0) * squares;
}

/** Milliseconds of a step that decodes one token for each of `sequences` with `contextTokens` in sum. */
export function stepMs(speed: EngineSpeed, sequences: number, contextTokens: number): number {
  return speed.stepBaseMs + speed.stepPerSequenceMs * sequences + speed.stepPerContextTokenMs * contextTokens;
}

/** The part of the oldest waiting prompt, 0 to 1, that must have had its prefill since its turn came. */
export function prefillDone({ head, headSinceMs, speed }: EngineSlot, nowMs: number): number {
  if (head === undefined) return 0;
  const headMs = prefillWorkMs(speed, head.tokens, head.squares);
  return headMs > 0 ? Math.min(1, Math.max(0, nowMs - headSinceMs) / headMs) : 1;
}

/**
 * Milliseconds until the prompts that wait on the engine have had their prefill, as far as is known here: their work
 * less what the oldest must have got since its turn came. An engine that is late is not believed to be done.
 */
export function waitingPrefillMs(slot: EngineSlot, nowMs: number): number {
  const { head, speed } = slot;
  const allMs = prefillWorkMs(speed, slot.pendingPrefillTokens, slot.pendingPrefillSquares);
  if (head === undefined) return allMs;
  return allMs - prefillDone(slot, nowMs) * prefillWorkMs(speed, head.tokens, head.squares);
}
