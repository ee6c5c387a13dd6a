/**
 * The goals of the project's blueprint, judged by the figures of one run. A goal whose figures were not measured, because
 * a router could not be had or a part was left out, is neither met nor missed. Pure.
 */
import { round } from '../process_stats.ts';
import type { Results } from './compare.ts';
import { OWN, OWN_COALESCING, OWN_MANY } from './stages.ts';

export interface Goal {
  readonly goal: string;
  readonly figure: number;
  /** What the figure must stay below, or above when `above`. */
  readonly bound: number;
  readonly above: boolean;
  /** Absent: not measured. */
  readonly met?: boolean;
}

type Figures = Pick<Results, 'cost' | 'ttft' | 'plain' | 'faults'>;

const WHOLE = 'whole';

/** CPU per token of a part, or of all parts. NaN when not measured */
function cost({ cost: rows }: Figures, load: string, router: string, part: string): number {
  const row = rows.find((candidate) => candidate.load === load && candidate.router === router);
  if (row === undefined) return Number.NaN;
  return part === WHOLE ? row.totalUsPerToken : (row.cpuUsPerToken[part] ?? Number.NaN);
}

const speed = ({ cost: rows }: Figures, router: string): number =>
  rows.find(({ load, router: name }) => load === 'unpaced' && name === router)?.tokensPerS ?? Number.NaN;

const requests = ({ plain }: Figures, router: string): number =>
  plain.find((row) => row.router === router)?.requestsPerS ?? Number.NaN;

function lost({ faults }: Figures, fault: string, figure: 'cut' | 'refused' | 'stuck'): number {
  const rows = faults.filter((row) => row.router === OWN && row.fault === fault);
  return rows.length === 0 ? Number.NaN : rows.reduce((sum, row) => sum + row[figure], 0);
}

function judge(goal: string, figure: number, bound: number, above = false): Goal {
  const entry = { goal, figure: round(figure), bound: round(bound), above };
  if (!Number.isFinite(figure) || !Number.isFinite(bound)) return entry;
  return { ...entry, met: above ? figure > bound : figure < bound };
}

export function judgeGoals(results: Figures): Goal[] {
  const perToken = (load: string, router: string, part: string): number => cost(results, load, router, part);
  const single = results.ttft.find(({ router, streams }) => router === OWN && streams === 1);
  const memory = results.cost.find(({ load, router }) => load === '1000x20' && router === OWN)?.rssMb['scheduler'];
  const nginx = (load: string): number => perToken(load, 'nginx', WHOLE);
  return [
    judge(
      'scheduler, HTTP, 256x50, no coalescing: us/token < 0.9 x vllm-router',
      perToken('256x50', OWN, 'scheduler'),
      0.9 * perToken('256x50', 'vllm-router', WHOLE),
    ),
    judge(
      'scheduler, HTTP, 256x50, coalescing: us/token < nginx',
      perToken('256x50', OWN_COALESCING, 'scheduler'),
      nginx('256x50'),
    ),
    judge(
      'scheduler, GenerateMany, 256x50: us/token < 0.5 x nginx',
      perToken('256x50', OWN_MANY, 'scheduler'),
      0.5 * nginx('256x50'),
    ),
    judge(
      'scheduler, GenerateMany, 1000x20: us/token < 0.2 x nginx',
      perToken('1000x20', OWN_MANY, 'scheduler'),
      0.2 * nginx('1000x20'),
    ),
    judge(
      'scheduler and agent, HTTP, 256x50: us/token < smg',
      perToken('256x50', OWN, WHOLE),
      perToken('256x50', 'smg', WHOLE),
    ),
    judge('unpaced tokens/s > smg', speed(results, OWN), speed(results, 'smg'), true),
    judge('unpaced tokens/s > vllm-router', speed(results, OWN), speed(results, 'vllm-router'), true),
    judge('added time to first token, 1 stream, p50 < 0.7 ms', single?.addedP50Ms ?? Number.NaN, 0.7),
    judge('added time to first token, 1 stream, p99 < 3 ms', single?.addedP99Ms ?? Number.NaN, 3),
    judge('requests/s of one token > smg', requests(results, OWN), requests(results, 'smg'), true),
    judge('requests/s of one token > vllm-router', requests(results, OWN), requests(results, 'vllm-router'), true),
    judge('scheduler RSS at 1,000 streams < 200 MB', memory ?? Number.NaN, 200),
    judge('streams cut by kills < 1', lost(results, 'kill', 'cut'), 1),
    judge('requests refused under kills < 1', lost(results, 'kill', 'refused'), 1),
    judge('clients stuck over 5 s on a hung engine < 1', lost(results, 'hang', 'stuck'), 1),
  ];
}
