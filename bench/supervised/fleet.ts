/**
 * A fleet whose supervision is measured: every engine serves a model of its own, so that a request names its engine, and
 * the agent is a process that the program may kill and start again, as an init system would.
 */
import { mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../../lib/io/child.ts';
import { type LocalFleet, LOOPBACK, startLocalFleet } from '../../lib/io/local_fleet.ts';
import { signalProcess } from '../../lib/io/processes.ts';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import { benchEnvironment } from '../config.ts';
import { type StreamHooks, type StreamOutcome, streamOnce } from '../clients/http_stream.ts';
import { type Admin, connectAdmin } from './admin.ts';
import { agentMark, type MarkedProcess, markedProcesses } from './engine_processes.ts';

export interface EnginePlan {
  readonly name: string;
  readonly kind: 'sim' | 'llama' | 'vllm';
  readonly model: string;
  readonly flags: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly tcpPort?: number;
  /** Fields over the usual limits. */
  readonly limits?: Readonly<Record<string, number>>;
  /** How long it may take to be back from a fault; absent: as an engine that starts in seconds. */
  readonly recoveryLimitMs?: number;
}

const RECOVERY_LIMIT_MS = 90_000;

export const recoveryLimitMs = (plan: EnginePlan | undefined): number => plan?.recoveryLimitMs ?? RECOVERY_LIMIT_MS;

/** As many simulated engines alike, `PREFIX-0` and on. */
export function simPlans(count: number, prefix: string, flags: readonly string[]): EnginePlan[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `${prefix}-${index}`,
    kind: 'sim',
    model: 'sim',
    flags,
  }));
}

export interface SupervisedOptions {
  readonly engines: readonly EnginePlan[];
  readonly agent?: Readonly<Record<string, unknown>>;
  /** A folder that is looked into before PATH. */
  readonly programs?: string;
  /** Makes the agent's data folder, before anything is started. */
  readonly dataFolder?: (folder: string) => Promise<void>;
  /** Undoes it, after everything is stopped. */
  readonly afterStop?: (folder: string) => Promise<void>;
}

/** An engine in the scheduler's eyes. */
export interface EngineFacts {
  readonly name: string;
  readonly pid: number;
  readonly incarnation: number;
  readonly state: string;
  readonly reason: string;
  readonly message: string;
  readonly routable: boolean;
  readonly models: readonly string[];
  readonly address: string;
}

export interface StreamAsked {
  readonly engine: string;
  readonly tokens: number;
  readonly prompt?: string;
  /** A client that has not got all by then goes away, milliseconds. */
  readonly limitMs?: number;
}

interface FleetPlace {
  readonly root: string;
  readonly agentFolder: string;
  readonly plans: readonly EnginePlan[];
}

export interface SupervisedFleet {
  readonly root: string;
  readonly agentFolder: string;
  readonly plans: readonly EnginePlan[];
  readonly schedulerLog: string;
  agentPid(): number;
  engines(): Promise<readonly EngineFacts[]>;
  /** How old the newest figures of a GPU are that the scheduler has; undefined: it has none. */
  gpuSampleAgeMs(): Promise<number | undefined>;
  /** Every process of its engines, and their keepers, as the kernel shows them. */
  processes(): Promise<readonly MarkedProcess[]>;
  /** Waits until an engine is as asked. @throws with its last state after `limitMs` */
  waitFor(name: string, what: string, fits: (facts: EngineFacts) => boolean, limitMs: number): Promise<EngineFacts>;
  /** SIGKILL, and a new agent as soon as the old one is gone; resolves when the new one says that it is ready. */
  killAgent(): Promise<void>;
  /** One streamed completion of an engine through the scheduler; never rejects. */
  stream(request: StreamAsked, hooks?: StreamHooks): Promise<StreamOutcome>;
  stop(): Promise<void>;
}

/** A model that only this engine serves. */
export const modelOf = (engine: string): string => `model-of-${engine}`;

const NODE = 'bench';
const READY_LIMIT_MS = 120_000;
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 100;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const INTERRUPTED = 130;
/** A stream that has not ended by then is given up, and counts as failed. */
const STREAM_LIMIT_MS = 60_000;
/** With NODE_OPTIONS the port of the inspector, which stays shut until a signal opens it, is any free one. */
export const INSPECTOR_OPTION = '--inspect-port=127.0.0.1:0';

/** Limits that let a storm of faults through: no brake ends it, and pauses are short. */
export const STORM = {
  restartBaseMs: 200,
  restartCapMs: 1000,
  restartWindowMs: 1000,
  maxRestarts: 1000,
  hostRestartBurst: 10_000,
  hostRestartPeriodMs: 100,
};

function specOf(plan: EnginePlan) {
  return {
    name: plan.name,
    kind: plan.kind,
    model: plan.model,
    servedModelName: modelOf(plan.name),
    extraFlags: [...plan.flags],
    ...(plan.environment === undefined ? {} : { environment: { ...plan.environment } }),
    limits: { startTimeoutMs: 60_000, drainTimeoutMs: 5000, stopTimeoutMs: 3000, maxRestarts: 1000, ...plan.limits },
    ...(plan.tcpPort === undefined ? {} : { tcpPort: plan.tcpPort }),
  };
}

/** The environment of scheduler and agent. @param programs a folder that comes first on PATH */
function environmentWith(programs: string | undefined): NodeJS.ProcessEnv {
  const env = benchEnvironment();
  const options = [env['NODE_OPTIONS'], INSPECTOR_OPTION].filter(Boolean).join(' ');
  const search = programs === undefined ? env['PATH'] : [programs, env['PATH']].filter(Boolean).join(path.delimiter);
  return { ...env, NODE_OPTIONS: options, PATH: search };
}

/** One streamed completion of one engine, through the scheduler's HTTP door. */
function streamOf(port: number, key: string, request: StreamAsked, hooks: StreamHooks): Promise<StreamOutcome> {
  const { engine, tokens, prompt = 'The sea is calm tonight.', limitMs = STREAM_LIMIT_MS } = request;
  const body = { model: modelOf(engine), prompt, max_tokens: tokens, ignore_eos: true, stream: true };
  return streamOnce(
    { host: LOOPBACK, port },
    { path: '/v1/completions', host: 'bench', key, body: JSON.stringify(body) },
    {
      ...hooks,
      onSocket(socket) {
        const timer = setTimeout(() => socket.destroy(), limitMs);
        socket.once('close', () => clearTimeout(timer));
        hooks.onSocket?.(socket);
      },
    },
  );
}

const factsOf = ({ event, routable }: Engine__Output): EngineFacts => ({
  name: event?.engine ?? '',
  pid: event?.pid ?? 0,
  incarnation: event?.incarnation ?? 0,
  state: (event?.state ?? '').replace('ENGINE_STATE_', '').toLowerCase(),
  reason: event?.reason ?? '',
  message: event?.message ?? '',
  routable,
  models: event?.models.map((model) => model.id) ?? [],
  address: event?.address ?? '',
});

class RunningFleet implements SupervisedFleet {
  readonly root: string;
  readonly agentFolder: string;
  readonly plans: readonly EnginePlan[];
  readonly schedulerLog: string;
  readonly #local: LocalFleet;
  readonly #admin: Admin;
  readonly #key: string;
  readonly #stop: () => Promise<void>;
  #agent: Child;
  #lives = 1;
  #mark = '';

  constructor(local: LocalFleet, place: FleetPlace, key: string, stop: () => Promise<void>) {
    this.root = place.root;
    this.agentFolder = place.agentFolder;
    this.plans = place.plans;
    this.schedulerLog = local.scheduler.logFile;
    this.#local = local;
    this.#agent = local.agent;
    this.#admin = connectAdmin(`${LOOPBACK}:${local.grpcPort}`, key);
    this.#key = key;
    this.#stop = stop;
  }

  async ready(): Promise<void> {
    for (const plan of this.plans) {
      const limitMs = Math.max(READY_LIMIT_MS, recoveryLimitMs(plan));
      await this.waitFor(plan.name, 'ready', (facts) => facts.routable, limitMs);
    }
    this.#mark = await agentMark((await this.engines())[0]?.pid ?? 0);
  }

  agentPid(): number {
    return this.#agent.pid;
  }

  async engines(): Promise<readonly EngineFacts[]> {
    return (await this.#admin.engines()).map(factsOf);
  }

  async gpuSampleAgeMs(): Promise<number | undefined> {
    return (await this.#admin.node(NODE))?.telemetry?.gpuSampleAgeMs;
  }

  processes(): Promise<readonly MarkedProcess[]> {
    return markedProcesses(this.agentFolder, this.#mark);
  }

  async waitFor(
    name: string,
    what: string,
    fits: (facts: EngineFacts) => boolean,
    limitMs: number,
  ): Promise<EngineFacts> {
    const endMs = performance.now() + limitMs;
    let last: EngineFacts | undefined;
    while (performance.now() < endMs) {
      last = (await this.engines()).find((engine) => engine.name === name);
      if (last !== undefined && fits(last)) return last;
      await sleep(POLL_MS);
    }
    const is = last === undefined ? 'it is not known' : `it is ${last.state} (${last.reason}): ${last.message}`;
    throw new Error(`${name}: not ${what} within ${limitMs / 1000} s; ${is}`);
  }

  async killAgent(): Promise<void> {
    const { exited, logFile, pid } = this.#agent;
    signalProcess(pid, 'SIGKILL');
    await exited;
    // The log of each life is kept, for whoever asks what an agent did.
    await rename(logFile, path.join(this.root, 'logs', `agent-${this.#lives}.log`));
    this.#lives += 1;
    this.#agent = await this.#local.restartAgent();
  }

  stream(request: StreamAsked, hooks: StreamHooks = {}): Promise<StreamOutcome> {
    return streamOf(this.#local.httpPort, this.#key, request, hooks);
  }

  async stop(): Promise<void> {
    this.#admin.close();
    await this.#stop();
    // Only an agent that could not be stopped in order leaves any.
    for (const { pid } of await this.processes()) signalProcess(pid, 'SIGKILL');
  }
}

/** Starts a fleet and waits until all its engines serve. Ctrl-C then leaves no process, folder or mount behind. */
export async function startSupervisedFleet(options: SupervisedOptions): Promise<SupervisedFleet> {
  const root = await mkdtemp(path.join(tmpdir(), 'sophia-bench-'));
  const place: FleetPlace = { root, agentFolder: path.join(root, 'agent'), plans: options.engines };
  const children: Child[] = [];
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= end());
  const end = async (): Promise<void> => {
    for (const name of SIGNALS) process.off(name, onSignal);
    // The agent first, so that its engines end while the scheduler still listens.
    for (const child of children.toReversed()) await child.stop(STOP_TIMEOUT_MS);
    await options.afterStop?.(place.agentFolder);
    await rm(root, { recursive: true, force: true });
  };
  const onSignal = (): void => {
    void stop().finally(() => process.exit(INTERRUPTED));
  };
  for (const name of SIGNALS) process.once(name, onSignal);
  try {
    await options.dataFolder?.(place.agentFolder);
    const local = await startLocalFleet({
      root,
      nodeName: NODE,
      engines: options.engines.map(specOf),
      env: environmentWith(options.programs),
      nowMs: Date.now(),
      onChild: (child) => children.push(child),
      scheduler: { logLevel: 'info' },
      agent: { logLevel: 'info', gpuReader: 'none', ...STORM, ...options.agent },
    });
    const fleet = new RunningFleet(local, place, (await readFile(local.keyFile, 'utf8')).trim(), stop);
    await fleet.ready();
    return fleet;
  } catch (error) {
    await stop();
    throw error;
  }
}
