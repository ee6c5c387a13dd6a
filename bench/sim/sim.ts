/**
 * `npm run bench -- sim`: routing policies over a trace, in virtual time. What the model holds and what it leaves out is
 * in docs/SIMULATOR.md.
 */
import { type Cell, runCells, type Standing, standings } from './cells.ts';
import { FIGURE_NAMES } from './fleet/figures.ts';
import { parseFaults } from './fleet/faults.ts';
import { ENGINE_SPECS, type EngineSpecName, SENSITIVITY, UNSCALED } from './model/spec.ts';
import { SIM_POLICIES, type SimPolicy } from './policies.ts';
import { cellsTable, standingsTable } from './print.ts';
import { scenarioOf } from './scenario.ts';
import { readTrace } from './traces/read.ts';
import { headOf } from './traces/workload.ts';

export interface SimOptions {
  readonly json?: boolean;
  readonly trace: string;
  /** `all` or names with commas. */
  readonly policy: string;
  readonly load: readonly number[];
  readonly seeds: number;
  readonly sensitivity?: boolean;
  readonly engines?: number;
  readonly row?: EngineSpecName;
  readonly requests?: number;
  readonly faults: string;
  readonly queue: boolean;
  readonly sloTtft?: number;
  readonly sloTpot?: number;
}

/** @throws Error that names what there is, for a name that is not */
export function policiesNamed(names: string): readonly SimPolicy[] {
  if (names === 'all') return SIM_POLICIES;
  return names.split(',').map((name) => {
    const found = SIM_POLICIES.find((policy) => policy.name === name);
    if (found !== undefined) return found;
    throw new Error(`"${name}" is no policy; there are ${SIM_POLICIES.map((policy) => policy.name).join(', ')}.`);
  });
}

/** One row of the JSON: means over the seeds, and beside each its 95 % half width. */
export function rowOf(cell: Cell): Record<string, unknown> {
  const { policy, load, scaling, capacityPerS, runs, figures } = cell;
  const means = Object.fromEntries(FIGURE_NAMES.map((name) => [name, figures[name].mean]));
  const plusMinus = Object.fromEntries(FIGURE_NAMES.map((name) => [name, figures[name].plusMinus]));
  return { policy, load, scaling, capacityPerS, seeds: runs.length, ...means, plusMinus };
}

/** A line on the terminal that is written over; nothing where the output is not a terminal. */
function progressLine(): (share: number, what: string) => void {
  const { stderr } = process;
  if (!stderr.isTTY) return () => undefined;
  let shown = -1;
  return (share, what) => {
    const percent = Math.floor(share * 100);
    if (percent === shown) return;
    shown = percent;
    const bar = '#'.repeat(Math.floor(percent / 4)).padEnd(25, '.');
    stderr.write(`\r[${bar}] ${String(percent).padStart(3)} % ${what.padEnd(40)}`);
  };
}

function summary(all: readonly Standing[]): string {
  const of = (wanted: Standing['verdict']): string =>
    `${all.filter(({ verdict }) => verdict === wanted).length} ${wanted}`;
  return `Of ${all.length} figures: ${of('better')}, ${of('equal')}, ${of('unclear')}, ${of('worse')}.`;
}

export async function runSim(options: SimOptions): Promise<void> {
  const policies = policiesNamed(options.policy);
  const scenario = scenarioOf(options.trace);
  const row = options.row ?? scenario.row;
  const engines = options.engines ?? scenario.engines;
  const slo = { ttftS: options.sloTtft ?? scenario.slo.ttftS, tpotMs: options.sloTpot ?? scenario.slo.tpotMs };
  const faults = parseFaults(options.faults, engines);
  const whole = await readTrace(options.trace, 1);
  const workload = options.requests === undefined ? whole : headOf(whole, options.requests);
  const spec = ENGINE_SPECS[row];
  const onProgress = progressLine();
  const startedMs = performance.now();
  const cells = runCells({
    workload,
    spec,
    engines,
    policies,
    loads: options.load,
    seeds: options.seeds,
    slo,
    faults,
    queue: options.queue,
    scalings: options.sensitivity === true ? SENSITIVITY : [UNSCALED],
    onProgress,
  });
  onProgress(1, 'done\n');
  const against = standings(cells, policies);
  const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
  const capacity = (cells[0] as Cell).capacityPerS;
  console.log(
    `${workload.requests} requests of ${options.trace} over ${engines} engines (${row}, ${spec.kvTokens} KV tokens each), ` +
      `capacity ${capacity.toFixed(2)} requests/s, SLO: TTFT ${slo.ttftS} s and TPOT ${slo.tpotMs} ms; ${options.seeds} seeds, ${seconds} s`,
  );
  console.log(cellsTable(cells));
  if (against.length > 0) console.log(`\n${standingsTable(against)}\n${summary(against)}`);
  if (options.json !== true) return;
  const facts = { trace: options.trace, requests: workload.requests, engines, row, kvTokens: spec.kvTokens, slo };
  console.log(JSON.stringify({ ...facts, seeds: options.seeds, seconds, rows: cells.map(rowOf), standings: against }));
}
