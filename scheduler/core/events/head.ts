/**
 * Is this the log that we knew? A store that comes back from an older backup answers well and has forgotten what was
 * acknowledged. Its head is compared with what anchors and callers have seen before, and the gap is named.
 */

/** The end of the log. `hash` is that of the row `seq`, or the genesis hash when seq is 0. */
export interface LogHead {
  readonly logId: string;
  readonly seq: number;
  readonly hash: string;
  readonly atMs: number;
  /** Rows up to here have been archived, and are not in the store any more; 0 for none. */
  readonly archivedSeq: number;
  /** Seals that; empty while nothing is archived. */
  readonly archivedMac: string;
}

/** A place in the log that somebody has seen. */
export interface KnownPlace {
  readonly seq: number;
  readonly hash: string;
}

/** Why a log is not the one that was known. */
export type HeadProblem =
  | {
      /** Events that were acknowledged are not there. */
      readonly kind: 'behind';
      readonly headSeq: number;
      readonly knownSeq: number;
      readonly missing: number;
    }
  | {
      /** Another event stands where one was acknowledged: the log went on from an older copy. */
      readonly kind: 'diverged';
      readonly seq: number;
      readonly known: string;
      readonly actual: string;
    }
  | { readonly kind: 'other_log'; readonly known: string; readonly actual: string };

/**
 * @param known the highest place that is known, of the log `knownLogId`
 * @param hashAt the hash that the store has now at `known.seq`; undefined when it is archived or was not read
 */
export function judgeHead(
  head: Pick<LogHead, 'logId' | 'seq' | 'hash'>,
  known: KnownPlace,
  knownLogId: string,
  hashAt: string | undefined,
): HeadProblem | undefined {
  if (head.logId !== knownLogId) return { kind: 'other_log', known: knownLogId, actual: head.logId };
  if (head.seq < known.seq)
    return { kind: 'behind', headSeq: head.seq, knownSeq: known.seq, missing: known.seq - head.seq };
  const actual = head.seq === known.seq ? head.hash : hashAt;
  if (actual !== undefined && actual !== known.hash)
    return { kind: 'diverged', seq: known.seq, known: known.hash, actual };
  return undefined;
}

/** The gap in words for a person. */
export function headProblemText(problem: HeadProblem): string {
  switch (problem.kind) {
    case 'behind':
      return `the log ends at event ${problem.headSeq}, but event ${problem.knownSeq} was acknowledged: ${problem.missing} events are missing (${problem.headSeq + 1} to ${problem.knownSeq})`;
    case 'diverged':
      return `event ${problem.seq} is not the one that was acknowledged: the log went on from an older copy`;
    case 'other_log':
      return `the store holds the log ${problem.actual}, not ${problem.known}`;
  }
}
