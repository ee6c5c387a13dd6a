/** A fleet for tests of reconcile: real agents as processes with GPUs of their own, and the log of what is declared. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fakeNvidiaSmi } from '../../../bench/idle/fake_gpus.ts';
import { type Child, startChild } from '../../../lib/io/child.ts';
import { mainOf } from '../../../lib/io/local_fleet.ts';
import type { JsonObject } from '../../../scheduler/core/events/json.ts';
import type { AppendItem, EventStore } from '../../../scheduler/core/events/store_port.ts';
import type { DeploymentSpec } from '../../../scheduler/core/resources/contract.ts';
import { childEnv } from '../child.ts';
import { leftBehind, processesOf } from '../processes.ts';
import { type FleetTls, makeTls } from './tls.ts';

interface Owner {
  teardown(task: () => unknown): void;
}

export interface ControlWorld {
  readonly root: string;
  /** Starts the agent of a node. @param ports of the schedulers that it dials */
  startNode(name: string, ports: readonly number[], gpus?: number): Promise<Child>;
  /** Kills the agent and all that it started, as a host that loses power. */
  killNode(name: string): void;
  /** Stops agents; what is left after that is an error of `stop`. */
  stop(): Promise<void>;
}

const STOP_MS = 15_000;

export async function makeControlWorld(owner: Owner): Promise<ControlWorld> {
  const root = await mkdtemp(path.join(tmpdir(), 'control-test-'));
  const tls: FleetTls = await makeTls(root);
  const agents = new Map<string, Child>();
  const everStarted: number[] = [];
  const stop = async (): Promise<void> => {
    const started = processesOf(everStarted);
    await Promise.all([...agents.values()].map((child) => child.stop(STOP_MS)));
    agents.clear();
    const left = await leftBehind(root, started);
    await rm(root, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`processes were left behind:\n${left.join('\n')}`);
  };
  let stopping: Promise<void> | undefined;
  const stopOnce = (): Promise<void> => (stopping ??= stop());
  owner.teardown(stopOnce);
  return {
    root,
    async startNode(name, ports, gpus = 2) {
      const pair = await tls.agent(name);
      const searchPath = await fakeNvidiaSmi(path.join(root, `${name}-gpus`), gpus, process.env['PATH'] ?? '', true);
      const config = {
        nodeName: name,
        schedulers: ports.map((port) => `localhost:${port}`),
        ...pair,
        caFile: tls.caFile,
        dataDir: path.join(root, name),
        stopWithParent: true,
        stopEnginesOnExit: true,
        logLevel: 'info',
        gpuReader: 'nvidia-smi',
        probePeriodMs: 300,
        drainTimeoutMs: 1000,
        stopTimeoutMs: 8000,
        reconnectBaseMs: 100,
        reconnectCapMs: 500,
        relayWorkers: 1,
      };
      const file = path.join(root, `${name}.yaml`);
      await writeFile(file, JSON.stringify(config), { mode: 0o600 });
      const child = startChild(name, mainOf('agent'), ['--config', file], path.join(root, `${name}.log`), {
        ...childEnv(),
        PATH: searchPath,
      });
      agents.set(name, child);
      everStarted.push(child.pid);
      await child.ready;
      return child;
    },
    killNode(name) {
      const child = agents.get(name) as Child;
      agents.delete(name);
      for (const { pid } of processesOf([child.pid]).toReversed()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
        }
      }
    },
    stop: stopOnce,
  };
}

/** A deployment of simulated engines with a GPU each. */
export const simDeployment = (name: string, replicas: number, more: Partial<DeploymentSpec> = {}): DeploymentSpec => ({
  engine: 'sim',
  model: `sim/${name}`,
  servedModelName: name,
  replicas,
  gpusPerHost: 1,
  gpuMemoryBytes: 8 * 2 ** 30,
  extraFlags: ['--sim-itl-ms', '2'],
  environment: {},
  ...more,
});

let appends = 0;

async function append(store: EventStore, item: Omit<AppendItem, 'actor' | 'reason' | 'correlationId'>): Promise<void> {
  appends += 1;
  const words = { actor: 'key:test', reason: 'test', correlationId: `test-${appends}` };
  const outcome = await store.append({
    idempotencyId: `test-${process.pid}-${appends}`,
    items: [{ ...item, ...words }],
  });
  if (outcome.kind !== 'appended') throw new Error(`the store did not take it: ${JSON.stringify(outcome)}`);
}

/** Declares a resource, or changes it. */
export async function declare(
  store: EventStore,
  kind: string,
  name: string,
  spec: object,
  labels: Readonly<Record<string, string>> = {},
): Promise<void> {
  const before = await store.get('desired', kind, name);
  const after = { spec: spec as JsonObject, labels };
  const event = before === undefined ? 'desired.created' : 'desired.changed';
  await append(store, { kind: event, resource: { kind, name }, after });
}

export const undeclare = (store: EventStore, kind: string, name: string): Promise<void> =>
  append(store, { kind: 'desired.deleted', resource: { kind, name }, after: null });

export const freeze = (store: EventStore, reason: string): Promise<void> =>
  append(store, { kind: 'freeze.set', resource: { kind: 'Fleet', name: 'fleet' }, after: { reason } });

export const unfreeze = (store: EventStore): Promise<void> =>
  append(store, { kind: 'freeze.lifted', resource: { kind: 'Fleet', name: 'fleet' }, after: null });
