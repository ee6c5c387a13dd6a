/**
 * The newest requests with the decisions that were taken for them: what `sophia explain request` reads. Bounded by the
 * number of requests and of verdicts; the oldest are forgotten first. It holds no prompt and no answer.
 */
import type { ErrorCode } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import type { ProviderTurnRecord } from '../providers/turns.ts';
import type { QueueRecord } from '../queue/contract.ts';
import type { DecisionTrace } from './decision.ts';

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
  /** One for each try, in order. */
  decisions: readonly DecisionTrace[];
  outputTokens: number | undefined;
  /** Providers that were passed over or asked, in order; absent: none was. */
  providers?: readonly ProviderTurnRecord[];
  /** Its wait for an engine; absent: it had none. */
  queue?: QueueRecord;
}

/** @param wallMs milliseconds since the epoch */
export function openRecord(
  { id, tenant, model }: Pick<RequestRecord, 'id' | 'tenant' | 'model'>,
  policy: string,
  wallMs: number,
): RequestRecord {
  const open = { firstTokenAtMs: undefined, endedAtMs: undefined, outputTokens: undefined };
  return { id, tenant, model, receivedAtMs: wallMs, ...open, outcome: 'running', errorCode: '', policy, decisions: [] };
}

/** Writes down how the request ended. @param wallMs milliseconds since the epoch */
export function closeRecord(record: RequestRecord, outcome: 'ok' | ErrorCode, wallMs: number): void {
  record.endedAtMs = wallMs;
  record.outcome = outcome === 'ok' ? 'finished' : outcome === 'cancelled' ? 'cancelled' : 'failed';
  record.errorCode = outcome === 'ok' ? '' : outcome;
}

export interface RequestLog {
  /** The newest request with this id. */
  find(id: string): RequestRecord | undefined;
  add(record: RequestRecord): void;
  /** Adds the decision of one more try. */
  decided(record: RequestRecord, decision: DecisionTrace): void;
  readonly count: number;
}

const verdictsOf = ({ decisions }: RequestRecord): number => decisions.reduce((sum, { count }) => sum + count, 0);

function foundNothing({ engines, refused }: DecisionTrace): boolean {
  let count = 0;
  for (const each of refused.values()) count += each;
  return count >= engines;
}

export function createRequestLog(limits: { readonly maxRequests: number; readonly maxVerdicts: number }): RequestLog {
  const records = new Map<string, RequestRecord>();
  let verdicts = 0;
  const forget = (id: string, record: RequestRecord): void => {
    records.delete(id);
    verdicts -= verdictsOf(record);
  };
  const isWithin = (): boolean => records.size <= limits.maxRequests && verdicts <= limits.maxVerdicts;
  const trim = (): void => {
    if (isWithin()) return;
    for (const [id, record] of records) {
      forget(id, record);
      if (isWithin()) return;
    }
  };
  return {
    find: (id) => records.get(id),
    add(record) {
      const before = records.get(record.id);
      if (before !== undefined) forget(record.id, before);
      records.set(record.id, record);
      verdicts += verdictsOf(record);
      trim();
    },
    decided(record, decision) {
      record.policy = decision.policy;
      // A request that waits looks again and again: the newest look that found nothing stands for all before it.
      const last = record.decisions.at(-1);
      const kept = last !== undefined && foundNothing(last) ? record.decisions.slice(0, -1) : record.decisions;
      const before = verdictsOf(record);
      record.decisions = [...kept, decision];
      if (records.get(record.id) === record) verdicts += verdictsOf(record) - before;
      trim();
    },
    get count() {
      return records.size;
    },
  };
}
