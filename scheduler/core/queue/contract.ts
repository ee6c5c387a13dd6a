/** What the queue and those who use it tell each other. Types only. */
import type { CodedError } from '../../../lib/errors.ts';
import type { TenantId } from '../../../lib/ids.ts';

/** Bounds and times of the queues; a bound of 0 requests turns holding off. */
export interface QueueOptions {
  /** Per model. */
  readonly maxRequests: number;
  readonly maxBytes: number;
  /** Of all models together. */
  readonly maxTotalRequests: number;
  readonly maxTotalBytes: number;
  /** The part of a model's bounds that one tenant may take, 0 to 1. */
  readonly tenantShare: number;
  /** Longest wait, whatever the deadline. */
  readonly maxWaitMs: number;
  /** For so long a held request is told nothing: its answer may still become an error with a status of its own. */
  readonly silentMs: number;
  /** From then on it is told its place this often. */
  readonly noticeMs: number;
}

/** Where a held request stands. */
export interface QueuePlace {
  /** 1: it is next. */
  readonly position: number;
  /** Milliseconds until its turn; absent while nothing can be said. */
  readonly etaMs?: number;
}

/** Why a request is not held, or not any longer. The words are labels of a metric. */
export type ShedReason =
  /** A bound of the model's queue, or of all queues, is reached. */
  | 'queue_full'
  /** The tenant has its share of the queue. */
  | 'tenant_share'
  /** By the estimate it could not be answered before its deadline. */
  | 'deadline_unreachable'
  /** A tenant that holds less, or a more urgent request, got its place. */
  | 'pushed_out'
  /** It has waited as long as a request may. */
  | 'wait_timeout'
  | 'deadline_passed'
  /** This scheduler stops, and the client has been told nothing yet. */
  | 'draining'
  /** No engine can be expected any more. */
  | 'no_engine';

/** A request that may be held. */
export interface WaitingOrder {
  readonly model: string;
  readonly tenant: TenantId;
  readonly weight: number;
  /** Smaller first. */
  readonly priority: number;
  /** A request that was running already goes before all that were not, and no bound refuses it. */
  readonly precedence?: 'migration';
  /** Monotonic milliseconds. */
  readonly deadlineAtMs: number;
  readonly promptTokens: number;
  /** As far as can be told beforehand; the rest is settled at the end. */
  readonly outputTokens: number;
  /** What is kept in memory for it meanwhile. */
  readonly bytes: number;
  /** Its client has got bytes of an answer, so nobody else could serve it: a drain lets it wait on. */
  readonly begun?: boolean;
  /**
   * Places it on an engine.
   * @returns false when every engine has as much to do as it may
   * @throws CodedError when it cannot be placed for another reason; nothing was started then
   */
  place(): boolean;
  /** Whether what kept it from being placed may pass, so that waiting makes sense. */
  mayWait(error: CodedError): boolean;
  /** It is not held any longer; called at most once, and not after `place` or `leave`. */
  refuse(error: CodedError): void;
  /**
   * Its place, for a client that may be told.
   * @returns whether the client was told, so that its answer has begun
   */
  told(place: QueuePlace): boolean;
}

/** A request in the queue. */
export interface Ticket {
  /** It needs no turn any more. Idempotent. */
  leave(): void;
  readonly place: QueuePlace | undefined;
}

/** What a model's queue looks like, for operators and metrics. */
export interface QueueView {
  readonly model: string;
  readonly requests: number;
  readonly bytes: number;
  /** Expected tokens of all that waits. */
  readonly tokens: number;
}

/** What is remembered of a request's wait, for `sophia explain request`. */
export interface QueueRecord {
  /** Undefined when it does not wait any more. */
  readonly place: QueuePlace | undefined;
  readonly waitedMs: number;
}

/** What the queues count. */
export interface QueueFigures {
  /** A request got its turn, was shed or left after this wait. */
  waited(model: string, outcome: 'served' | 'shed' | 'left', waitMs: number): void;
  shed(model: string, reason: ShedReason): void;
}
