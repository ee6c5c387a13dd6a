/**
 * What stands behind each trace when nothing else is said: how many engines of which hardware, and what its users would
 * call good. Stated before any run; docs/SIMULATOR.md gives the reasons.
 */
import type { Slo } from './fleet/figures.ts';
import type { EngineSpecName } from './model/spec.ts';
import { llmdWorkload } from './traces/formats.ts';
import { rotated, type Workload } from './traces/workload.ts';

export interface Scenario {
  readonly row: EngineSpecName;
  readonly engines: number;
  readonly slo: Slo;
}

export const SCENARIOS: Readonly<Record<string, Scenario>> = Object.freeze({
  mooncake: { row: '70b-bf16-h100-tp4', engines: 16, slo: { ttftS: 5, tpotMs: 100 } },
  azure: { row: '70b-bf16-h100-tp4', engines: 8, slo: { ttftS: 2, tpotMs: 100 } },
  llmd: { row: 'qwen3-32b-bf16-h100-tp2', engines: 8, slo: { ttftS: 2, tpotMs: 50 } },
});

/** Of a file: as of Mooncake's trace. */
export const scenarioOf = (trace: string): Scenario => SCENARIOS[trace] ?? (SCENARIOS['mooncake'] as Scenario);

const GOLDEN = 0.618033988749895;

/**
 * The workload as a seed sees it: seed 1 is the trace as published, each other begins at another place of it, spread
 * evenly; the synthetic one is drawn anew.
 */
export function seeded(workload: Workload, seed: number): Workload {
  if (workload.name === 'llmd') return seed === 1 ? workload : llmdWorkload(seed);
  return rotated(workload, ((seed - 1) * GOLDEN) % 1);
}
