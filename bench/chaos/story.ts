/**
 * What will go wrong, when and to whom: drawn from a seed before anything is started, so that the same seed tells the
 * same story whatever the machine's speed. Its hash names it.
 */
import { createHash } from 'node:crypto';
import { type RandomSource, seededRandom } from '../../lib/rng.ts';
import type { EnginePlan } from '../supervised/fleet.ts';

/** What a fault needs of the machine or of its engine. */
type Need = 'tree' | 'socket' | 'port' | 'small_disk' | 'young_agent';

interface FaultRow {
  /** How often it is drawn, in relation to the others. */
  readonly weight: number;
  readonly needs?: readonly Need[];
  /** Whether it strikes one engine, or the agent and what is around it. */
  readonly on: 'engine' | 'agent';
  /** Words of which one must stand in the engine's journal for the life that was struck; absent: the life goes on. */
  readonly reasons?: readonly string[];
}

const ANY_END = ['crashed', 'start_crashed', 'unhealthy', 'wedged'] as const;

export const FAULTS = {
  kill_api_server: { weight: 6, on: 'engine', reasons: ANY_END },
  kill_engine_core: { weight: 6, on: 'engine', needs: ['tree'], reasons: ANY_END },
  kill_worker: { weight: 4, on: 'engine', needs: ['tree'], reasons: ANY_END },
  kill_keeper: { weight: 5, on: 'engine', reasons: ANY_END },
  stop_engine_core: { weight: 4, on: 'engine', needs: ['tree'], reasons: ['wedged'] },
  stop_api_server: { weight: 4, on: 'engine', reasons: ['wedged', 'unhealthy', 'start_timeout'] },
  take_socket: { weight: 2, on: 'engine', needs: ['socket'], reasons: ANY_END },
  take_port: { weight: 2, on: 'engine', needs: ['port'], reasons: ANY_END },
  flood_log: { weight: 2, on: 'engine' },
  fill_disk: { weight: 2, on: 'engine', needs: ['small_disk'], reasons: ANY_END },
  kill_agent: { weight: 8, on: 'agent', needs: ['young_agent'] },
  crash_relay_thread: { weight: 3, on: 'agent' },
  kill_sensor: { weight: 2, on: 'agent' },
  hang_gpu_reader: { weight: 2, on: 'agent' },
} as const satisfies Readonly<Record<string, FaultRow>>;

export type FaultKind = keyof typeof FAULTS;

export interface Fault {
  readonly kind: FaultKind;
  /** Absent where the agent is struck. */
  readonly engine?: string;
  /** Milliseconds to wait before it strikes, once its target is whole. */
  readonly pauseMs: number;
}

export interface StoryOptions {
  readonly seed: number;
  readonly faults: number;
  readonly engines: readonly EnginePlan[];
  /** Whether the agent's data lie on a disk that may be filled. */
  readonly smallDisk: boolean;
  /** Mean pause before a fault, in milliseconds. */
  readonly everyMs: number;
}

/** The agent is killed in this first part only, so that one life of it is long enough to show what it leaks. */
const KILLS_SHARE = 0.5;

function victimsOf(row: FaultRow, engines: readonly EnginePlan[]): readonly EnginePlan[] {
  const needs = (need: Need): boolean => row.needs?.includes(need) === true;
  return engines.filter(
    ({ kind, tcpPort }) =>
      (!needs('tree') || kind !== 'llama') &&
      (!needs('socket') || tcpPort === undefined) &&
      (!needs('port') || tcpPort !== undefined),
  );
}

type Row = readonly [FaultKind, FaultRow];

function drawRow(rows: readonly Row[], random: RandomSource): Row {
  let left = random.next() * rows.reduce((sum, [, row]) => sum + row.weight, 0);
  const found = rows.find(([, { weight }]) => (left -= weight) < 0) ?? rows.at(-1);
  if (found === undefined) throw new Error('there is no fault that this fleet could have');
  return found;
}

export function drawStory(options: StoryOptions): readonly Fault[] {
  const { seed, faults, engines, smallDisk, everyMs } = options;
  const random = seededRandom(seed);
  const rows = (Object.entries(FAULTS) as [FaultKind, FaultRow][]).filter(
    ([, row]) =>
      (row.needs?.includes('small_disk') !== true || smallDisk) &&
      (row.on === 'agent' || victimsOf(row, engines).length > 0),
  );
  return Array.from({ length: faults }, (_, index) => {
    const young = index < faults * KILLS_SHARE;
    const possible = rows.filter(([, row]) => row.needs?.includes('young_agent') !== true || young);
    const [kind, row] = drawRow(possible, random);
    const pauseMs = Math.round(random.next() * 2 * everyMs);
    const victims = victimsOf(row, engines);
    const victim = victims[Math.floor(random.next() * victims.length)];
    return row.on === 'engine' && victim !== undefined ? { kind, engine: victim.name, pauseMs } : { kind, pauseMs };
  });
}

export function storyHash(story: readonly Fault[]): string {
  return createHash('sha256').update(JSON.stringify(story)).digest('hex').slice(0, 12);
}
