/**
 * The fleet that a benchmark measures: scheduler and agent as `sophia up` starts them, with simulated engines whose
 * pace is fixed, so that a run compares routers and not models. The engines' sockets are given out, so that a baseline
 * in the same run speaks to the very same engines.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../lib/io/child.ts';
import { LOOPBACK, startLocalFleet } from '../lib/io/local_fleet.ts';
import { benchEnvironment } from './config.ts';
import { connectAdmin } from './supervised/admin.ts';

export const BENCH_MODEL = 'bench-model';
const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;

export interface BenchFleetOptions {
  readonly engines: number;
  /** Flags of the simulated engine. */
  readonly simFlags: readonly string[];
  /** Limits of each engine, in the spelling of the scheduler's `nodes` setting. */
  readonly limits?: object;
  readonly scheduler?: Readonly<Record<string, unknown>>;
  readonly agent?: Readonly<Record<string, unknown>>;
  /** What the processes inherit; this process's own environment when absent. */
  readonly env?: NodeJS.ProcessEnv;
  /** NODE_OPTIONS of scheduler and agent. */
  readonly nodeOptions?: string;
}

export interface BenchFleet {
  readonly scheduler: Child;
  readonly agent: Child;
  /** Folder of the fleet: certificates, logs, data. */
  readonly root: string;
  readonly httpPort: number;
  readonly fleetPort: number;
  readonly grpcAddress: string;
  readonly key: string;
  /** Unix sockets of the engines. */
  readonly engineSockets: readonly string[];
  stop(): Promise<void>;
}

export async function startBenchFleet(options: BenchFleetOptions): Promise<BenchFleet> {
  const root = await mkdtemp(path.join(tmpdir(), 'sophia-bench-'));
  const engines = Array.from({ length: options.engines }, (_, index) => ({
    name: `sim-${index}`,
    kind: 'sim',
    model: BENCH_MODEL,
    servedModelName: BENCH_MODEL,
    extraFlags: [...options.simFlags],
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  }));
  const children: Child[] = [];
  const stop = async (): Promise<void> => {
    for (const child of children) await child.stop(STOP_TIMEOUT_MS);
    await rm(root, { recursive: true, force: true });
  };
  try {
    const fleet = await startLocalFleet({
      root,
      nodeName: 'bench',
      engines,
      env: {
        ...(options.env ?? benchEnvironment()),
        ...(options.nodeOptions === undefined ? {} : { NODE_OPTIONS: options.nodeOptions }),
      },
      nowMs: Date.now(),
      onChild: (child) => children.push(child),
      scheduler: { logLevel: 'warn', ...options.scheduler },
      agent: { logLevel: 'warn', ...options.agent },
    });
    const key = (await readFile(fleet.keyFile, 'utf8')).trim();
    const grpcAddress = `${LOOPBACK}:${fleet.grpcPort}`;
    const engineSockets = await waitForSockets(grpcAddress, key, options.engines);
    return {
      scheduler: fleet.scheduler,
      agent: fleet.agent,
      root,
      httpPort: fleet.httpPort,
      fleetPort: fleet.fleetPort,
      grpcAddress,
      key,
      engineSockets,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function waitForSockets(address: string, key: string, count: number): Promise<string[]> {
  const admin = connectAdmin(address, key);
  try {
    const endMs = Date.now() + READY_TIMEOUT_MS;
    while (Date.now() < endMs) {
      const ready = (await admin.engines()).filter((engine) => engine.routable);
      if (ready.length >= count) return ready.map((engine) => (engine.event?.address ?? '').replace(/^unix:/, ''));
      await sleep(100);
    }
    throw new Error(`the ${count} simulated engines were not ready in ${READY_TIMEOUT_MS / 1000} s`);
  } finally {
    admin.close();
  }
}
