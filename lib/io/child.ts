/**
 * A process of the fleet as a child of ours (of `sophia up`, a benchmark or a test): it writes its log to a file, tells
 * over the IPC channel when it is ready, and stops by itself when that channel breaks, so that even a killed parent
 * leaves nothing behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { CodedError, type ErrorCode } from '../errors.ts';

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** The child's `ready` message. @throws CodedError with the child's own sentence when it ends before */
  readonly ready: Promise<Record<string, unknown>>;
  /** Resolves with the exit code (128 + signal number when killed). */
  readonly exited: Promise<number>;
  /** SIGTERM, then SIGKILL of its process group after `timeoutMs`. */
  stop(timeoutMs: number): Promise<void>;
  /** A second SIGTERM, which forces: the process ends what it started at once instead of waiting for streams. */
  forceStop(): void;
  readonly logFile: string;
}

const LAST_LINES = 5;

/** What a process that ended with code 2 said about its configuration, out of its log. */
function lastWords(logFile: string): string {
  const lines = readFileSync(logFile, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '');
  const sentences = lines.filter((line) => !line.startsWith('{'));
  return (sentences.length > 0 ? sentences : lines).slice(-LAST_LINES).join('\n');
}

/** Ends a whole process group; a group that is already gone is what was wanted. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

export function startChild(
  name: string,
  main: string,
  args: readonly string[],
  logFile: string,
  env: NodeJS.ProcessEnv,
): Child {
  const log = openSync(logFile, 'w', 0o600);
  // A group of its own: Ctrl-C reaches the parent alone, which then stops its children in order.
  const child: ChildProcess = spawn(process.execPath, ['--enable-source-maps', main, ...args], {
    stdio: ['ignore', log, log, 'ipc'],
    detached: true,
    env,
  });
  closeSync(log);
  const exited = new Promise<number>((resolve) => {
    child.once('exit', (code) => resolve(code ?? 137));
    child.once('error', () => resolve(1));
  });
  const ready = new Promise<Record<string, unknown>>((resolve, reject) => {
    child.on('message', (message: unknown) => {
      const body = message as { type?: unknown };
      if (body.type === 'ready') resolve(message as Record<string, unknown>);
    });
    void exited.then((code) => {
      const words = lastWords(logFile);
      const error: ErrorCode = code === 2 ? 'cannot_start' : 'internal';
      reject(
        new CodedError(
          error,
          `The ${name} ended before it was ready: ${words || `exit code ${code}`} (log: ${logFile})`,
        ),
      );
    });
  });
  ready.catch(() => undefined);
  return {
    name,
    pid: child.pid ?? -1,
    ready,
    exited,
    async stop(timeoutMs) {
      child.kill('SIGTERM');
      const timer = setTimeout(() => killGroup(child.pid as number), timeoutMs);
      await exited;
      clearTimeout(timer);
    },
    forceStop: () => {
      child.kill('SIGTERM');
    },
    logFile,
  };
}
