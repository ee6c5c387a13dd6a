/**
 * A whole fleet for tests, as `sophia up` starts it: scheduler and agent as processes of their own in a temporary
 * folder, ports that the system chose, engines that are ready when the test begins. Stopping it looks for processes
 * that were left behind and fails when there are any.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import type { Child } from '../../lib/io/child.ts';
import { LOOPBACK, startLocalFleet } from '../../lib/io/local_fleet.ts';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import { adminService } from '../../proto/load.ts';
import { childEnv } from './child.ts';
import { leftBehind, processesOf } from './processes.ts';

/** Where an engine listens, as Node's own `net` and `http` take it. */
export type EngineAddress = { readonly socketPath: string } | { readonly host: string; readonly port: number };

export interface FleetEngine {
  readonly name: string;
  readonly model: string;
  readonly address: EngineAddress;
  /** Leader of the engine's process group. */
  readonly pid: number;
}

export interface TestFleet {
  readonly root: string;
  /** `http://127.0.0.1:PORT`, without a path. */
  readonly url: string;
  readonly httpPort: number;
  readonly grpcAddress: string;
  /** A key with every role. */
  readonly key: string;
  readonly scheduler: Child;
  readonly agent: Child;
  /** The agents of `otherNodes`, in their order. */
  readonly otherAgents: readonly Child[];
  /** Starts an agent anew after it has ended; `agent` stays the first one. */
  restartAgent(nodeName?: string): Promise<Child>;
  /** Starts the scheduler anew after it has ended, on the same ports; `scheduler` stays the first one. */
  restartScheduler(): Promise<Child>;
  /** The engines that were routable when the fleet was ready, by name. */
  readonly engines: readonly FleetEngine[];
  /** Calls a method of admin.v1.Admin as the holder of the key. */
  admin<Answer>(method: string, request?: object): Promise<Answer>;
  /** Idempotent. @throws Error that names each process that was left behind (they are killed first) */
  stop(): Promise<void>;
}

export interface TestFleetOptions {
  /** Engine specifications in the spelling of the scheduler's `nodes` setting. */
  readonly engines: readonly object[];
  /** Engines of further nodes, each with an agent of its own, by the node's name. */
  readonly otherNodes?: Readonly<Record<string, readonly object[]>>;
  readonly scheduler?: Readonly<Record<string, unknown>>;
  readonly agent?: Readonly<Record<string, unknown>>;
  readonly readyTimeoutMs?: number;
  /** How many engines must be routable before the fleet is given to the test; all, unless it wants to see them start. */
  readonly awaitRoutable?: number;
  /** Over what the processes of tests inherit. */
  readonly env?: Readonly<Record<string, string>>;
  /** Where the temporary folder is made; for engines that write much. */
  readonly parentFolder?: string;
}

/** The part of a tap test that is used. */
interface Owner {
  teardown(task: () => unknown): void;
}

const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 20_000;
const CALL_TIMEOUT_MS = 5_000;
/** A failed test may leave a request running; its fleet need not wait for that as a real one does. */
const SHORT_GRACE = { drainTimeoutMs: 2_000 };

export interface SimOptions {
  readonly name: string;
  readonly model: string;
  readonly flags?: readonly string[];
}

/** A simulated engine that steps at a fixed pace, fast enough for tests and slow enough to be cut. */
export function simEngine({ name, model, flags = ['--sim-itl-ms', '2'] }: SimOptions): object {
  return { name, kind: 'sim', model, servedModelName: model, extraFlags: [...flags] };
}

function parseAddress(text: string): EngineAddress {
  if (text.startsWith('unix:')) return { socketPath: text.slice('unix:'.length) };
  const found = /^tcp:(.+):(\d+)$/.exec(text);
  if (found === null) throw new Error(`an engine has the address ${JSON.stringify(text)}`);
  return { host: found[1] as string, port: Number(found[2]) };
}

function adminCaller(address: string, key: string): { call: TestFleet['admin']; close(): void } {
  const Client = grpc.makeClientConstructor(adminService, 'admin.v1.Admin');
  const client = new Client(address, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${key}`);
  const call = <Answer>(method: string, request: object = {}): Promise<Answer> => {
    const run = client[method] as unknown as (
      request: object,
      metadata: grpc.Metadata,
      options: grpc.CallOptions,
      callback: (error: grpc.ServiceError | null, value?: Answer) => void,
    ) => void;
    return new Promise((resolve, reject) => {
      run.call(client, request, metadata, { deadline: Date.now() + CALL_TIMEOUT_MS }, (error, value) => {
        if (error === null && value !== undefined) resolve(value);
        else reject(error ?? new Error(`${method} gave no answer`));
      });
    });
  };
  return { call, close: () => client.close() };
}

async function routableEngines(admin: TestFleet['admin'], count: number, limitMs: number): Promise<FleetEngine[]> {
  const endMs = Date.now() + limitMs;
  let seen: readonly Engine__Output[] = [];
  while (Date.now() < endMs) {
    seen = (await admin<{ engines: Engine__Output[] }>('ListEngines')).engines;
    const ready = seen.filter((engine) => engine.routable);
    if (ready.length >= count) {
      return ready
        .map(({ event }) => ({
          name: event?.engine ?? '',
          model: event?.models[0]?.id ?? '',
          address: parseAddress(event?.address ?? ''),
          pid: event?.pid ?? -1,
        }))
        .sort((a, b) => (a.name < b.name ? -1 : 1));
    }
    await sleep(50);
  }
  const states = seen.map((engine) => `${engine.event?.engine}: ${engine.event?.state} ${engine.notRoutableReason}`);
  throw new Error(`${count} engines were not ready in ${limitMs} ms (${states.join('; ') || 'none is known'})`);
}

async function tailOf(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => String(error));
  return text.slice(-4000);
}

/** Starts a fleet that `owner` stops at its end. @throws Error with the ends of the logs when it does not come up */
export async function startFleet(owner: Owner, options: TestFleetOptions): Promise<TestFleet> {
  const root = await mkdtemp(path.join(options.parentFolder ?? tmpdir(), 'fleet-test-'));
  const children: Child[] = [];
  let closeAdmin = (): void => undefined;
  let stopping: Promise<void> | undefined;
  const stopAll = async (): Promise<void> => {
    closeAdmin();
    const started = processesOf(children.map((child) => child.pid));
    // The agent first: a scheduler that stops first would have it dial a closed port.
    for (const child of children.toReversed()) await child.stop(STOP_TIMEOUT_MS);
    const left = await leftBehind(root, started);
    await rm(root, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`the fleet left processes behind:\n${left.join('\n')}`);
  };
  const stop = (): Promise<void> => (stopping ??= stopAll());
  owner.teardown(stop);
  const others = Object.entries(options.otherNodes ?? {});
  const allEngines = options.engines.length + others.reduce((sum, [, engines]) => sum + engines.length, 0);
  try {
    const local = await startLocalFleet({
      root,
      nodeName: 'test-node',
      engines: options.engines,
      otherNodes: others.map(([nodeName, engines]) => ({ nodeName, engines })),
      env: { ...childEnv(), ...options.env },
      nowMs: Date.now(),
      onChild: (child) => children.push(child),
      scheduler: { logLevel: 'info', ...SHORT_GRACE, ...options.scheduler },
      agent: { logLevel: 'info', probePeriodMs: 300, ...SHORT_GRACE, stopTimeoutMs: 8_000, ...options.agent },
    });
    const key = (await readFile(local.keyFile, 'utf8')).trim();
    const grpcAddress = `${LOOPBACK}:${local.grpcPort}`;
    const { call: admin, close } = adminCaller(grpcAddress, key);
    closeAdmin = close;
    const { awaitRoutable = allEngines, readyTimeoutMs = READY_TIMEOUT_MS } = options;
    const engines = await routableEngines(admin, awaitRoutable, readyTimeoutMs);
    const { scheduler, agent, otherAgents, httpPort, restartAgent, restartScheduler } = local;
    return {
      root,
      url: `http://${LOOPBACK}:${httpPort}`,
      httpPort,
      grpcAddress,
      key,
      scheduler,
      agent,
      otherAgents,
      restartAgent,
      restartScheduler,
      engines,
      admin,
      stop,
    };
  } catch (error) {
    const logs = await Promise.all(children.map(async (child) => `--- ${child.name}\n${await tailOf(child.logFile)}`));
    await stop().catch((left: unknown) => logs.push(String(left)));
    throw new Error(`the fleet did not come up: ${String(error)}\n${logs.join('\n')}`, { cause: error });
  }
}
