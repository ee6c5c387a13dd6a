/**
 * `npm run bench -- audit`: how long it takes to verify a log of a million events in a store, and whether each way of
 * tampering is found and named in its place. The log is written by the store itself and read back as `sophia audit
 * verify` does; the tampering is done on a copy of its first events.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { auditStore } from '../../scheduler/adapters/store/audit.ts';
import { openEventStore } from '../../scheduler/adapters/store/event_store.ts';
import { hmacOf, readOrMakeAnchorKeys } from '../../scheduler/adapters/store/keys.ts';
import { openDriver } from '../../scheduler/adapters/store/open_store.ts';
import type { SqlDriver } from '../../scheduler/adapters/store/sql_driver.ts';
import type { EventRow } from '../../scheduler/core/events/event.ts';
import { findingText } from '../../scheduler/core/events/findings.ts';
import { type EventStore, MAX_APPEND, MAX_READ } from '../../scheduler/core/events/store_port.ts';
import { benchEnvironment } from '../config.ts';
import { round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { benchItem, copyOf, verifyCopy } from './log_copy.ts';
import { TAMPERINGS } from './tampering.ts';

export interface AuditBenchOptions {
  readonly json?: true;
  readonly events: number;
  readonly tamperEvents: number;
  readonly storeUrl?: string;
}

export interface TamperRow {
  readonly tampering: string;
  readonly found: boolean;
  readonly finding: string;
}

/** As good as any: the log is thrown away. */
const MAC = hmacOf('0123456789abcdef'.repeat(4));
const WRONG_MAC = hmacOf('fedcba9876543210'.repeat(4));

async function build(store: EventStore, events: number, onProgress: (done: number) => void): Promise<void> {
  for (let from = 1; from <= events; from += MAX_APPEND) {
    const count = Math.min(MAX_APPEND, events - from + 1);
    const items = Array.from({ length: count }, (_, index) => benchItem(from + index));
    const outcome = await store.append({ idempotencyId: `bench-${from}`, items });
    if (outcome.kind !== 'appended') throw new Error(`The log could not be built: ${JSON.stringify(outcome)}`);
    onProgress(outcome.lastSeq);
  }
}

async function firstRows(store: EventStore, count: number): Promise<EventRow[]> {
  const rows: EventRow[] = [];
  while (rows.length < count) {
    const page = await store.read(rows.length, Math.min(MAX_READ, count - rows.length));
    if (page.length === 0) break;
    rows.push(...page);
  }
  return rows;
}

/** Each tampering on a fresh copy of the rows. */
export async function tamperAll(logId: string, rows: readonly EventRow[], folder: string): Promise<TamperRow[]> {
  const keys = await readOrMakeAnchorKeys(path.join(folder, 'anchors.key'));
  const wrong = await readOrMakeAnchorKeys(path.join(folder, 'wrong.key'));
  const clean = verifyCopy(copyOf(logId, rows, keys.sign), MAC, keys.verify);
  if (clean.found > 0) throw new Error(`The untouched copy is not clean: ${JSON.stringify(clean.findings)}`);
  return TAMPERINGS.map(({ name, finds, apply }) => {
    const copy = copyOf(logId, rows, keys.sign);
    const place = apply(copy, Math.floor(rows.length / 2) + 3, {
      mac: MAC,
      wrongMac: WRONG_MAC,
      wrongSign: wrong.sign,
    });
    const { findings } = verifyCopy(copy, MAC, keys.verify);
    const named = findings.find((finding) => finding.kind === finds && finding.seq === place);
    return { tampering: name, found: named !== undefined, finding: findings.map(findingText).slice(0, 3).join('; ') };
  });
}

async function measure(options: AuditBenchOptions, driver: SqlDriver, folder: string) {
  const schema = `bench_${process.pid}`;
  const note = (text: string): void => {
    if (options.json === undefined) console.log(text);
  };
  const store = await openEventStore({
    driver,
    mac: MAC,
    clock: systemClock,
    random: systemRandom,
    schema,
    newLogId: randomUUID(),
  });
  try {
    const started = performance.now();
    await build(store, options.events, (done) => done % 100_000 === 0 && note(`${done} events written`));
    const buildSeconds = round((performance.now() - started) / 1000);
    const begun = performance.now();
    const cpu = process.cpuUsage();
    const report = await auditStore({ driver, mac: MAC, schema });
    const seconds = round((performance.now() - begun) / 1000);
    const used = process.cpuUsage(cpu);
    const { logId } = await store.head();
    const rows = await firstRows(store, Math.min(options.tamperEvents, options.events));
    const tampered = await tamperAll(logId, rows, folder);
    return {
      events: report.events,
      seconds,
      cpuSeconds: round((used.user + used.system) / 1e6),
      buildSeconds,
      findings: report.found,
      tamperedEvents: rows.length,
      tampered: tampered.length,
      found: tampered.filter(({ found }) => found).length,
      rssMb: round(process.memoryUsage().rss / 1e6, 0),
      rows: tampered,
    };
  } finally {
    await driver.query(`drop schema if exists ${schema} cascade`, [], { repeatable: true, timeoutMs: 120_000 });
  }
}

export async function runAudit(options: AuditBenchOptions): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sophia-audit-'));
  const driver = openDriver({
    ...(options.storeUrl === undefined ? {} : { url: options.storeUrl }),
    folder: path.join(folder, 'store'),
    clock: systemClock,
    random: systemRandom,
    environment: benchEnvironment(),
  });
  try {
    const result = await measure(options, driver, folder);
    if (options.json === undefined) {
      const { rows, ...figures } = result;
      console.log(
        alignRows([
          ['tampering', 'found', 'named'],
          ...rows.map((row) => [row.tampering, row.found ? 'yes' : 'NO', row.finding]),
        ]),
      );
      console.log(
        Object.entries(figures)
          .map(([name, value]) => `${name} ${value}`)
          .join(', '),
      );
    } else console.log(JSON.stringify(result));
    if (result.found < result.tampered || result.findings > 0) process.exitCode = 1;
  } finally {
    await driver.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
  }
}
