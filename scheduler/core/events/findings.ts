/**
 * What verification of the log may find, in words and as data: each finding names the place. At most MAX_FINDINGS are
 * kept, and all are counted.
 */
import type { AnchorProblem } from './anchors.ts';

export type Finding =
  /** The row's bytes, hash or previous hash are not what was written. `to`: the last of a run. */
  | { readonly kind: 'changed'; readonly seq: number; readonly to: number; readonly bodyOf?: number }
  /** Columns that only repeat the body say something else. */
  | { readonly kind: 'columns_changed'; readonly seq: number; readonly columns: readonly string[] }
  | { readonly kind: 'missing'; readonly seq: number; readonly to: number }
  /** The log ends before it should; `by` is who knows of more. */
  | { readonly kind: 'cut'; readonly seq: number; readonly to: number; readonly by: 'head' | 'anchor' | 'caller' }
  /** Two rows stand in each other's place. */
  | { readonly kind: 'swapped'; readonly seq: number; readonly with: number }
  /** A genuine row stands in the place of another, whose own row is gone or overwritten. */
  | { readonly kind: 'misplaced'; readonly seq: number; readonly belongsTo: number }
  /** A genuine row stands in its place and here too. */
  | { readonly kind: 'duplicated'; readonly seq: number; readonly copyOf: number }
  /** A row that was never written by a holder of the key, and for which others were moved or which lies past the end. */
  | { readonly kind: 'inserted'; readonly seq: number; readonly to: number }
  /** From here on the numbers of the rows were changed by so much. */
  | { readonly kind: 'renumbered'; readonly seq: number; readonly by: number }
  /** A genuine row of another history: its place was written twice, as after an older copy of the store. */
  | { readonly kind: 'forked'; readonly seq: number }
  /** The chain holds together and is not the one that was anchored: somebody who has the key wrote it anew. */
  | { readonly kind: 'recomputed'; readonly seq: number; readonly to: number; readonly anchor: number }
  /** The row that says where the log ends disagrees with the last row. */
  | { readonly kind: 'head_changed'; readonly seq: number }
  | { readonly kind: 'checkpoint_changed'; readonly seq: number }
  /** Rows up to here are said to be archived, and no holder of the key said so. */
  | { readonly kind: 'archive_forged'; readonly seq: number }
  | { readonly kind: 'anchor'; readonly seq: number; readonly problem: AnchorProblem['problem'] }
  /** The store has rows that reading in order does not show. */
  | { readonly kind: 'hidden'; readonly seq: number; readonly rows: number }
  /** An event that does not fit the state before it. */
  | { readonly kind: 'does_not_follow'; readonly seq: number; readonly expected: number; readonly actual: number }
  /** The read model says something else than the events. */
  | { readonly kind: 'projection_changed'; readonly seq: number; readonly entry: string };

export type FindingKind = Finding['kind'];

export const MAX_FINDINGS = 1000;

export interface FindingList {
  add(finding: Finding): void;
  readonly list: () => Finding[];
  readonly count: () => number;
}

export function createFindings(): FindingList {
  const kept: Finding[] = [];
  let count = 0;
  return {
    add(finding) {
      count++;
      if (kept.length < MAX_FINDINGS) kept.push(finding);
    },
    list: () => [...kept].sort((left, right) => left.seq - right.seq),
    count: () => count,
  };
}

const range = (from: number, to: number): string => (from === to ? `event ${from}` : `events ${from} to ${to}`);

const CUT_BY = { head: 'the head row', anchor: 'an anchor', caller: 'a caller' } as const;

/** One finding as a sentence for a person. */
export function findingText(finding: Finding): string {
  const at = finding.seq;
  switch (finding.kind) {
    case 'changed': {
      const other = finding.bodyOf === undefined ? '' : `, its content is that of event ${finding.bodyOf}`;
      return `${range(at, finding.to)} changed${other}`;
    }
    case 'columns_changed':
      return `event ${at}: the columns ${finding.columns.join(', ')} differ from the event`;
    case 'missing':
      return `${range(at, finding.to)} missing`;
    case 'cut':
      return `the tail is cut: ${range(at, finding.to)} missing, of which ${CUT_BY[finding.by]} knows`;
    case 'swapped':
      return `event ${at} and event ${finding.with} stand in each other's place`;
    case 'misplaced':
      return `in the place of event ${at} stands event ${finding.belongsTo}`;
    case 'duplicated':
      return `in the place of event ${at} stands a copy of event ${finding.copyOf}`;
    case 'inserted':
      return `row ${range(at, finding.to).replace(/^events? /, '')} inserted`;
    case 'renumbered':
      return `rows from ${at} on are renumbered by ${finding.by}`;
    case 'forked':
      return `event ${at} is genuine and of another history`;
    case 'recomputed':
      return `${range(at, finding.to)} recomputed: not the chain that anchor ${finding.anchor} signed`;
    case 'head_changed':
      return `the head row disagrees with event ${at}`;
    case 'checkpoint_changed':
      return `the checkpoint at event ${at} changed`;
    case 'archive_forged':
      return `the events up to ${at} are said to be archived, and were not by a holder of the key`;
    case 'anchor':
      return `anchor line ${at}: ${finding.problem.replaceAll('_', ' ')}`;
    case 'hidden':
      return `${finding.rows} more rows are in the store than can be read in order`;
    case 'does_not_follow':
      return `event ${at} builds on version ${finding.actual} of its entry, which was at ${finding.expected}`;
    case 'projection_changed':
      return `the read model of ${finding.entry} is not what event ${at} says`;
  }
}
