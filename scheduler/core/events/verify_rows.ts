/**
 * Where the rows of a log stand. Each row is proven by itself first (its MAC over the hash before and its bytes; the
 * bytes hold its number), then by its place and its link to the row before. So each damage is named where it is, and one
 * bad row does not make the rest look bad.
 *
 * A genuine row whose number is not that of its bytes is held until the next genuine row: when that one is off by as
 * much, rows were put in or taken out before it and the rest renumbered; else it alone is out of place.
 */
import type { EventRow, FleetEvent } from './event.ts';
import type { FindingList } from './findings.ts';
import type { KnownPlace } from './head.ts';

/** Rows between two genuine rows in place: runs of bad ones, and genuine ones out of place. */
interface Run {
  readonly from: number;
  readonly to: number;
  readonly kind: 'bad' | 'misplaced';
  /** For a genuine row the event that it is, for one bad row the event that its bytes claim to be. */
  readonly event?: number;
}

interface Held {
  readonly row: EventRow;
  readonly event: FleetEvent;
}

/** All that is kept of the rows so far; bounded by MAX_RUNS and MAX_MISPLACED. */
export interface RowPlaces {
  readonly findings: FindingList;
  /** Called for each genuine row in its place. */
  readonly accept: (event: FleetEvent, row: EventRow) => void;
  /** Events that stand at the number of another, by that number. */
  readonly misplaced: Map<number, number>;
  /** Number, event and hash of the last row in place. */
  lastAt: number;
  lastSeq: number;
  lastHash: string;
  /** How far the numbers of the rows are ahead of those of their events. */
  shift: number;
  /** The highest number that was seen. */
  highestAt: number;
  runs: Run[];
  held: Held | undefined;
}

const MAX_RUNS = 1000;
const MAX_MISPLACED = 1000;

export function createPlaces(from: KnownPlace, findings: FindingList, accept: RowPlaces['accept']): RowPlaces {
  return {
    findings,
    accept,
    misplaced: new Map(),
    lastAt: from.seq,
    lastSeq: from.seq,
    lastHash: from.hash,
    shift: 0,
    highestAt: from.seq,
    runs: [],
    held: undefined,
  };
}

function settleRun(places: RowPlaces, run: Run): void {
  const { findings, misplaced, shift } = places;
  if (run.kind === 'misplaced') {
    if (misplaced.size < MAX_MISPLACED) misplaced.set(run.from, run.event as number);
    else findings.add({ kind: 'misplaced', seq: run.from, belongsTo: run.event as number });
    return;
  }
  const isOther = run.event !== undefined && run.event !== run.from - shift;
  findings.add({ kind: 'changed', seq: run.from, to: run.to, ...(isOther ? { bodyOf: run.event } : {}) });
}

/** Names what lies between the last row in place and the number `upTo`, which is not part of it. */
function settleRuns(places: RowPlaces, upTo: number): void {
  const { findings, shift } = places;
  let at = places.lastAt + 1;
  for (const run of places.runs) {
    if (run.from > at) findings.add({ kind: 'missing', seq: at - shift, to: run.from - 1 - shift });
    settleRun(places, run);
    at = run.to + 1;
  }
  if (upTo > at) findings.add({ kind: 'missing', seq: at - shift, to: upTo - 1 - shift });
  places.runs = [];
}

function addRun(places: RowPlaces, run: Run): void {
  const { runs } = places;
  const last = runs.at(-1);
  if (run.kind === 'bad' && last?.kind === 'bad' && last.to + 1 === run.from) {
    // A run of several has no single event whose bytes it could be.
    runs[runs.length - 1] = { from: last.from, to: run.to, kind: 'bad' };
    return;
  }
  runs.push(run);
  if (runs.length < MAX_RUNS) return;
  settleRuns(places, run.to + 1);
  places.lastAt = run.to;
}

function releaseHeld(places: RowPlaces): void {
  const { held } = places;
  if (held === undefined) return;
  places.held = undefined;
  addRun(places, { from: held.row.seq, to: held.row.seq, kind: 'misplaced', event: held.event.seq });
}

function acceptRow(places: RowPlaces, row: EventRow, event: FleetEvent): void {
  if (places.runs.length > 0 || row.seq !== places.lastAt + 1) settleRuns(places, row.seq);
  if (event.seq === places.lastSeq + 1 && row.prevHash !== places.lastHash)
    places.findings.add({ kind: 'forked', seq: event.seq });
  places.lastAt = row.seq;
  places.lastSeq = event.seq;
  places.lastHash = row.hash;
  places.accept(event, row);
}

/** From the held row on, rows stand `by` further than those before: some were put in or taken out, the rest renumbered. */
function shiftBy(places: RowPlaces, by: number, first: Held): void {
  const { findings, runs } = places;
  let left = by;
  while (left > 0 && runs.at(-1)?.kind === 'bad') {
    const run = runs.pop() as Run;
    const count = Math.min(left, run.to - run.from + 1);
    findings.add({ kind: 'inserted', seq: run.to - count + 1, to: run.to });
    if (run.from <= run.to - count) runs.push({ from: run.from, to: run.to - count, kind: 'bad' });
    left -= count;
  }
  settleRuns(places, by < 0 ? first.row.seq : first.row.seq - by + left);
  if (by < 0) findings.add({ kind: 'missing', seq: first.event.seq + by, to: first.event.seq - 1 });
  findings.add({ kind: 'renumbered', seq: first.row.seq, by });
  places.shift += by;
  places.lastAt = first.row.seq - 1;
}

/** Takes a row that is proven. */
export function placeGenuine(places: RowPlaces, row: EventRow, event: FleetEvent): void {
  const off = row.seq - event.seq;
  const { held } = places;
  if (held !== undefined && off === held.row.seq - held.event.seq && off !== places.shift) {
    places.held = undefined;
    shiftBy(places, off - places.shift, held);
    acceptRow(places, held.row, held.event);
  } else releaseHeld(places);
  if (off === places.shift) acceptRow(places, row, event);
  else places.held = { row, event };
}

/** Takes a row that is not; `claims` is the event that its bytes say they are. */
export function placeBad(places: RowPlaces, at: number, claims: number | undefined): void {
  releaseHeld(places);
  addRun(places, { from: at, to: at, kind: 'bad', ...(claims === undefined ? {} : { event: claims }) });
}

/** Bad rows past the end were added; the rest of them were changed. */
function settlePast(places: RowPlaces, headSeq: number): void {
  const end = headSeq + places.shift;
  const kept: Run[] = [];
  for (const run of places.runs) {
    if (run.kind === 'misplaced' || run.to <= end) kept.push(run);
    else {
      const from = Math.max(run.from, end + 1);
      places.findings.add({ kind: 'inserted', seq: from, to: run.to });
      if (run.from < from) kept.push({ from: run.from, to: from - 1, kind: 'bad' });
    }
  }
  places.runs = kept;
}

/** Pairs those that stand in each other's place; a row that is in its own place too is a copy. */
function settleMisplaced({ misplaced, findings, lastSeq }: RowPlaces): void {
  const paired = new Set<number>();
  const damaged = findings
    .list()
    .flatMap((found) => (found.kind === 'changed' || found.kind === 'missing' ? [found] : []));
  for (const [at, seq] of misplaced) {
    if (paired.has(at)) continue;
    if (misplaced.get(seq) === at) {
      findings.add({ kind: 'swapped', seq: at, with: seq });
      paired.add(seq);
    } else if (seq > lastSeq || misplaced.has(seq) || damaged.some((found) => found.seq <= seq && seq <= found.to))
      findings.add({ kind: 'misplaced', seq: at, belongsTo: seq });
    else findings.add({ kind: 'duplicated', seq: at, copyOf: seq });
  }
}

/**
 * Nothing comes any more.
 * @returns the event that belongs to the last number that has a row
 */
export function settleAll(places: RowPlaces, headSeq: number): number {
  releaseHeld(places);
  settlePast(places, headSeq);
  const end = Math.max(places.lastAt, places.runs.at(-1)?.to ?? 0);
  settleRuns(places, end + 1);
  settleMisplaced(places);
  return end - places.shift;
}
