/** What an agent costs that has nothing to do: its engines are loaded and idle, its GPUs are read, its scheduler is there. */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startBenchFleet } from '../bench_fleet.ts';
import { benchEnvironment } from '../config.ts';
import { cpuUs, cpuUsWithChildren, rssBytes } from '../process_stats.ts';
import { fakeNvidiaSmi } from './fake_gpus.ts';

export interface AgentCostOptions {
  readonly gpus: number;
  readonly engines: number;
  readonly settleSeconds: number;
  readonly seconds: number;
}

export interface ProcessCost {
  readonly corePercent: number;
  readonly rssMb: number;
}

export interface AgentCost {
  readonly agent: ProcessCost;
  /** The process that reads the GPUs, with what it starts; absent where there is none. */
  readonly sensor: ProcessCost | undefined;
}

const MB = 1024 * 1024;

/** The child of `parent` whose command line holds `word`. */
function childWith(parent: number, word: string): number | undefined {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const ppid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      if (ppid === parent && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(word)) return Number(name);
    } catch {
      // It ended between the two looks; then it is not the one.
    }
  }
  return undefined;
}

async function costOf(pids: readonly (number | undefined)[], seconds: number): Promise<(ProcessCost | undefined)[]> {
  const used = (pid: number | undefined, index: number): number =>
    pid === undefined ? 0 : index === 0 ? cpuUs(pid) : cpuUsWithChildren(pid);
  const before = pids.map(used);
  const startedAtMs = performance.now();
  await sleep(seconds * 1000);
  const tookUs = (performance.now() - startedAtMs) * 1000;
  return pids.map((pid, index) =>
    pid === undefined
      ? undefined
      : { corePercent: (100 * (used(pid, index) - (before[index] as number))) / tookUs, rssMb: rssBytes(pid) / MB },
  );
}

export async function measureAgent(options: AgentCostOptions): Promise<AgentCost> {
  const { gpus, engines, settleSeconds, seconds } = options;
  const folder = await mkdtemp(path.join(tmpdir(), 'sophia-bench-smi-'));
  const env = { ...benchEnvironment() };
  env['PATH'] = await fakeNvidiaSmi(folder, gpus, env['PATH'] ?? '');
  const fleet = await startBenchFleet({ engines, simFlags: [], env });
  try {
    await sleep(settleSeconds * 1000);
    const [agent, sensor] = await costOf([fleet.agent.pid, childWith(fleet.agent.pid, 'sensor/main.js')], seconds);
    return { agent: agent as ProcessCost, sensor };
  } finally {
    await fleet.stop();
    await rm(folder, { recursive: true, force: true });
  }
}
