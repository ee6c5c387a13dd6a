/** What is kept of usage: sums per hour, never a request, a prompt or a secret. Types and a few words only. */

/** Sums are kept per hour of UTC: fine enough for a bill, few enough to keep for years. */
export const USAGE_PERIOD_MS = 3_600_000;

/** Stands in every field of the row that takes what there is no room for. */
export const OTHER = '(other)';

/** What one sum is of. */
export interface UsageKey {
  /** Start of its hour, wall-clock milliseconds. */
  readonly periodMs: number;
  readonly tenant: string;
  /** The public id of an API key; `token` for whoever came with a token of an identity provider. */
  readonly key: string;
  readonly model: string;
  /** `ok`, or the code with which the request ended. */
  readonly outcome: string;
  /** `fleet`, `direct` for a client that called an agent itself, or `provider:NAME`. */
  readonly servedBy: string;
}

export interface UsageCounts {
  readonly requests: number;
  /** Requests of which the engine told no usage: their prompt is not in the sums, what was relayed of their answer is. */
  readonly untold: number;
  readonly promptTokens: number;
  /** Those of the prompt tokens that the engine had cached. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export type UsageRow = UsageKey & UsageCounts;

/** The fields of a key in the order in which records and tables have them, and those of the counts. */
export const KEY_FIELDS = ['periodMs', 'tenant', 'key', 'model', 'outcome', 'servedBy'] as const;
export const COUNT_FIELDS = ['requests', 'untold', 'promptTokens', 'cachedTokens', 'completionTokens'] as const;

/** By what a list adds up, and which fields of a key it then shows. */
export const USAGE_BY = {
  '': ['tenant', 'key', 'model', 'outcome', 'servedBy'],
  tenant: ['tenant'],
  key: ['tenant', 'key'],
  model: ['model'],
  outcome: ['outcome'],
  hour: ['periodMs'],
} as const satisfies Record<string, readonly (keyof UsageKey)[]>;
export type UsageBy = keyof typeof USAGE_BY;

export const isUsageBy = (text: string): text is UsageBy => Object.hasOwn(USAGE_BY, text);

/** A span of whole hours: `sinceMs` is in it, `untilMs` is not. */
export interface UsageSpan {
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** Most rows of one answer. */
export const MAX_USAGE_ROWS = 10_000;

/** What one segment of a spool comes to; its name makes that it counts once, whoever settles it how often. */
export interface UsageBatch {
  readonly spool: string;
  /** 1 for the first of a spool; a batch counts only when it is above all that counted before. */
  readonly number: number;
  /** No two of one key. */
  readonly rows: readonly UsageRow[];
}

/** Where usage is settled. */
export interface UsageTable {
  /** @throws CodedError store_… when it cannot take anything now */
  probe(): Promise<void>;
  /** Adds a batch, once. @returns false when it had counted before. @throws CodedError store_… */
  settle(batch: UsageBatch): Promise<boolean>;
  /** Sums of a span, at most MAX_USAGE_ROWS + 1 of them; fields that `by` does not name are empty or 0. */
  list(span: UsageSpan, by: UsageBy): Promise<readonly UsageRow[]>;
  /** Forgets hours, and spools that were last heard of, before this time. */
  prune(beforeMs: number): Promise<void>;
}

/** The table of a store that may not be open yet, or never. */
export interface UsageStore {
  /** Undefined: the configuration wants no store. */
  readonly isOpen: (() => boolean) | undefined;
  /** Opens the store if need be. @throws CodedError store_… */
  table(): Promise<UsageTable>;
}

export interface UsageRequest {
  readonly by: string;
  /** Wall-clock milliseconds; absent: from the first on. */
  readonly sinceMs?: number;
  /** Absent: until now. */
  readonly untilMs?: number;
}

export interface UsageReport extends UsageSpan {
  readonly by: UsageBy;
  readonly rows: readonly UsageRow[];
  /** There were more rows than an answer holds. */
  readonly truncated: boolean;
  /** `store`: the fleet's; `spool`: of this scheduler alone, because it has no store. */
  readonly source: 'store' | 'spool';
  /** Records that this scheduler has not settled yet. */
  readonly unsettledRecords: number;
  readonly spooledBytes: number;
}

/** Usage for whoever may see it, over every door alike. */
export interface UsageOperations {
  /** @throws CodedError invalid_value, store_… */
  list(request: UsageRequest): Promise<UsageReport>;
}
