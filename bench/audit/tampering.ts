/**
 * Ways in which somebody may change a log behind the scheduler's back, each on a copy of it: with the database only, with
 * the database and the anchors, or with the log's key too. For each it is known what verification must name, and where.
 */
import {
  anchorLine,
  anchorText,
  parseAnchor,
  type Sign,
  type SignedAnchor,
} from '../../scheduler/core/events/anchors.ts';
import { genesisHash, type Mac, sealEvent } from '../../scheduler/core/events/chain.ts';
import { decodeEvent, type EventRow, type FleetEvent } from '../../scheduler/core/events/event.ts';
import type { FindingKind } from '../../scheduler/core/events/findings.ts';

/** A log as it lies in a store, and its anchors. */
export interface LogCopy {
  readonly logId: string;
  rows: EventRow[];
  head: { seq: number; hash: string };
  anchors: string[];
}

export interface Tools {
  readonly mac: Mac;
  /** What somebody without the key would use. */
  readonly wrongMac: Mac;
  /** Signs with a key that is not that of the anchors. */
  readonly wrongSign: Sign;
}

export interface Tampering {
  readonly name: string;
  readonly finds: FindingKind;
  /** Changes the copy around the row `at` (an index). @returns the place that must be named, an event or a line */
  apply(copy: LogCopy, at: number, tools: Tools): number;
}

const rowAt = (copy: LogCopy, index: number): EventRow => copy.rows[index] as EventRow;

function change(copy: LogCopy, index: number, fields: Partial<EventRow>): void {
  copy.rows[index] = { ...rowAt(copy, index), ...fields };
}

const eventAt = (copy: LogCopy, index: number): FleetEvent => decodeEvent(rowAt(copy, index).body) as FleetEvent;

/** Writes the chain anew from a row on under `mac`, with the events as they are then. */
function recompute(copy: LogCopy, from: number, mac: Mac, edit: (event: FleetEvent) => FleetEvent): void {
  let prev = from === 0 ? genesisHash(mac, copy.logId) : rowAt(copy, from - 1).hash;
  for (let index = from; index < copy.rows.length; index++) {
    const event = index === from ? edit(eventAt(copy, index)) : eventAt(copy, index);
    const row = sealEvent(mac, prev, event);
    copy.rows[index] = row;
    prev = row.hash;
  }
  copy.head = { seq: copy.head.seq, hash: prev };
}

/** A row made up without the key. */
const forged = (copy: LogCopy, index: number, seq: number): EventRow => ({
  ...rowAt(copy, index),
  seq,
  body: rowAt(copy, index).body.replace('"reason":"', '"reason":"forged '),
});

const renumber = (rows: readonly EventRow[], by: number): EventRow[] =>
  rows.map((row) => ({ ...row, seq: row.seq + by }));

const last = (copy: LogCopy): EventRow => rowAt(copy, copy.rows.length - 1);

function setHeadToLast(copy: LogCopy): void {
  copy.head = { seq: last(copy).seq, hash: last(copy).hash };
}

function editAnchor(copy: LogCopy, line: number, fields: Partial<SignedAnchor>, sign?: Sign): void {
  const anchor = { ...(parseAnchor(copy.anchors[line] as string) as SignedAnchor), ...fields };
  copy.anchors[line] = anchorLine(sign === undefined ? anchor : { ...anchor, signature: sign(anchorText(anchor)) });
}

const ROWS: readonly Tampering[] = [
  {
    name: 'the value after the change is edited',
    finds: 'changed',
    apply(copy, at) {
      change(copy, at, { body: rowAt(copy, at).body.replace(/"replicas":\d+/, '"replicas":99') });
      return at + 1;
    },
  },
  {
    name: 'who did it is edited',
    finds: 'changed',
    apply(copy, at) {
      change(copy, at, { body: rowAt(copy, at).body.replace('"actor":"', '"actor":"not-') });
      return at + 1;
    },
  },
  {
    name: 'the time is edited in the body',
    finds: 'changed',
    apply(copy, at) {
      change(copy, at, { body: rowAt(copy, at).body.replace(/"atMs":\d/, '"atMs":9') });
      return at + 1;
    },
  },
  {
    name: 'the time is edited in its column',
    finds: 'columns_changed',
    apply(copy, at) {
      change(copy, at, { atMs: rowAt(copy, at).atMs + 1 });
      return at + 1;
    },
  },
  {
    name: 'the kind is edited in its column',
    finds: 'columns_changed',
    apply(copy, at) {
      change(copy, at, { kind: 'access.granted' });
      return at + 1;
    },
  },
  {
    name: 'the name is edited in its column',
    finds: 'columns_changed',
    apply(copy, at) {
      change(copy, at, { resourceName: 'other' });
      return at + 1;
    },
  },
  {
    name: 'the hash is edited',
    finds: 'changed',
    apply(copy, at) {
      change(copy, at, { hash: 'f'.repeat(64) });
      return at + 1;
    },
  },
  {
    name: 'the hash before is edited',
    finds: 'changed',
    apply(copy, at) {
      change(copy, at, { prevHash: 'f'.repeat(64) });
      return at + 1;
    },
  },
  {
    name: 'the body is made unreadable',
    finds: 'changed',
    apply(copy, at) {
      change(copy, at, { body: '{' });
      return at + 1;
    },
  },
];

const PLACES: readonly Tampering[] = [
  {
    name: 'a row in the middle is missing',
    finds: 'missing',
    apply(copy, at) {
      copy.rows.splice(at, 1);
      return at + 1;
    },
  },
  {
    name: 'the first row is missing',
    finds: 'missing',
    apply(copy) {
      copy.rows.splice(0, 1);
      return 1;
    },
  },
  {
    name: 'a run of rows is missing',
    finds: 'missing',
    apply(copy, at) {
      copy.rows.splice(at, 7);
      return at + 1;
    },
  },
  {
    name: 'a row is missing and the rest renumbered',
    finds: 'missing',
    apply(copy, at) {
      copy.rows = [...copy.rows.slice(0, at), ...renumber(copy.rows.slice(at + 1), -1)];
      setHeadToLast(copy);
      return at + 1;
    },
  },
  {
    name: 'two rows are swapped',
    finds: 'swapped',
    apply(copy, at) {
      const [one, two] = [rowAt(copy, at), rowAt(copy, at + 3)];
      copy.rows[at] = { ...two, seq: one.seq };
      copy.rows[at + 3] = { ...one, seq: two.seq };
      return at + 1;
    },
  },
  {
    name: 'the bodies of two rows are swapped',
    finds: 'changed',
    apply(copy, at) {
      const [one, two] = [rowAt(copy, at), rowAt(copy, at + 3)];
      change(copy, at, { body: two.body });
      change(copy, at + 3, { body: one.body });
      return at + 1;
    },
  },
  {
    name: 'a forged row is put in and the rest renumbered',
    finds: 'inserted',
    apply(copy, at) {
      copy.rows = [...copy.rows.slice(0, at), forged(copy, at, at + 1), ...renumber(copy.rows.slice(at), 1)];
      setHeadToLast(copy);
      return at + 1;
    },
  },
  {
    name: 'a forged row is put behind the end',
    finds: 'inserted',
    apply(copy) {
      const seq = last(copy).seq + 1;
      copy.rows.push(forged(copy, copy.rows.length - 1, seq));
      return seq;
    },
  },
  {
    name: 'a genuine row is put behind the end again',
    finds: 'duplicated',
    apply(copy, at) {
      const seq = last(copy).seq + 1;
      copy.rows.push({ ...rowAt(copy, at), seq });
      return seq;
    },
  },
  {
    name: 'a genuine row is written over another',
    finds: 'duplicated',
    apply(copy, at) {
      copy.rows[at] = { ...rowAt(copy, at - 5), seq: at + 1 };
      return at + 1;
    },
  },
  {
    name: 'a row has its number twice',
    finds: 'duplicated',
    apply(copy, at) {
      copy.rows.splice(at, 0, rowAt(copy, at));
      return at + 1;
    },
  },
];

const ENDS: readonly Tampering[] = [
  {
    name: 'the tail is cut',
    finds: 'cut',
    apply(copy, at) {
      copy.rows.length = at;
      return at + 1;
    },
  },
  {
    name: 'the tail is cut and the head set back',
    finds: 'cut',
    apply(copy, at) {
      copy.rows.length = at;
      setHeadToLast(copy);
      return at + 1;
    },
  },
  {
    name: 'the head row is set back',
    finds: 'head_changed',
    apply(copy, at) {
      copy.head = { seq: at, hash: rowAt(copy, at - 1).hash };
      return copy.rows.length;
    },
  },
  {
    name: 'the chain is recomputed without the key',
    finds: 'changed',
    apply(copy, at, { wrongMac }) {
      recompute(copy, at, wrongMac, (event) => ({ ...event, actor: 'nobody' }));
      return at + 1;
    },
  },
  {
    name: 'the chain is recomputed with the key',
    finds: 'recomputed',
    apply(copy, at, { mac }) {
      recompute(copy, at, mac, (event) => ({ ...event, actor: 'nobody' }));
      const seqs = copy.anchors.map((line) => (parseAnchor(line) as SignedAnchor).seq);
      return Math.max(...seqs.filter((seq) => seq <= at)) + 1;
    },
  },
  {
    name: 'a row of another history is put in a place',
    finds: 'forked',
    apply(copy, at, { mac }) {
      copy.rows[at] = sealEvent(mac, 'e'.repeat(64), eventAt(copy, at));
      return at + 1;
    },
  },
  {
    name: 'an anchor is edited',
    finds: 'anchor',
    apply(copy) {
      editAnchor(copy, 2, { hash: 'f'.repeat(64) });
      return 3;
    },
  },
  {
    name: 'an anchor is signed by another key',
    finds: 'anchor',
    apply(copy, _at, { wrongSign }) {
      editAnchor(copy, 2, { hash: 'f'.repeat(64) }, wrongSign);
      return 3;
    },
  },
  {
    name: 'an anchor is taken out',
    finds: 'anchor',
    apply(copy) {
      copy.anchors.splice(2, 1);
      return 3;
    },
  },
];

export const TAMPERINGS: readonly Tampering[] = [...ROWS, ...PLACES, ...ENDS];
