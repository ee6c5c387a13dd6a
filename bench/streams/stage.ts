/**
 * The fleet of the chaos run: one scheduler and some agents as processes of their own, with engines of one model spread
 * over the agents. Each of these processes may be killed and started again.
 */
import { mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../../lib/io/child.ts';
import { type LocalFleet, LOOPBACK, startLocalFleet } from '../../lib/io/local_fleet.ts';
import { signalProcess } from '../../lib/io/processes.ts';
import { benchEnvironment } from '../config.ts';
import { type Admin, connectAdmin } from '../supervised/admin.ts';
import { agentMark, markedProcesses } from '../supervised/engine_processes.ts';
import { INSPECTOR_OPTION, STORM } from '../supervised/fleet.ts';

export const MODEL = 'chaos-model';
const READY_LIMIT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 50;

export interface StageOptions {
  readonly agents: number;
  readonly engines: number;
  readonly kind: 'sim' | 'llama';
  /** Path of the weights of the embedded model. */
  readonly weights?: string;
  readonly flags: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

export interface EngineView {
  readonly name: string;
  readonly node: string;
  readonly pid: number;
  readonly routable: boolean;
  readonly running: number;
}

export class Stage {
  readonly root: string;
  readonly #local: LocalFleet;
  readonly #key: string;
  readonly #agents = new Map<string, Child>();
  readonly #children: Child[];
  readonly #engines: number;
  readonly #marks = new Map<string, string>();
  #scheduler: Child;
  #admin: Admin;
  #lives = 0;

  constructor(root: string, local: LocalFleet, key: string, children: Child[], engines: number) {
    this.root = root;
    this.#local = local;
    this.#key = key;
    this.#children = children;
    this.#engines = engines;
    this.#scheduler = local.scheduler;
    [local.agent, ...local.otherAgents].forEach((agent, index) => this.#agents.set(nodeOf(index), agent));
    this.#admin = this.#connect();
  }

  #connect(): Admin {
    return connectAdmin(`${LOOPBACK}:${this.#local.grpcPort}`, this.#key);
  }

  get target(): { readonly url: string; readonly key: string } {
    return { url: `http://${LOOPBACK}:${this.#local.httpPort}`, key: this.#key };
  }

  get nodes(): readonly string[] {
    return [...this.#agents.keys()];
  }

  agent(node: string): Child {
    return this.#agents.get(node) as Child;
  }

  async engines(): Promise<readonly EngineView[]> {
    return (await this.#admin.engines()).map(({ event, routable, node, runningRequests }) => ({
      name: event?.engine ?? '',
      node,
      pid: event?.pid ?? 0,
      routable,
      running: runningRequests,
    }));
  }

  /** Waits until every engine serves. @throws when they do not within a minute */
  async allReady(): Promise<readonly EngineView[]> {
    const endMs = performance.now() + READY_LIMIT_MS;
    while (performance.now() < endMs) {
      const engines = await this.engines().catch(() => []);
      if (engines.filter((engine) => engine.routable).length === this.#engines) {
        await this.#readMarks(engines);
        return engines;
      }
      await sleep(POLL_MS);
    }
    throw new Error(`the engines were not all ready within ${READY_LIMIT_MS / 1000} s`);
  }

  async #readMarks(engines: readonly EngineView[]): Promise<void> {
    for (const { node, pid } of engines) {
      if (!this.#marks.has(node)) this.#marks.set(node, await agentMark(pid).catch(() => ''));
    }
  }

  /** SIGKILL, then a new agent, which takes over what the old one left. */
  async killAgent(node: string): Promise<void> {
    const agent = this.agent(node);
    signalProcess(agent.pid, 'SIGKILL');
    await agent.exited;
    await this.#keepLog(agent.logFile);
    this.#agents.set(node, await this.#local.restartAgent(node));
  }

  /** Ends the scheduler by a signal and starts it anew as soon as it is gone. */
  async restartScheduler(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    signalProcess(this.#scheduler.pid, signal);
    await this.#scheduler.exited;
    await this.#keepLog(this.#scheduler.logFile);
    this.#scheduler = await this.#local.restartScheduler();
    this.#admin.close();
    this.#admin = this.#connect();
  }

  async #keepLog(file: string): Promise<void> {
    this.#lives += 1;
    await rename(file, file.replace(/\.log$/, `-${this.#lives}.log`));
  }

  /** What the schedulers of the run wrote, in the order of their lives. */
  async schedulerLines(): Promise<string[]> {
    const names = [
      ...Array.from({ length: this.#lives }, (_, index) => `scheduler-${index + 1}.log`),
      path.basename(this.#scheduler.logFile),
    ];
    const texts = await Promise.all(
      names.map((name) => readFile(path.join(this.root, 'logs', name), 'utf8').catch(() => '')),
    );
    return texts.flatMap((text) => text.split('\n'));
  }

  async stop(): Promise<void> {
    this.#admin.close();
    for (const child of this.#children.toReversed()) await child.stop(STOP_TIMEOUT_MS);
    for (const [index, node] of this.nodes.entries()) {
      const folder = path.join(this.root, index === 0 ? 'agent' : `agent-${index}`);
      const mark = this.#marks.get(node) ?? '';
      // Only an agent that could not be stopped in order leaves any.
      for (const { pid } of mark === '' ? [] : await markedProcesses(folder, mark)) signalProcess(pid, 'SIGKILL');
    }
    await rm(this.root, { recursive: true, force: true });
  }
}

const nodeOf = (index: number): string => `node-${index}`;

/** Starts the fleet and waits until its engines serve. */
export async function startStage(options: StageOptions): Promise<Stage> {
  const root = await mkdtemp(path.join(tmpdir(), 'sophia-chaos-'));
  const children: Child[] = [];
  const specs = Array.from({ length: options.engines }, (_, index) => ({
    name: `engine-${index}`,
    kind: options.kind,
    model: options.weights ?? MODEL,
    servedModelName: MODEL,
    extraFlags: [...options.flags],
    environment: options.environment ?? {},
    limits: { startTimeoutMs: 60_000, drainTimeoutMs: 5000, stopTimeoutMs: 3000, maxRestarts: 1000 },
  }));
  const nodes = Array.from({ length: options.agents }, (_, index) => ({
    nodeName: nodeOf(index),
    engines: specs.filter((_spec, at) => at % options.agents === index),
  }));
  const env = benchEnvironment();
  const local = await startLocalFleet({
    root,
    nodeName: nodeOf(0),
    engines: nodes[0]?.engines ?? [],
    otherNodes: nodes.slice(1),
    env: { ...env, NODE_OPTIONS: [env['NODE_OPTIONS'], INSPECTOR_OPTION].filter(Boolean).join(' ') },
    nowMs: Date.now(),
    onChild: (child) => children.push(child),
    scheduler: { logLevel: 'info' },
    agent: { logLevel: 'info', gpuReader: 'none', ...STORM },
  });
  const key = (await readFile(local.keyFile, 'utf8')).trim();
  const stage = new Stage(root, local, key, children, options.engines);
  try {
    await stage.allReady();
    return stage;
  } catch (error) {
    await stage.stop();
    throw error;
  }
}
