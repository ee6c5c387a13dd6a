/** What a scheduler costs to which very many agents speak once a second and of which nobody asks anything. */
import { fork } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readPair } from '../../lib/io/local_ca.ts';
import { startBenchFleet } from '../bench_fleet.ts';
import { cpuUs, rssBytes } from '../process_stats.ts';
import type { LoadOrder } from './load_main.ts';
import type { FleetShape } from './messages.ts';

export interface SchedulerCostOptions {
  readonly agents: number;
  readonly periodMs: number;
  readonly shape: FleetShape;
  readonly settleSeconds: number;
  readonly seconds: number;
}

export interface SchedulerCost {
  readonly corePercent: number;
  readonly rssMb: number;
}

const LOAD_MAIN = fileURLToPath(new URL('./load_main.js', import.meta.url));
const OPEN_TIMEOUT_MS = 120_000;

/** Resolves with a function that ends the load, once all agents have their sessions. */
async function startLoad(order: LoadOrder): Promise<() => Promise<void>> {
  const child = fork(LOAD_MAIN, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  const opened = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error('the simulated agents were not connected in time')),
      OPEN_TIMEOUT_MS,
    );
    child.once('message', (message: { kind: string; message?: string }) => {
      clearTimeout(timer);
      if (message.kind === 'open') resolve();
      else reject(new Error(message.message ?? 'the simulated agents could not connect'));
    });
    void exited.then(() => reject(new Error('the process of the simulated agents ended')));
  });
  child.send(order);
  try {
    await opened;
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}

export async function measureScheduler(options: SchedulerCostOptions): Promise<SchedulerCost> {
  const { agents, periodMs, shape, settleSeconds, seconds } = options;
  const fleet = await startBenchFleet({ engines: 0, simFlags: [] });
  try {
    const ca = await readPair(path.join(fleet.root, 'tls'), 'ca');
    if (ca === undefined) throw new Error('the fleet has no authority');
    const stopLoad = await startLoad({ port: fleet.fleetPort, ca, agents, periodMs, shape });
    try {
      await sleep(settleSeconds * 1000);
      const { pid } = fleet.scheduler;
      const beforeUs = cpuUs(pid);
      const startedAtMs = performance.now();
      await sleep(seconds * 1000);
      const tookUs = (performance.now() - startedAtMs) * 1000;
      return { corePercent: (100 * (cpuUs(pid) - beforeUs)) / tookUs, rssMb: rssBytes(pid) / 1024 ** 2 };
    } finally {
      await stopLoad();
    }
  } finally {
    await fleet.stop();
  }
}
