/**
 * A fleet whose supervision is measured: every engine serves a model of its own, so that a request names its engine, and
 * the agent is a process that the program may kill and start again, as an init system would.
 */
import { mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../../lib/io/child.ts';
import { LOOPBACK, startLocalFleet } from '../../lib/io/local_fleet.ts';
import { signalProcess } from '../../lib/io/processes.ts';
import { benchEnvironment } from '../config.ts';
import { type StreamHooks, type StreamOutcome, streamOnce } from '../clients/http_stream.ts';
import { connectAdmin } from './admin.ts';
import { agentMark, type MarkedProcess, markedProcesses } from './engine_processes.ts';

export interface EnginePlan {
  readonly name: string;
  readonly kind: 'sim' | 'llama';
  readonly model: string;
  readonly flags: readonly string[];
  readonly tcpPort?: number;
  /** Fields over the usual limits. */
  readonly limits?: Readonly<Record<string, number>>;
}

export interface SupervisedOptions {
  readonly engines: readonly EnginePlan[];
  readonly agent?: Readonly<Record<string, unknown>>;
  /** A folder that is looked into before PATH. */
  readonly programs?: (root: string) => Promise<string>;
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

export interface SupervisedFleet {
  readonly root: string;
  readonly agentFolder: string;
  readonly plans: readonly EnginePlan[];
  readonly schedulerLog: string;
  agentPid(): number;
  engines(): Promise<readonly EngineFacts[]>;
  /** Every process of its engines, and their keepers, as the kernel shows them. */
  processes(): Promise<readonly MarkedProcess[]>;
  /** Waits until an engine is as asked. @throws with its last state after `limitMs` */
  waitFor(name: string, what: string, fits: (facts: EngineFacts) => boolean, limitMs: number): Promise<EngineFacts>;
  /** SIGKILL, and a new agent as soon as the old one is gone; resolves when the new one says that it is ready. */
  killAgent(): Promise<void>;
  /** One streamed completion of an engine through the scheduler. */
  stream(engine: string, tokens: number, hooks?: StreamHooks): Promise<StreamOutcome>;
  stop(): Promise<void>;
}

/** A model that only this engine serves. */
export const modelOf = (engine: string): string => `model-of-${engine}`;

const READY_LIMIT_MS = 120_000;
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 100;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const INTERRUPTED = 130;
/** A stream that has not ended by then is given up, and counts as failed. */
const STREAM_LIMIT_MS = 60_000;
/** With NODE_OPTIONS the port of the inspector, which stays shut until a signal opens it, is any free one. */
const INSPECTOR_OPTION = '--inspect-port=127.0.0.1:0';

/** Limits that let a storm of faults through: no brake ends it, and pauses are short. */
const STORM = {
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

export async function startSupervisedFleet(options: SupervisedOptions): Promise<SupervisedFleet> {
  const root = await mkdtemp(path.join(tmpdir(), 'sophia-bench-'));
  const agentFolder = path.join(root, 'agent');
  const children: Child[] = [];
  const closers: (() => void)[] = [];
  let mark = '';
  const processes = (): Promise<MarkedProcess[]> => markedProcesses(agentFolder, mark);
  const stop = async (): Promise<void> => {
    for (const name of SIGNALS) process.off(name, onSignal);
    for (const close of closers) close();
    // The agent first, so that its engines end while the scheduler still listens.
    for (const child of children.toReversed()) await child.stop(STOP_TIMEOUT_MS);
    for (const { pid } of await processes()) signalProcess(pid, 'SIGKILL');
    await options.afterStop?.(agentFolder);
    await rm(root, { recursive: true, force: true });
  };
  // Ctrl-C leaves no process, no folder and no mount behind.
  const onSignal = (): void => {
    void stop().finally(() => process.exit(INTERRUPTED));
  };
  for (const name of SIGNALS) process.once(name, onSignal);
  try {
    await options.dataFolder?.(agentFolder);
    const fleet = await startLocalFleet({
      root,
      nodeName: 'bench',
      engines: options.engines.map(specOf),
      env: environmentWith(await options.programs?.(root)),
      nowMs: Date.now(),
      onChild: (child) => children.push(child),
      scheduler: { logLevel: 'info' },
      agent: { logLevel: 'info', gpuReader: 'none', ...STORM, ...options.agent },
    });
    const key = (await readFile(fleet.keyFile, 'utf8')).trim();
    const admin = connectAdmin(`${LOOPBACK}:${fleet.grpcPort}`, key);
    closers.push(() => admin.close());
    let { agent } = fleet;
    let lives = 1;
    const engines = async (): Promise<EngineFacts[]> =>
      (await admin.engines()).map(({ event, routable }) => ({
        name: event?.engine ?? '',
        pid: event?.pid ?? 0,
        incarnation: event?.incarnation ?? 0,
        state: (event?.state ?? '').replace('ENGINE_STATE_', '').toLowerCase(),
        reason: event?.reason ?? '',
        message: event?.message ?? '',
        routable,
        models: event?.models.map((model) => model.id) ?? [],
        address: event?.address ?? '',
      }));
    const made: SupervisedFleet = {
      root,
      agentFolder,
      plans: options.engines,
      schedulerLog: fleet.scheduler.logFile,
      agentPid: () => agent.pid,
      engines,
      processes,
      async waitFor(name, what, fits, limitMs) {
        const endMs = performance.now() + limitMs;
        let last: EngineFacts | undefined;
        while (performance.now() < endMs) {
          last = (await engines()).find((engine) => engine.name === name);
          if (last !== undefined && fits(last)) return last;
          await sleep(POLL_MS);
        }
        const is = last === undefined ? 'it is not known' : `it is ${last.state} (${last.reason}): ${last.message}`;
        throw new Error(`${name}: not ${what} within ${limitMs / 1000} s; ${is}`);
      },
      async killAgent() {
        signalProcess(agent.pid, 'SIGKILL');
        await agent.exited;
        // The log of each life is kept, for whoever asks what an agent did.
        await rename(agent.logFile, path.join(root, 'logs', `agent-${lives}.log`));
        lives += 1;
        agent = await fleet.restartAgent();
      },
      stream: (engine, tokens, hooks) =>
        streamOnce(
          { host: LOOPBACK, port: fleet.httpPort },
          { path: '/v1/completions', host: 'bench', key, body: completion(engine, tokens) },
          {
            ...hooks,
            onSocket: (socket) => {
              const timer = setTimeout(() => socket.destroy(), STREAM_LIMIT_MS);
              socket.once('close', () => clearTimeout(timer));
              hooks?.onSocket?.(socket);
            },
          },
        ),
      stop,
    };
    for (const { name } of options.engines)
      await made.waitFor(name, 'ready', (facts) => facts.routable, READY_LIMIT_MS);
    mark = await agentMark((await engines())[0]?.pid ?? 0);
    return made;
  } catch (error) {
    await stop();
    throw error;
  }
}

const completion = (engine: string, tokens: number): string =>
  JSON.stringify({
    model: modelOf(engine),
    prompt: 'The sea is calm tonight.',
    max_tokens: tokens,
    ignore_eos: true,
    stream: true,
  });
