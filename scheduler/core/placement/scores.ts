/** The registry of scores. To add one: a file in scores/ with its test, and its place here; docs/PLACEMENT.md has the formula. */
import { degradedGpu } from './scores/degraded_gpu.ts';
import { degradedNode } from './scores/degraded_node.ts';
import { fill } from './scores/fill.ts';
import { graceSpill } from './scores/grace_spill.ts';
import { modelOnDisk } from './scores/model_on_disk.ts';
import { numa } from './scores/numa.ts';
import { nvlink } from './scores/nvlink.ts';
import { preferNoSchedule } from './scores/prefer_no_schedule.ts';
import { preference } from './scores/preference.ts';
import type { NodeScore, PartScore, PartView } from './scores/score.ts';
import { warmCache } from './scores/warm_cache.ts';

export const NODE_SCORES: readonly NodeScore[] = [modelOnDisk, warmCache, preference, preferNoSchedule, degradedNode];
export const PART_SCORES: readonly PartScore[] = [fill, nvlink, numa, graceSpill, degradedGpu];

/** The weighted sum of all part scores. */
export function partScore(view: PartView): number {
  let sum = 0;
  for (const score of PART_SCORES) sum += score.weight * score.of(view);
  return sum;
}
