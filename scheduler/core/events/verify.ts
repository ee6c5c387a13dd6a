/**
 * Verification of the log as a stream of rows in the order of their numbers, in bounded memory: the rows themselves
 * (verify_rows.ts), the anchors, the end of the log, and the state that the events add up to.
 */
import type { SignedAnchor } from './anchors.ts';
import { type Mac, rowHash } from './chain.ts';
import { decodeEvent, type EventRow, type FleetEvent } from './event.ts';
import { createFindings, type Finding, type FindingList } from './findings.ts';
import type { KnownPlace, LogHead } from './head.ts';
import { createProjection, type Projection } from './projection.ts';
import { createPlaces, placeBad, placeGenuine, type RowPlaces, settleAll } from './verify_rows.ts';

export interface VerifyStart {
  readonly mac: Mac;
  /** Where the rows begin: the last archived event, or 0 and the genesis hash. */
  readonly from: KnownPlace;
  /** Of this log, by their seq, oldest first. */
  readonly anchors: readonly SignedAnchor[];
  /** The state at `from`; empty when absent. The events are folded onto it. */
  readonly projection?: Projection;
}

export interface VerifyResult {
  readonly rows: number;
  /** The last genuine event in place. */
  readonly lastSeq: number;
  readonly findings: readonly Finding[];
  /** All of them, kept or not. */
  readonly found: number;
  /** Anchors that a row in its place agrees with. */
  readonly anchorsMet: number;
}

export interface Verifier {
  push(row: EventRow): void;
  /** What comes from elsewhere: anchors, read models, checkpoints. */
  add(finding: Finding): void;
  /** The last genuine event in place so far. */
  readonly lastSeq: () => number;
  readonly found: () => number;
  /** The state that the events add up to. */
  readonly projection: Projection;
  /**
   * No more rows come.
   * @param head as the store says after the last row
   * @param known a place that a caller knows besides
   */
  end(head: Pick<LogHead, 'seq' | 'hash'>, known?: KnownPlace): void;
  /** After end(). */
  result(): VerifyResult;
}

const COLUMNS = [
  ['atMs', (event: FleetEvent) => event.atMs],
  ['kind', (event: FleetEvent) => event.kind],
  ['resourceKind', (event: FleetEvent) => event.resource.kind],
  ['resourceName', (event: FleetEvent) => event.resource.name],
] as const;

function checkColumns(row: EventRow, event: FleetEvent, findings: FindingList): void {
  const columns = COLUMNS.filter(([name, read]) => row[name] !== read(event)).map(([name]) => name);
  if (columns.length > 0) findings.add({ kind: 'columns_changed', seq: row.seq, columns });
}

function checkFold(event: FleetEvent, projection: Projection, findings: FindingList): void {
  const problem = projection.apply(event);
  // Where a row is missing or bad, what follows it cannot fit, and says nothing new.
  if (problem?.problem !== 'base_differs' || findings.count() > 0) return;
  findings.add({ kind: 'does_not_follow', seq: event.seq, expected: problem.expected, actual: problem.actual });
}

/** Holds the places that rows reach against the anchors. */
function createAnchorCheck(start: VerifyStart, findings: FindingList) {
  const { anchors } = start;
  let next = 0;
  let met = 0;
  let lastMetSeq = start.from.seq;
  // Once one anchor disagrees all later ones do: that is said once.
  let isBroken = false;
  return {
    met: () => met,
    lastMetSeq: () => lastMetSeq,
    reach(seq: number, hash: string): void {
      for (let anchor = anchors[next]; anchor !== undefined && anchor.seq <= seq; anchor = anchors[++next]) {
        if (anchor.seq < seq) continue;
        if (anchor.hash === hash) {
          met++;
          lastMetSeq = seq;
          isBroken = false;
        } else if (!isBroken) {
          isBroken = true;
          findings.add({ kind: 'recomputed', seq: lastMetSeq + 1, to: seq, anchor: anchor.n });
        }
      }
    },
  };
}

/** Whoever knows of the furthest event says whether the tail is there. */
function checkEnd(
  places: RowPlaces,
  lastEvent: number,
  head: Pick<LogHead, 'seq' | 'hash'>,
  anchorSeq: number,
  known: KnownPlace | undefined,
): void {
  const claims = [
    { seq: head.seq, by: 'head' as const },
    { seq: anchorSeq, by: 'anchor' as const },
    { seq: known?.seq ?? 0, by: 'caller' as const },
  ];
  const most = claims.reduce((left, right) => (right.seq > left.seq ? right : left));
  if (most.seq > lastEvent) places.findings.add({ kind: 'cut', seq: lastEvent + 1, to: most.seq, by: most.by });
  const { lastSeq, lastHash } = places;
  const agrees = head.seq === lastSeq && head.hash === lastHash;
  if (lastSeq === lastEvent && head.seq <= lastEvent && !agrees)
    places.findings.add({ kind: 'head_changed', seq: lastSeq });
}

export function createVerifier(start: VerifyStart): Verifier {
  const findings = createFindings();
  const projection = start.projection ?? createProjection([], start.from.seq);
  const anchorCheck = createAnchorCheck(start, findings);
  const places = createPlaces(start.from, findings, (event, row) => {
    checkColumns(row, event, findings);
    checkFold(event, projection, findings);
    anchorCheck.reach(event.seq, row.hash);
  });
  let rows = 0;
  anchorCheck.reach(start.from.seq, start.from.hash);
  return {
    push(row) {
      rows++;
      if (row.seq <= places.highestAt) {
        if (row.seq <= start.from.seq) findings.add({ kind: 'inserted', seq: row.seq, to: row.seq });
        else findings.add({ kind: 'duplicated', seq: row.seq, copyOf: row.seq });
        return;
      }
      places.highestAt = row.seq;
      const event = decodeEvent(row.body);
      if (event !== undefined && rowHash(start.mac, row.prevHash, row.body) === row.hash)
        placeGenuine(places, row, event);
      else placeBad(places, row.seq, event?.seq);
    },
    add: (finding) => findings.add(finding),
    lastSeq: () => places.lastSeq,
    found: () => findings.count(),
    projection,
    end(head, known) {
      const lastEvent = settleAll(places, head.seq);
      checkEnd(places, lastEvent, head, start.anchors.at(-1)?.seq ?? 0, known);
      const { lastSeq, lastHash } = places;
      if (known !== undefined && known.seq === lastSeq && known.hash !== lastHash)
        findings.add({ kind: 'recomputed', seq: anchorCheck.lastMetSeq() + 1, to: lastSeq, anchor: 0 });
    },
    result: () => ({
      rows,
      lastSeq: places.lastSeq,
      findings: findings.list(),
      found: findings.count(),
      anchorsMet: anchorCheck.met(),
    }),
  };
}
