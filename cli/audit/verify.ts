/**
 * `sophia audit verify` works on the store itself, past any scheduler: whoever is to be audited is not asked. A running
 * scheduler need not stop; an embedded database that it holds is read through the same process.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { CodedError } from '../../lib/errors.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { readAnchorLines } from '../../scheduler/adapters/store/anchors_file.ts';
import { type AuditReport, auditStore } from '../../scheduler/adapters/store/audit.ts';
import { publicKeyFile, readAnchorVerifier, readMac } from '../../scheduler/adapters/store/keys.ts';
import { openDriver } from '../../scheduler/adapters/store/open_store.ts';
import { storeFiles } from '../../scheduler/adapters/store/store_files.ts';
import { findingText } from '../../scheduler/core/events/findings.ts';
import { processEnvironment } from '../config.ts';
import { ExitRequest } from '../exit.ts';
import { details, type Printer } from '../output.ts';

export interface AuditFlags {
  readonly storeUrl?: string;
  readonly dataDir?: string;
  readonly anchors?: string;
  readonly keyFile?: string;
  readonly anchorKey?: string;
}

/** With a file of anchors that is not there a cut tail would pass as clean. */
async function readAnchorsOf(flags: AuditFlags, preset: string, key: string) {
  const file = flags.anchors ?? preset;
  if (!existsSync(file)) {
    if (flags.anchors === undefined) return undefined;
    throw new CodedError('invalid_config', `There is no anchors file ${file}.`);
  }
  return { lines: await readAnchorLines(file), verify: await readAnchorVerifier(key) };
}

function reportText(report: AuditReport): string {
  const lines = report.findings.map((finding) => `  ${finding.kind}: ${findingText(finding)}`);
  const facts = details([
    ['events', report.events],
    ['last event', report.lastSeq],
    ['archived up to', report.archivedSeq],
    ['entries', report.entries],
    ['anchors', report.anchors],
    ['findings', report.found],
  ]);
  const verdict = report.found === 0 ? 'The log verifies.' : `The log does NOT verify:\n${lines.join('\n')}`;
  const weak = report.anchors === 0 ? '\nThere were no anchors: a cut tail would not show.' : '';
  return `${facts}\n${verdict}${weak}`;
}

/** Verifies a store and prints what is wrong; ends with code 1 when anything is. */
export async function runAuditVerify(flags: AuditFlags, print: Printer): Promise<void> {
  if ((flags.storeUrl === undefined) === (flags.dataDir === undefined))
    throw new CodedError('invalid_config', 'Name the store by one of --store-url and --data-dir.');
  const dataDir = path.resolve(flags.dataDir ?? '.');
  const files = storeFiles(dataDir);
  if (flags.dataDir !== undefined && !existsSync(files.database))
    throw new CodedError('invalid_config', `There is no store in ${dataDir}.`);
  const mac = await readMac(flags.keyFile ?? files.logKey);
  const anchors = await readAnchorsOf(flags, files.anchors, flags.anchorKey ?? publicKeyFile(files.anchorKey));
  const driver = openDriver({
    ...(flags.storeUrl === undefined ? {} : { url: flags.storeUrl }),
    folder: files.database,
    clock: systemClock,
    random: systemRandom,
    environment: processEnvironment(),
  });
  try {
    const startedMs = performance.now();
    const report = await auditStore({ driver, mac, ...(anchors === undefined ? {} : { anchors }) });
    const seconds = Math.round(performance.now() - startedMs) / 1000;
    const findings = report.findings.map((finding) => ({ ...finding, text: findingText(finding) }));
    print.result({ ok: report.found === 0, seconds, ...report, findings }, () => reportText(report));
    if (report.found > 0) throw new ExitRequest(1);
  } finally {
    await driver.close();
  }
}
