/** Each way of tampering with a log is found, and named in its place; an untouched log is clean. */
import { createHmac } from 'node:crypto';
import t from 'tap';
import { benchItem, copyOf, verifyCopy } from '../../../../bench/audit/log_copy.ts';
import { TAMPERINGS, type LogCopy } from '../../../../bench/audit/tampering.ts';
import { genesisHash } from '../../../../scheduler/core/events/chain.ts';
import type { EventRow } from '../../../../scheduler/core/events/event.ts';
import { findingText, MAX_FINDINGS } from '../../../../scheduler/core/events/findings.ts';
import { planAppend } from '../../../../scheduler/core/events/plan_append.ts';
import type { Entry } from '../../../../scheduler/core/events/projection.ts';
import { createVerifier } from '../../../../scheduler/core/events/verify.ts';

const macOf = (secret: string) => (text: string) => createHmac('sha256', secret).update(text).digest('hex');
const MAC = macOf('right');
const sign = (text: string) => macOf('anchors')(text);
const verify = (text: string, signature: string) => sign(text) === signature;
const LOG = 'log-1';

/** A log as the store would write it, the deployments of which are changed again and again. */
function buildLog(events: number): EventRow[] {
  const rows: EventRow[] = [];
  const entries = new Map<string, Entry>();
  for (let seq = 1; seq <= events; seq++) {
    const item = { ...benchItem(seq), kind: seq <= 20 ? ('desired.created' as const) : ('desired.changed' as const) };
    const resource = { kind: 'Deployment', name: `d${(seq - 1) % 20}` };
    const entry = entries.get(resource.name);
    const head = {
      logId: LOG,
      seq: seq - 1,
      hash: rows.at(-1)?.hash ?? genesisHash(MAC, LOG),
      atMs: seq,
      archivedSeq: 0,
      archivedMac: '',
    };
    const plan = planAppend(
      { idempotencyId: `i${seq}`, items: [{ ...item, resource }] },
      { head, nowMs: 1_000 + seq, entries: entry === undefined ? [] : [entry], earlier: undefined, epoch: 0 },
      MAC,
    );
    if (plan.kind !== 'write') throw new Error(JSON.stringify(plan));
    rows.push(...plan.rows);
    for (const put of plan.puts) entries.set(put.name, put);
  }
  return rows;
}

const ROWS = buildLog(200);
const findingsOf = (copy: LogCopy) => verifyCopy(copy, MAC, verify);

t.test('an untouched log is clean', async (t) => {
  const result = findingsOf(copyOf(LOG, ROWS, sign));
  t.same(result, { rows: 200, lastSeq: 200, findings: [], found: 0, anchorsMet: 10 });
});

t.test('each tampering is named in its place', async (t) => {
  t.ok(TAMPERINGS.length >= 20);
  for (const { name, finds, apply } of TAMPERINGS) {
    for (const at of [40, 103, 119, 190]) {
      const copy = copyOf(LOG, ROWS, sign);
      const place = apply(copy, at, { mac: MAC, wrongMac: macOf('wrong'), wrongSign: macOf('other') });
      const { findings } = findingsOf(copy);
      t.ok(
        findings.some((found) => found.kind === finds && found.seq === place),
        `${name} at ${at}: ${JSON.stringify(findings).slice(0, 300)}`,
      );
      for (const finding of findings) t.match(findingText(finding), /\w/);
      // Few words: one bad row does not make the rest look bad.
      t.ok(findings.length <= 4, `${name} at ${at}: ${findings.length} findings`);
    }
  }
});

t.test('a log with more swapped rows than are kept in memory is found out all the same', async (t) => {
  const rows = buildLog(2100);
  for (let at = 0; at + 2 < rows.length; at += 3) {
    const [first, second] = [rows[at] as EventRow, rows[at + 1] as EventRow];
    rows[at] = { ...second, seq: first.seq };
    rows[at + 1] = { ...first, seq: second.seq };
  }
  const { found, findings } = findingsOf(copyOf(LOG, rows, sign));
  t.ok(found >= 700, `${found} findings`);
  t.ok(findings.length <= MAX_FINDINGS);
});

t.test('a caller who knows of more than the store and the anchors is heard', async (t) => {
  const run = (rows: readonly EventRow[], known: { seq: number; hash: string }) => {
    const verifier = createVerifier({ mac: MAC, from: { seq: 0, hash: genesisHash(MAC, LOG) }, anchors: [] });
    for (const row of rows) verifier.push(row);
    const end = rows.at(-1) as EventRow;
    verifier.end(end, known);
    return verifier.result().findings;
  };
  t.same(run(ROWS.slice(0, 150), { seq: 170, hash: 'x' }), [{ kind: 'cut', seq: 151, to: 170, by: 'caller' }]);
  t.match(run(ROWS, { seq: 200, hash: 'x' }), [{ kind: 'recomputed', to: 200 }]);
  t.same(run(ROWS, { seq: 200, hash: (ROWS[199] as EventRow).hash }), []);
});

t.test('several damages at once are each named', async (t) => {
  const copy = copyOf(LOG, ROWS, sign);
  copy.rows[9] = { ...(copy.rows[9] as EventRow), body: (copy.rows[10] as EventRow).body };
  copy.rows.splice(50, 2);
  copy.rows[100] = { ...(copy.rows[100] as EventRow), kind: 'x' };
  copy.rows.splice(150, 0, { ...(copy.rows[3] as EventRow), seq: 152.5 });
  copy.rows.unshift({ ...(copy.rows[0] as EventRow), seq: -4 });
  const { findings } = findingsOf(copy);
  t.same(
    findings.map(({ kind, seq }) => `${kind} ${seq}`),
    ['inserted -4', 'changed 10', 'missing 51', 'columns_changed 103', 'duplicated 152.5'],
  );
  t.match(findings[1], { bodyOf: 11 });
});

t.test('what was kept of a log that is all wrong is bounded, and all of it is counted', async (t) => {
  const verifier = createVerifier({ mac: MAC, from: { seq: 0, hash: genesisHash(MAC, LOG) }, anchors: [] });
  const [row] = ROWS as [EventRow];
  // Every second number is there, and none of them is genuine; then as many genuine ones out of place.
  for (let seq = 2; seq <= 6000; seq += 2) verifier.push({ ...row, seq, hash: 'x' });
  for (let seq = 6001; seq <= 12_000; seq += 2) verifier.push({ ...(ROWS[seq % 97] as EventRow), seq });
  verifier.end({ seq: 12_000, hash: 'x' });
  const { findings, found } = verifier.result();
  t.equal(findings.length, MAX_FINDINGS);
  t.ok(found > 5000);
});

t.test('rows that were inserted between changed ones are told apart', async (t) => {
  const copy = copyOf(LOG, ROWS, sign);
  const bad = (index: number, seq: number): EventRow => ({ ...(ROWS[index] as EventRow), seq, hash: 'x' });
  // Event 101 is changed, one row is put behind it, and the rest is renumbered by one.
  copy.rows = [
    ...ROWS.slice(0, 100),
    bad(100, 101),
    bad(5, 102),
    ...ROWS.slice(101).map((row) => ({ ...row, seq: row.seq + 1 })),
  ];
  copy.head = { seq: 200, hash: copy.head.hash };
  t.same(
    findingsOf(copy).findings.map(({ kind, seq }) => `${kind} ${seq}`),
    ['changed 101', 'inserted 102', 'renumbered 103'],
  );
  const tail = copyOf(LOG, ROWS, sign);
  tail.rows = [...ROWS.slice(0, 198), bad(198, 199), bad(199, 200), bad(5, 201)];
  t.same(
    findingsOf(tail).findings.map(({ kind, seq }) => `${kind} ${seq}`),
    ['changed 199', 'inserted 201'],
  );
});

t.test('a genuine event that does not follow from the state before it is named', async (t) => {
  const { sealEvent } = await import('../../../../scheduler/core/events/chain.ts');
  const { decodeEvent } = await import('../../../../scheduler/core/events/event.ts');
  const event = decodeEvent((ROWS[29] as EventRow).body);
  const rows = ROWS.slice(0, 29);
  rows.push(sealEvent(MAC, (rows[28] as EventRow).hash, { ...(event as NonNullable<typeof event>), base: 3 }));
  const { findings } = verifyCopy(copyOf(LOG, rows, sign), MAC, verify);
  t.same(findings, [{ kind: 'does_not_follow', seq: 30, expected: 10, actual: 3 }]);
  t.match(findingText(findings[0] as never), 'event 30 builds on version 3');
});

t.test('every finding has a sentence', async (t) => {
  t.match(findingText({ kind: 'misplaced', seq: 4, belongsTo: 9 }), 'in the place of event 4 stands event 9');
  t.match(findingText({ kind: 'checkpoint_changed', seq: 4 }), 'checkpoint at event 4');
  t.match(findingText({ kind: 'archive_forged', seq: 4 }), 'up to 4');
  t.match(findingText({ kind: 'hidden', seq: 4, rows: 2 }), '2 more rows');
  t.match(findingText({ kind: 'projection_changed', seq: 4, entry: 'a/b/c' }), 'a/b/c');
  t.match(
    findingText({ kind: 'changed', seq: 4, to: 6, bodyOf: 9 }),
    'events 4 to 6 changed, its content is that of event 9',
  );
});
