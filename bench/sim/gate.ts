/**
 * The regression gate: small runs whose figures are stored, so that a change of a policy that makes users wait longer is
 * seen before it is merged. `npm run bench -- sim-gate` compares, `--write` stores what is found now.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { packageRoot } from '../../lib/io/package_root.ts';
import { alignRows } from '../relay/print.ts';
import { runCells } from './cells.ts';
import type { FigureName } from './fleet/figures.ts';
import { ENGINE_SPECS, UNSCALED } from './model/spec.ts';
import { DEFAULT_POLICY, SIM_POLICIES } from './policies.ts';
import { scenarioOf } from './scenario.ts';
import { readTrace } from './traces/read.ts';
import { headOf } from './traces/workload.ts';

/** Small enough for the suite, loaded enough that policies differ. */
const CELLS = [
  { trace: 'mooncake', requests: 1500, engines: 4, load: 0.85 },
  { trace: 'azure', requests: 2000, engines: 4, load: 0.9 },
  { trace: 'llmd', requests: 2000, engines: 8, load: 0.95 },
] as const;
const SEEDS = 3;
/** A loss above this part fails. */
export const MOST_LOSS = 0.02;

/** What is compared, and whether more of it is better. */
const FIGURES: Readonly<Partial<Record<FigureName, 'less' | 'more'>>> = {
  ttftMeanS: 'less',
  ttftP50S: 'less',
  ttftP90S: 'less',
  ttftP99S: 'less',
  tpotMs: 'less',
  outTokS: 'more',
  goodput: 'more',
};

/** By `trace policy figure`. */
export type GateFigures = Readonly<Record<string, number>>;

export interface GateLoss {
  readonly figure: string;
  readonly stored: number;
  readonly found: number;
  /** The part by which it is worse; NaN where the figure was not stored, or is no longer found. */
  readonly loss: number;
}

const FILE = 'bench/sim/data/gate.json';
const GATED = SIM_POLICIES.filter(({ name }) => name.startsWith(DEFAULT_POLICY));

/** Runs the gate's cells: the default policy, with and without the engines' KV events. */
export async function measureGate(): Promise<GateFigures> {
  const found: Record<string, number> = {};
  for (const { trace, requests, engines, load } of CELLS) {
    const { row, slo } = scenarioOf(trace);
    const workload = headOf(await readTrace(trace, 1), requests);
    const scalings = [UNSCALED];
    const fleet = { workload, spec: ENGINE_SPECS[row], engines, slo, faults: [], scalings };
    for (const cell of runCells({ ...fleet, policies: GATED, loads: [load], seeds: SEEDS }))
      for (const figure of Object.keys(FIGURES) as FigureName[])
        found[`${trace} ${cell.policy} ${figure}`] = cell.figures[figure].mean;
  }
  return found;
}

/** What is worse than stored by more than MOST_LOSS. */
export function lossesOf(stored: GateFigures, found: GateFigures): GateLoss[] {
  const names = new Set([...Object.keys(stored), ...Object.keys(found)]);
  return [...names].flatMap((name) => {
    const before = stored[name] ?? Number.NaN;
    const now = found[name] ?? Number.NaN;
    const moreIsBetter = FIGURES[name.slice(name.lastIndexOf(' ') + 1) as FigureName] === 'more';
    const loss = (moreIsBetter ? before - now : now - before) / before;
    return loss <= MOST_LOSS ? [] : [{ figure: name, stored: before, found: now, loss }];
  });
}

const file = (): string => path.join(packageRoot(), FILE);

export async function storedGate(): Promise<GateFigures> {
  return JSON.parse(await readFile(file(), 'utf8')) as GateFigures;
}

export async function runGate(options: { readonly write?: boolean; readonly json?: boolean }): Promise<void> {
  const found = await measureGate();
  if (options.write === true) await writeFile(file(), `${JSON.stringify(found, undefined, 2)}\n`);
  const stored = await storedGate();
  const losses = lossesOf(stored, found);
  const rows = Object.entries(found).map(([name, value]) => [
    name,
    (stored[name] ?? Number.NaN).toFixed(4),
    value.toFixed(4),
  ]);
  console.log(alignRows([['figure', 'stored', 'found'], ...rows]));
  for (const { figure, loss } of losses) console.log(`WORSE ${figure}: ${(100 * loss).toFixed(1)} %`);
  if (options.json === true) console.log(JSON.stringify({ found, losses }));
  if (losses.length > 0) process.exitCode = 1;
}
