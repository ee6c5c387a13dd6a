/**
 * Schedulers on one store and agents that hold sessions to all of them, as processes of their own. Each scheduler may be
 * killed or paused; one that was killed comes back on the same ports with the same data folder.
 */
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Child, startChild } from '../../lib/io/child.ts';
import { LOOPBACK, mainOf, startLocalFleet } from '../../lib/io/local_fleet.ts';
import { signalProcess } from '../../lib/io/processes.ts';
import { readOrMakeAnchorKeys, readOrMakeMac } from '../../scheduler/adapters/store/keys.ts';
import { storeFiles } from '../../scheduler/adapters/store/store_files.ts';
import type { Mac } from '../../scheduler/core/events/chain.ts';
import { benchEnvironment } from '../config.ts';
import { fakeNvidiaSmi } from '../idle/fake_gpus.ts';
import type { Target } from '../streams/client.ts';
import { freePorts } from '../supervised/free_ports.ts';
import type { Owner } from './postgres.ts';

export interface ControlFleetPlan {
  readonly schedulers: number;
  readonly agents: number;
  /** GPUs of each agent, simulated; 0: none. */
  readonly gpus: number;
  /** Settings of each scheduler, the store's among them. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Further addresses that agents dial. */
  readonly otherSchedulers?: readonly string[];
}

export interface ControlFleet {
  readonly root: string;
  /** The key of the log's hash chain, which all schedulers have. */
  readonly mac: Mac;
  readonly count: number;
  readonly nodes: readonly string[];
  /** The HTTP door of a scheduler, with a key that may do everything. */
  target(index: number): Target;
  /** What stands before the slash in the name under which a scheduler holds the lease. */
  idOf(index: number): string;
  signal(index: number, signal: 'SIGSTOP' | 'SIGCONT'): void;
  /** SIGKILL; resolves when it is gone. */
  kill(index: number): Promise<void>;
  /** Starts one anew that was killed, and waits until its doors are open. */
  start(index: number): Promise<void>;
  /** What an agent has written. */
  agentLog(index: number): Promise<string>;
}

const STOP_TIMEOUT_MS = 20_000;
const PORT_NAMES = ['httpPort', 'grpcPort', 'fleetPort'] as const;
type Ports = Readonly<Record<(typeof PORT_NAMES)[number], number>>;

const idOf = (index: number): string => `s${index}`;
const nodeOf = (index: number): string => `node-${index}`;
const folderOf = (root: string, index: number): string =>
  path.join(root, index === 0 ? 'scheduler' : `scheduler-${index}`);
const keyFileOf = (root: string, index: number): string =>
  path.join(root, index === 0 ? 'admin.key' : `admin-${index}.key`);

async function allotPorts(schedulers: number): Promise<Ports[]> {
  const ports = await freePorts(schedulers * PORT_NAMES.length);
  return Array.from({ length: schedulers }, (_, index) => {
    const own = PORT_NAMES.map((name, at) => [name, ports[index * PORT_NAMES.length + at]]);
    return Object.fromEntries(own) as Ports;
  });
}

/** All schedulers of a log have its keys. */
async function shareKeys(root: string, schedulers: number): Promise<Mac> {
  const first = storeFiles(folderOf(root, 0));
  await mkdir(folderOf(root, 0), { recursive: true, mode: 0o700 });
  const mac = await readOrMakeMac(first.logKey);
  await readOrMakeAnchorKeys(first.anchorKey);
  for (let index = 1; index < schedulers; index++) {
    await mkdir(folderOf(root, index), { recursive: true, mode: 0o700 });
    const own = storeFiles(folderOf(root, index));
    await copyFile(first.logKey, own.logKey);
    await copyFile(first.anchorKey, own.anchorKey);
  }
  return mac;
}

/** Starts the fleet; agents have no session yet when this resolves. */
export async function startControlFleet(owner: Owner, plan: ControlFleetPlan): Promise<ControlFleet> {
  const root = await mkdtemp(path.join(tmpdir(), 'sophia-control-'));
  owner.teardown(() => rm(root, { recursive: true, force: true, maxRetries: 10 }));
  const mac = await shareKeys(root, plan.schedulers);
  const ports = await allotPorts(plan.schedulers);
  const env = { ...benchEnvironment() };
  if (plan.gpus > 0) env['PATH'] = await fakeNvidiaSmi(path.join(root, 'gpus'), plan.gpus, env['PATH'] ?? '');
  const started: Child[] = [];
  // Agents first, so that their engines end while a scheduler still listens.
  owner.teardown(async () => {
    for (const child of started.toReversed()) await child.stop(STOP_TIMEOUT_MS);
  });
  const local = await startLocalFleet({
    root,
    nodeName: nodeOf(0),
    engines: [],
    otherNodes: Array.from({ length: plan.agents - 1 }, (_, index) => ({ nodeName: nodeOf(index + 1), engines: [] })),
    env,
    nowMs: Date.now(),
    onChild: (child) => started.push(child),
    scheduler: { logLevel: 'info', schedulerId: idOf(0), ...plan.settings, ...ports[0] },
    agent: {
      logLevel: 'info',
      gpuReader: plan.gpus > 0 ? 'nvidia-smi' : 'none',
      relayWorkers: 1,
      reconnectCapMs: 1000,
      schedulers: [...ports.map(({ fleetPort }) => `localhost:${fleetPort}`), ...(plan.otherSchedulers ?? [])],
    },
  });
  const schedulers = new Map<number, Child>([[0, local.scheduler]]);
  const preset = JSON.parse(await readFile(path.join(root, 'scheduler.yaml'), 'utf8')) as object;
  let lives = 0;
  const start = async (index: number): Promise<void> => {
    lives += 1;
    const config = { ...preset, ...ports[index], schedulerId: idOf(index), dataDir: folderOf(root, index) };
    const file = path.join(root, `${idOf(index)}.yaml`);
    const own = { ...config, bootstrapKeyFile: keyFileOf(root, index) };
    await writeFile(file, JSON.stringify(own), { mode: 0o600 });
    const log = path.join(root, 'logs', `${idOf(index)}-${lives}.log`);
    const child = startChild(idOf(index), mainOf('scheduler'), ['--config', file], log, env);
    started.unshift(child);
    schedulers.set(index, child);
    await child.ready;
  };
  for (let index = 1; index < plan.schedulers; index++) await start(index);
  const keys = await Promise.all(ports.map((_, index) => readFile(keyFileOf(root, index), 'utf8')));
  const childOf = (index: number): Child => schedulers.get(index) as Child;
  const agents = [local.agent, ...local.otherAgents];
  return {
    root,
    mac,
    count: plan.schedulers,
    nodes: agents.map((_, index) => nodeOf(index)),
    target: (index) => ({ url: `http://${LOOPBACK}:${ports[index]?.httpPort}`, key: (keys[index] ?? '').trim() }),
    idOf,
    signal: (index, signal) => void signalProcess(childOf(index).pid, signal),
    async kill(index) {
      signalProcess(childOf(index).pid, 'SIGKILL');
      await childOf(index).exited;
    },
    start,
    agentLog: (index) => readFile((agents[index] as Child).logFile, 'utf8'),
  };
}
