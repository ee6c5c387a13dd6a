/**
 * `npm run bench -- compare`: our fleet beside other routers, on the same simulated engines under the same load in the
 * same run. Figures of one run may be compared with each other; those of two runs, or of a busy machine, may not.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { packageVersion } from '../../lib/io/package_root.ts';
import { startProgress } from '../progress.ts';
import { type Entry, foreignEntry, prepareRouter, type Skipped } from './contestants.ts';
import type { CostRow, PlainRow, TtftRow } from './cost.ts';
import type { FaultRow } from './faults.ts';
import { type Goal, judgeGoals } from './goals.ts';
import { printCompare } from './print.ts';
import { comparePage } from './report.ts';
import { FAST, FULL, type Part, type Scale, stepsOf } from './scale.ts';
import { runCostStages } from './stages.ts';
import { runFaultStages } from './fault_stages.ts';

export interface CompareOptions {
  readonly json?: true;
  readonly html?: string;
  readonly quick?: true;
  /** `NAME=URL`, `NAME=PID` and `NAME=FILE` of routers that somebody else runs. */
  readonly url: readonly (readonly [name: string, value: string])[];
  readonly pid: readonly (readonly [name: string, value: string])[];
  readonly keyFile: readonly (readonly [name: string, value: string])[];
  readonly routers: readonly string[];
  readonly enginePort?: number;
  readonly parts: readonly Part[];
  readonly rounds?: number;
  readonly seconds?: number;
  readonly faultEngines: readonly number[];
}

export interface CompareReport {
  readonly machine: { readonly cores: number; readonly cpu: string; readonly node: string };
  readonly routers: readonly { readonly name: string; readonly version: string; readonly policy: string }[];
  readonly skipped: readonly Skipped[];
  readonly cost: readonly CostRow[];
  readonly ttft: readonly TtftRow[];
  readonly plain: readonly PlainRow[];
  readonly faults: readonly FaultRow[];
  readonly goals: readonly Goal[];
}

/** What the parts of a run write their results into. */
export interface Results {
  readonly skipped: Skipped[];
  readonly cost: CostRow[];
  readonly ttft: TtftRow[];
  readonly plain: PlainRow[];
  readonly faults: FaultRow[];
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const INTERRUPTED = 130;

async function entriesOf(options: CompareOptions, skipped: Skipped[]): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (const name of options.routers) {
    const prepared = await prepareRouter(name);
    if ('reason' in prepared) skipped.push(prepared);
    else entries.push(prepared);
  }
  const valueOf = (list: CompareOptions['pid'], name: string) => list.find(([of]) => of === name)?.[1];
  for (const [name, value] of options.url) {
    const pid = valueOf(options.pid, name);
    const file = valueOf(options.keyFile, name);
    const key = file === undefined ? {} : { key: (await readFile(file, 'utf8')).trim() };
    const url = new URL('/v1/chat/completions', value);
    entries.push(foreignEntry({ name, url, ...key, ...(pid === undefined ? {} : { pid: Number(pid) }) }));
  }
  return entries;
}

function scaleOf({ quick, rounds, seconds, faultEngines }: CompareOptions): Scale {
  const base = quick === true ? FAST : FULL;
  return {
    ...base,
    ...(rounds === undefined ? {} : { rounds }),
    ...(seconds === undefined ? {} : { seconds }),
    faultEngines: quick === true ? faultEngines.slice(0, 1) : faultEngines,
  };
}

export async function runCompare(options: CompareOptions): Promise<void> {
  const results: Results = { skipped: [], cost: [], ttft: [], plain: [], faults: [] };
  const folder = await mkdtemp(path.join(tmpdir(), 'sophia-compare-'));
  const entries = await entriesOf(options, results.skipped);
  const scale = scaleOf(options);
  const progress = startProgress('compare', stepsOf(scale, options.parts, entries.length));
  let done = 0;
  const step = (note: string): void => {
    progress.update(done++, note);
    // Where there is no bar, a line for each step shows that a long run is alive.
    if (!process.stderr.isTTY) process.stderr.write(`${note}\n`);
  };
  // The fleets end with this process, and so do the routers and engines that it started.
  const onSignal = (): void => process.exit(INTERRUPTED);
  for (const name of SIGNALS) process.once(name, onSignal);
  const { parts, enginePort } = options;
  const context = { entries, scale, folder, step, results, parts, enginePort };
  try {
    await runCostStages(context);
    await runFaultStages(context);
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
    progress.end();
    await rm(folder, { recursive: true, force: true });
  }
  const report: CompareReport = {
    machine: { cores: cpus().length, cpu: cpus()[0]?.model ?? '', node: process.version },
    routers: [
      { name: 'sophia', version: packageVersion(), policy: 'its default' },
      ...entries.map(({ name, version, policy }) => ({ name, version, policy })),
    ],
    ...results,
    goals: judgeGoals(results),
  };
  if (options.html !== undefined) await writeFile(options.html, comparePage(report));
  process.stdout.write(`${printCompare(report)}\n`);
  if (options.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
}
