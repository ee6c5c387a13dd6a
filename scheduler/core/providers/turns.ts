/**
 * What became of the providers that stood behind a request, written into its record for `sophia explain request`: those that
 * were passed over with the reason, those that were asked with their end. A request that the fleet did not even begin
 * gets a record for it.
 */
import type { ErrorCode } from '../../../lib/errors.ts';
import type { AdmittedRequest } from '../../ports.ts';
import { closeRecord, openRecord, type RequestLog, type RequestRecord } from '../routing/request_log.ts';

/** `passed_over` was never asked; `superseded`: an engine of the fleet was faster. */
export type TurnOutcome = 'passed_over' | 'asked' | 'answered' | 'failed' | 'superseded' | 'cancelled';

export interface ProviderTurnRecord {
  readonly provider: string;
  readonly outcome: TurnOutcome;
  /** Why it was passed over or asked, or the code of its failure; empty where there is nothing to say. */
  readonly why: string;
}

export interface TurnNotes {
  note(request: AdmittedRequest, turn: ProviderTurnRecord): void;
}

/** Turns kept of one request: as many as providers may be configured, each asked once. */
const MOST_TURNS = 64;

/** @param wallMs gives milliseconds since the epoch */
export function createTurnNotes(log: RequestLog, wallMs: () => number): TurnNotes {
  /** Records that nobody but a provider will close. */
  const own = new WeakSet<RequestRecord>();
  const recordOf = (request: AdmittedRequest): RequestRecord => {
    const known = log.find(request.id);
    if (known !== undefined && known.tenant === request.tenant) return known;
    const record = openRecord(request, 'none', wallMs());
    own.add(record);
    log.add(record);
    return record;
  };
  return {
    note(request, turn) {
      const record = recordOf(request);
      const turns = record.providers ?? [];
      const open = turns.findLastIndex(({ provider, outcome }) => provider === turn.provider && outcome === 'asked');
      if (open >= 0) record.providers = turns.with(open, turn);
      else if (turns.length < MOST_TURNS) record.providers = [...turns, turn];
      // The fleet's own word on a request that a provider answered is that it was cancelled, or refused.
      if (turn.outcome === 'answered') closeRecord(record, 'ok', wallMs());
      else if (own.has(record) && turn.outcome !== 'asked' && turn.outcome !== 'passed_over')
        closeRecord(record, turn.outcome === 'failed' ? (turn.why as ErrorCode) : 'cancelled', wallMs());
    },
  };
}
