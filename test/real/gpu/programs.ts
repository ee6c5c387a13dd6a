/** Starts the Python programs of this lane, which use a GPU in known ways, and ends them. */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { packageRoot } from '../../../lib/io/package_root.ts';

/** The first CUDA program of a host takes long: it reads gigabytes of libraries. */
const START_TIMEOUT_MS = 120_000;

export interface Program {
  readonly pid: number;
  readonly process: ChildProcess;
  output(): string;
  /** Resolves with the match in what it printed. @throws Error at its end or after the limit, with its output */
  waitFor(pattern: RegExp, limitMs?: number): Promise<RegExpExecArray>;
  /** SIGKILL. Idempotent. */
  stop(): void;
}

/** The Python with a torch for GPUs that the lane's preparation found. */
export const python = (): string => process.env['SOPHIA_GPU_PYTHON'] ?? 'python3';

export const programFile = (name: string): string => path.join(packageRoot(), 'test', 'real', 'gpu', name);

/** @param ready what it prints once it uses the GPU as it is told to */
export async function startProgram(name: string, args: readonly string[], ready: RegExp): Promise<Program> {
  const child = spawn(python(), [programFile(name), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let ended = false;
  let heard: () => void = () => undefined;
  const take = (chunk: Buffer): void => {
    output += chunk.toString('utf8');
    heard();
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  const end = (): void => {
    ended = true;
    heard();
  };
  child.once('close', end).once('error', end);
  const program: Program = {
    pid: child.pid ?? -1,
    process: child,
    output: () => output,
    async waitFor(pattern, limitMs = START_TIMEOUT_MS) {
      const endMs = performance.now() + limitMs;
      for (;;) {
        const found = pattern.exec(output);
        if (found !== null) return found;
        const leftMs = endMs - performance.now();
        if (ended || leftMs <= 0) {
          child.kill('SIGKILL');
          throw new Error(`${name} did not say ${String(pattern)}: ${output.slice(-2000)}`);
        }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, leftMs);
          heard = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
    stop: () => void child.kill('SIGKILL'),
  };
  await program.waitFor(ready);
  return program;
}
