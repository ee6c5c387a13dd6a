/**
 * Verification of a whole store: every row of the log, the anchors, the checkpoints, and the read model. It reads what
 * the database holds and trusts none of it; the store need not be opened, and other schedulers may go on writing.
 */
import type { VerifySignature } from '../../core/events/anchors.ts';
import { readAnchors } from '../../core/events/anchors.ts';
import { archiveHash, genesisHash, type Mac } from '../../core/events/chain.ts';
import { decodeEvent } from '../../core/events/event.ts';
import type { Finding } from '../../core/events/findings.ts';
import type { KnownPlace, LogHead } from '../../core/events/head.ts';
import { entryBody, entryKey } from '../../core/events/projection.ts';
import { type Checkpoint, MAX_READ } from '../../core/events/store_port.ts';
import { createVerifier, type Verifier } from '../../core/events/verify.ts';
import { openCheckpoint, sealHolds } from './checkpoints.ts';
import { toCheckpoint, toEventRow, toHead } from './rows.ts';
import type { SqlDriver, SqlRow } from './sql_driver.ts';
import { statements, type Statements } from './statements.ts';

export interface AuditOptions {
  readonly driver: SqlDriver;
  readonly mac: Mac;
  readonly schema?: string;
  /** Lines of the anchors file, and who says whether a signature holds; absent: no anchors. */
  readonly anchors?: { readonly lines: readonly string[]; readonly verify: VerifySignature };
  /** A place that somebody knows besides. */
  readonly known?: KnownPlace;
  /** Called now and then with the number of rows so far. */
  readonly onProgress?: (rows: number) => void;
}

export interface AuditReport {
  readonly events: number;
  readonly lastSeq: number;
  readonly archivedSeq: number;
  readonly entries: number;
  readonly anchors: number;
  readonly findings: readonly Finding[];
  /** All findings, kept or not. */
  readonly found: number;
}

type Ask = (sql: string, params: readonly string[]) => Promise<readonly SqlRow[]>;

/** Below any number of a row. */
const BEFORE_ALL = -Number.MAX_SAFE_INTEGER;

/** Verification of a large log must not end at a limit that is made for changes. */
const READ_TIMEOUT_MS = 120_000;

interface Start {
  readonly from: KnownPlace;
  readonly checkpoint: Checkpoint | undefined;
  readonly findings: readonly Finding[];
}

/** Where the rows begin, and what proves that nothing was before. */
async function findStart(sql: Statements, ask: Ask, head: LogHead, mac: Mac): Promise<Start> {
  const genesis = { seq: 0, hash: genesisHash(mac, head.logId) };
  if (head.archivedSeq === 0) return { from: genesis, checkpoint: undefined, findings: [] };
  const at = String(head.archivedSeq);
  const [row] = await ask(sql.checkpointBefore, [at, String(Number.MAX_SAFE_INTEGER)]);
  const checkpoint = row === undefined ? undefined : toCheckpoint(row);
  const isSealed =
    checkpoint?.seq === head.archivedSeq &&
    sealHolds(checkpoint, mac) &&
    archiveHash(mac, head.archivedSeq, checkpoint.eventHash) === head.archivedMac;
  if (checkpoint === undefined || !isSealed)
    return { from: genesis, checkpoint: undefined, findings: [{ kind: 'archive_forged', seq: head.archivedSeq }] };
  return { from: { seq: checkpoint.seq, hash: checkpoint.eventHash }, checkpoint, findings: [] };
}

/** Feeds rows until the log's end, which may move meanwhile. */
async function readAll(verifier: Verifier, from: number, sql: Statements, ask: Ask, options: AuditOptions) {
  let at = from;
  let rows = 0;
  for (;;) {
    const page = (await ask(sql.read, [String(at), String(MAX_READ)])).map(toEventRow);
    for (const row of page) verifier.push(row);
    rows += page.length;
    options.onProgress?.(rows);
    const head = toHead((await ask(sql.head, []))[0]);
    if (page.length === 0) return { head, rows };
    at = page.at(-1)?.seq ?? at;
    if (at >= head.seq && page.length < MAX_READ) {
      const [more] = await ask(sql.read, [String(at), '1']);
      if (more === undefined) return { head: toHead((await ask(sql.head, []))[0]), rows };
    }
  }
}

/** Keys and versions of the read model, and the bodies of those that are not as the events say. */
async function checkReadModel(verifier: Verifier, sql: Statements, ask: Ask): Promise<number> {
  const { projection } = verifier;
  const seen = new Set<string>();
  const suspects: { key: string; seq: number }[] = [];
  let after: readonly [string, string, string] = ['', '', ''];
  for (;;) {
    const page = await ask(sql.allEntries, [...after, String(MAX_READ)]);
    for (const row of page) {
      const [area, kind, name] = [row['area'] ?? '', row['kind'] ?? '', row['name'] ?? ''];
      after = [area, kind, name];
      const key = entryKey(area, kind, name);
      seen.add(key);
      const entry = projection.get(area as never, kind, name);
      const isRight =
        entry !== undefined && String(entry.version) === row['version'] && entryBody(entry) === row['body'];
      if (!isRight) suspects.push({ key, seq: entry?.version ?? Number(row['version']) });
    }
    if (page.length < MAX_READ) break;
  }
  for (const { area, kind, name, version } of projection.entries()) {
    const key = entryKey(area, kind, name);
    if (!seen.has(key)) suspects.push({ key, seq: version });
  }
  // What changed while we read says nothing: the events that came since are asked.
  const touched = new Set<string>();
  for (let at = verifier.lastSeq(); suspects.length > 0; ) {
    const page = (await ask(sql.read, [String(at), String(MAX_READ)])).map(toEventRow);
    for (const { body } of page) {
      const event = decodeEvent(body);
      if (event !== undefined) touched.add(entryKey(event.area, event.resource.kind, event.resource.name));
    }
    if (page.length === 0) break;
    at = page.at(-1)?.seq ?? at;
  }
  for (const { key, seq } of suspects) {
    if (!touched.has(key)) verifier.add({ kind: 'projection_changed', seq, entry: key.replaceAll(' ', '/') });
  }
  return seen.size;
}

/**
 * Verifies the store. What it finds is data; it throws only when the store cannot be read at all.
 * @throws CodedError what the store says
 */
export async function auditStore(options: AuditOptions): Promise<AuditReport> {
  const { driver, mac } = options;
  const sql = statements(options.schema ?? 'sophia');
  const ask: Ask = (text, params) => driver.query(text, params, { repeatable: true, timeoutMs: READ_TIMEOUT_MS });
  const head = toHead((await ask(sql.head, []))[0]);
  const start = await findStart(sql, ask, head, mac);
  const signed = readAnchors(options.anchors?.lines ?? [], head.logId, options.anchors?.verify ?? (() => false));
  const verifier = createVerifier({
    mac,
    from: start.from,
    anchors: signed.anchors,
    ...(start.checkpoint === undefined ? {} : { projection: openCheckpoint(start.checkpoint) }),
  });
  for (const finding of start.findings) verifier.add(finding);
  for (const { line, problem } of signed.problems) verifier.add({ kind: 'anchor', seq: line, problem });
  // Rows with numbers below the first are none of ours; they are read all the same.
  const first = start.from.seq === 0 ? BEFORE_ALL : start.from.seq;
  const read = await readAll(verifier, first, sql, ask, options);
  const [counts] = await ask(sql.counts, []);
  const hidden = Number(counts?.['events'] ?? 0) - read.rows;
  const isQuiet = toHead((await ask(sql.head, []))[0]).seq === read.head.seq;
  if (hidden > 0 && isQuiet) verifier.add({ kind: 'hidden', seq: read.head.seq, rows: hidden });
  verifier.end(read.head, options.known);
  // With damaged rows the state is not known, and every entry after them would look wrong.
  const entries = verifier.found() === 0 ? await checkReadModel(verifier, sql, ask) : 0;
  const { rows, lastSeq, findings, found } = verifier.result();
  return {
    events: rows,
    lastSeq,
    archivedSeq: head.archivedSeq,
    entries,
    anchors: signed.anchors.length,
    findings,
    found,
  };
}
