/**
 * The newest requests with the decisions that were taken for them: what `sophia explain request` reads. Bounded by the
 * number of requests and of verdicts; the oldest are forgotten first. It holds no prompt and no answer.
 */
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import type { Decision, DecisionMode, Verdict } from './decision.ts';

export type Outcome = 'running' | 'finished' | 'failed' | 'cancelled';

/** One request; the run loop fills it in as it goes on. */
export interface RequestRecord {
  readonly id: RequestId;
  readonly tenant: TenantId;
  readonly model: string;
  /** Milliseconds since the epoch, as the other times here. */
  readonly receivedAtMs: number;
  firstTokenAtMs: number | undefined;
  endedAtMs: number | undefined;
  outcome: Outcome;
  errorCode: string;
  policy: string;
  /** Of all tries, in order. */
  verdicts: readonly Verdict[];
  /** Of the newest try: what was unusual, the engines of the model, and how many were refused by which reason. */
  mode?: DecisionMode | undefined;
  engines?: number;
  refused?: ReadonlyMap<string, number>;
  outputTokens: number | undefined;
}

export interface RequestLog {
  /** The newest request with this id. */
  find(id: string): RequestRecord | undefined;
  add(record: RequestRecord): void;
  /** Adds the verdicts of one more try. */
  decided(record: RequestRecord, decision: Decision): void;
  readonly count: number;
}

export function createRequestLog(limits: { readonly maxRequests: number; readonly maxVerdicts: number }): RequestLog {
  const records = new Map<string, RequestRecord>();
  let verdicts = 0;
  const forget = (id: string, record: RequestRecord): void => {
    records.delete(id);
    verdicts -= record.verdicts.length;
  };
  const trim = (): void => {
    for (const [id, record] of records) {
      if (records.size <= limits.maxRequests && verdicts <= limits.maxVerdicts) return;
      forget(id, record);
    }
  };
  return {
    find: (id) => records.get(id),
    add(record) {
      const before = records.get(record.id);
      if (before !== undefined) forget(record.id, before);
      records.set(record.id, record);
      verdicts += record.verdicts.length;
      trim();
    },
    decided(record, decision) {
      record.policy = decision.policy;
      record.mode = decision.mode;
      record.engines = decision.engines;
      record.refused = decision.refused;
      record.verdicts = [...record.verdicts, ...decision.verdicts];
      if (records.get(record.id) === record) verdicts += decision.verdicts.length;
      trim();
    },
    get count() {
      return records.size;
    },
  };
}
