/**
 * The engines of the comparison where no agent of ours supervises them: the same simulated engine with the same flags,
 * started again at once when it is killed, so that a foreign router meets the faults that ours meets, and no help.
 */
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BENCH_MODEL } from '../bench_fleet.ts';
import { benchEnvironment } from '../config.ts';
import { treeOf } from './process_tree.ts';
import { type Program, startProgram } from './program.ts';

const SIM_MAIN = fileURLToPath(new URL('../../agent/engines/sim/main.js', import.meta.url));
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 50;

/** Signals every process of a tree; what has ended meanwhile was going to. */
export function signalTree(root: number, name: NodeJS.Signals): void {
  for (const pid of treeOf(root)) {
    try {
      process.kill(pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** Resolves once an engine answers on the port. @throws after a minute */
export async function waitForEngine(port: number): Promise<void> {
  const endMs = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < endMs) {
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(2000) });
      await answer.text();
      if (answer.ok) return;
    } catch {
      // It does not listen yet.
    }
    await sleep(POLL_MS);
  }
  throw new Error(`the engine on port ${port} was not ready in ${READY_TIMEOUT_MS / 1000} s`);
}

export class MockEngines {
  readonly #ports: readonly number[];
  readonly #flags: readonly string[];
  readonly #folder: string;
  readonly #programs: Program[];

  constructor(ports: readonly number[], flags: readonly string[], folder: string) {
    this.#ports = ports;
    this.#flags = flags;
    this.#folder = folder;
    this.#programs = ports.map((port) => this.#start(port));
  }

  async ready(): Promise<void> {
    await Promise.all(this.#ports.map(waitForEngine));
  }

  /** kill -9 of all its processes; the next life is started at once and is ready after --sim-start-ms. */
  async kill(index: number): Promise<void> {
    const program = this.#programs[index] as Program;
    signalTree(program.pid, 'SIGKILL');
    await program.exited;
    this.#programs[index] = this.#start(this.#ports[index] as number);
  }

  /** @returns the process whose tree an engine is */
  pid(index: number): number {
    return (this.#programs[index] as Program).pid;
  }

  async stop(): Promise<void> {
    for (const { pid } of this.#programs) signalTree(pid, 'SIGCONT');
    await Promise.all(this.#programs.map((program) => program.stop()));
  }

  #start(port: number): Program {
    const args = [SIM_MAIN, '--port', String(port), '--served-model-name', BENCH_MODEL, '--sim-orphan-ttl-s', '1'];
    const log = path.join(this.#folder, `engine-${port}.log`);
    return startProgram(process.execPath, [...args, ...this.#flags], log, benchEnvironment());
  }
}
