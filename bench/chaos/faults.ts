/**
 * How each fault is done, and how it is known that the fleet has got over it. Everything is done from outside, with
 * signals, sockets, files and a debugger, as a bad night would; nothing in the product knows of it.
 */
import { open, rm, stat } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { signalProcess } from '../../lib/io/processes.ts';
import { childrenOf, type EngineTree, treeOf } from '../supervised/engine_processes.ts';
import { type EngineFacts, modelOf, recoveryLimitMs, type SupervisedFleet } from '../supervised/fleet.ts';
import { findInJournal } from './journal.ts';
import { type AgentInspector, fillDisk, type GpuStage } from './stage.ts';
import { type Fault, type FaultKind, FAULTS } from './story.ts';

export interface Stage {
  readonly fleet: SupervisedFleet;
  readonly inspector: AgentInspector;
  readonly gpu: GpuStage;
  /** Engines that a fault is on now: what happens to them is not the agent's doing. */
  readonly struck: ReadonlySet<string>;
}

export interface FaultResult {
  /** Sentences about what did not come back, or came back wrong; empty: all is well. */
  readonly troubles: readonly string[];
  /** Whether the journal had to tell of it, and does. */
  readonly journal: 'told' | 'missing' | 'not_asked';
}

/** Beyond the time that its engine may take to be back. */
const FAULT_SLACK_MS = 150_000;
const SERVE_LIMIT_MS = 30_000;
const TRY_LIMIT_MS = 10_000;
const POLL_MS = 50;
const THIEF_STAYS_MS = 1500;
const DISK_FULL_MS = 1500;
const GPU_HANG_MS = 3000;
const FRESH_MS = 2500;
const FLOOD_BYTES = 8 * 1024 * 1024;
const FLOOD_LINE = Buffer.from(`${'INFO a line that says nothing. '.repeat(8)}\n`);
/** Size at which the agent's configuration here makes keepers begin a new output file. */
export const OUTPUT_MAX_BYTES = 1024 * 1024;
const OUTPUT_SLACK_BYTES = 256 * 1024;

async function until(what: string, holds: () => Promise<boolean>, limitMs: number): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${limitMs / 1000} s: ${what}`);
    await sleep(POLL_MS);
  }
}

/** One short completion of one engine, tried until it comes. */
export async function serves(fleet: SupervisedFleet, engine: string, limitMs: number): Promise<void> {
  await until(`a completion of ${engine}`, async () => (await fleet.stream({ engine, tokens: 2 })).ok, limitMs);
}

/** One completion of any engine that no fault is on at that moment: the agent serves. */
async function servesAtAll({ fleet, struck }: Stage): Promise<void> {
  await until(
    'a completion of an engine that no fault is on',
    async () => {
      const engine = fleet.plans.find(({ name }) => !struck.has(name))?.name;
      return engine === undefined || (await fleet.stream({ engine, tokens: 2, limitMs: TRY_LIMIT_MS })).ok;
    },
    SERVE_LIMIT_MS,
  );
}

/** Whether an engine serves what it is to serve, in a later life than `incarnation`. */
const isBack =
  (incarnation: number) =>
  (facts: EngineFacts): boolean =>
    facts.routable && facts.incarnation > incarnation && facts.models[0] === modelOf(facts.name);

/** Listens where an engine is about to listen, answers nobody, and goes after a while. */
async function steal(address: string): Promise<void> {
  const socket = /^unix:(.*)$/.exec(address)?.[1];
  const port = Number(/^tcp:[^:]*:(\d+)$/.exec(address)?.[1]);
  const caught = new Set<Socket>();
  const thief: Server = createServer((connection) => {
    caught.add(connection);
    connection.on('error', () => connection.destroy());
  });
  if (socket !== undefined) await rm(socket, { force: true });
  // The port is free once the engine's last socket is closed, which the kernel does within moments of its death.
  for (let tries = 0; ; tries++) {
    try {
      await new Promise<void>((resolve, reject) => {
        thief.once('error', reject);
        if (socket === undefined) thief.listen(port, '127.0.0.1', resolve);
        else thief.listen(socket, resolve);
      });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || tries > 100) throw error;
      await sleep(5);
    }
  }
  await sleep(THIEF_STAYS_MS);
  await new Promise<void>((resolve) => {
    thief.close(() => resolve());
    for (const connection of caught) connection.destroy();
  });
}

/** Writes into the engine's own standard output, which is a pipe to its keeper. */
async function flood(pid: number): Promise<void> {
  const pipe = await open(`/proc/${pid}/fd/1`, 'w');
  try {
    const block = Buffer.concat(Array.from({ length: 256 }, () => FLOOD_LINE));
    for (let left = FLOOD_BYTES; left > 0; left -= block.length) await pipe.write(block);
  } finally {
    await pipe.close();
  }
}

interface Strike {
  readonly stage: Stage;
  readonly facts: EngineFacts;
  readonly tree: EngineTree;
}

const kill = (pid: number | undefined): void => {
  if (pid === undefined || pid < 2 || !signalProcess(pid, 'SIGKILL')) throw new Error('there is no such process');
};
const freeze = (pid: number | undefined): void => {
  if (pid === undefined || pid < 2 || !signalProcess(pid, 'SIGSTOP')) throw new Error('there is no such process');
};

const sizeOf = async (file: string): Promise<number> => (await stat(file).catch(() => ({ size: 0 }))).size;

/** Faults of one engine. What they return is waited for before the engine is expected back. */
const ON_ENGINE: Readonly<Partial<Record<FaultKind, (strike: Strike) => void | Promise<void>>>> = {
  kill_api_server: ({ tree }) => kill(tree.api),
  kill_engine_core: ({ tree }) => kill(tree.core),
  kill_worker: ({ tree }) => kill(tree.worker),
  kill_keeper: ({ tree }) => kill(tree.keeper),
  stop_engine_core: ({ tree }) => freeze(tree.core),
  stop_api_server: ({ tree }) => freeze(tree.api),
  take_socket: async ({ facts, tree }) => {
    kill(tree.api);
    await steal(facts.address);
  },
  take_port: async ({ facts, tree }) => {
    kill(tree.api);
    await steal(facts.address);
  },
  fill_disk: async ({ stage, tree }) => {
    const free = await fillDisk(stage.fleet.agentFolder);
    try {
      kill(tree.api);
      await sleep(DISK_FULL_MS);
    } finally {
      await free();
    }
  },
  flood_log: async ({ stage, facts, tree }) => {
    await flood(tree.api);
    const output = path.join(stage.fleet.agentFolder, 'engines', facts.name, 'output.log');
    const most = OUTPUT_MAX_BYTES + OUTPUT_SLACK_BYTES;
    for (const file of [output, `${output}.1`]) {
      const bytes = await sizeOf(file);
      if (bytes > most) throw new Error(`${file} has ${bytes} bytes, more than ${most}`);
    }
    await serves(stage.fleet, facts.name, SERVE_LIMIT_MS);
  },
};

async function onEngine(fault: Fault, engine: string, stage: Stage): Promise<FaultResult> {
  const { fleet } = stage;
  const reasons: readonly string[] | undefined = (FAULTS[fault.kind] as { reasons?: readonly string[] }).reasons;
  const limitMs = recoveryLimitMs(fleet.plans.find(({ name }) => name === engine));
  const facts = await fleet.waitFor(engine, 'ready for its fault', (now) => now.routable, limitMs);
  await ON_ENGINE[fault.kind]?.({ stage, facts, tree: await treeOf(facts.pid) });
  if (reasons === undefined) {
    const after = await fleet.waitFor(engine, 'ready', (now) => now.routable, limitMs);
    const same = after.incarnation === facts.incarnation;
    return { troubles: same ? [] : [`${engine} was restarted, for: ${after.message}`], journal: 'not_asked' };
  }
  await fleet.waitFor(engine, 'back', isBack(facts.incarnation), limitMs);
  await serves(fleet, engine, SERVE_LIMIT_MS);
  const { found, seen } = await findInJournal(fleet.agentFolder, engine, facts.incarnation, reasons);
  if (found) return { troubles: [], journal: 'told' };
  const trouble = `the journal of ${engine} has for life ${facts.incarnation} only: ${seen.join(', ')}`;
  return { troubles: [trouble], journal: 'missing' };
}

async function killAgent(stage: Stage): Promise<string[]> {
  const { fleet, inspector } = stage;
  const before = (await fleet.engines()).filter(({ name, routable }) => routable && !stage.struck.has(name));
  await fleet.killAgent();
  await inspector.open();
  await servesAtAll(stage);
  const after = new Map((await fleet.engines()).map((facts) => [facts.name, facts]));
  // A fault may have begun on an engine meanwhile; it is no matter of the agent's then.
  return before
    .filter(({ name }) => !stage.struck.has(name))
    .filter(({ name, pid, incarnation }) => {
      const now = after.get(name);
      return now !== undefined && (now.pid !== pid || now.incarnation !== incarnation);
    })
    .map(({ name }) => `${name} was restarted with the agent: ${after.get(name)?.message}`);
}

async function sensorOf(fleet: SupervisedFleet): Promise<number> {
  let pid = 0;
  await until(
    'a sensor process',
    async () => {
      pid = (await childrenOf(fleet.agentPid(), 'sensor/main.js'))[0]?.pid ?? 0;
      return pid > 0;
    },
    SERVE_LIMIT_MS,
  );
  return pid;
}

/** The scheduler is told figures of the GPU that are fresh. */
async function readsAgain(fleet: SupervisedFleet): Promise<void> {
  await until(
    'a fresh reading of the GPU',
    async () => ((await fleet.gpuSampleAgeMs()) ?? Number.POSITIVE_INFINITY) < FRESH_MS,
    recoveryLimitMs(undefined),
  );
}

/** Crashes a relay thread by an error that nothing catches. */
const CRASH = "setTimeout(() => { throw new Error('a relay thread crashes for the benchmark'); }, 0)";

/** Faults of the agent and of what is around it. */
const ON_AGENT: Readonly<Partial<Record<FaultKind, (stage: Stage) => Promise<string[]>>>> = {
  kill_agent: killAgent,
  crash_relay_thread: async (stage) => {
    const threads = await stage.inspector.use((inspector) => inspector.evaluateOnWorkers(CRASH));
    await servesAtAll(stage);
    return threads > 0 ? [] : ['the agent has no relay thread'];
  },
  kill_sensor: async ({ fleet }) => {
    const killed = await sensorOf(fleet);
    kill(killed);
    await until('another sensor', async () => (await sensorOf(fleet)) !== killed, recoveryLimitMs(undefined));
    await readsAgain(fleet);
    return [];
  },
  hang_gpu_reader: async (stage) => {
    await stage.gpu.hang();
    try {
      await sleep(GPU_HANG_MS);
      await servesAtAll(stage);
    } finally {
      await stage.gpu.release();
    }
    await readsAgain(stage.fleet);
    return [];
  },
};

async function within<Result>(work: Promise<Result>, limitMs: number): Promise<Result> {
  const cancel = new AbortController();
  const late = sleep(limitMs, undefined, { signal: cancel.signal }).then(() => {
    throw new Error(`it was not over after ${limitMs / 1000} s`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel.abort();
  }
}

/** Does one fault and waits until the fleet is over it. Never rejects: what failed is part of the result. */
export async function strike(fault: Fault, stage: Stage): Promise<FaultResult> {
  const { engine, kind } = fault;
  const who = engine === undefined ? kind : `${kind} on ${engine}`;
  const work = async (): Promise<FaultResult> =>
    engine === undefined
      ? { troubles: (await ON_AGENT[kind]?.(stage)) ?? [], journal: 'not_asked' }
      : onEngine(fault, engine, stage);
  const limitMs = FAULT_SLACK_MS + recoveryLimitMs(stage.fleet.plans.find(({ name }) => name === engine));
  try {
    const { troubles, journal } = await within(work(), limitMs);
    return { troubles: troubles.map((trouble) => `${who}: ${trouble}`), journal };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { troubles: [`${who}: ${why}`], journal: 'not_asked' };
  }
}
