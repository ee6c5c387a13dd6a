/**
 * Child processes for tests: everything they print is kept (up to a bound), waiting has a deadline, and none outlives
 * its test, however the test ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ChildOptions {
  readonly command?: string;
  readonly args: readonly string[];
  /** Added to a small environment (PATH, HOME, and what coverage needs), not to the whole of the parent's. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Opens an IPC channel, as `sophia up` does for its children. */
  readonly ipc?: boolean;
}

export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Child {
  readonly pid: number;
  readonly process: ChildProcess;
  readonly exited: Promise<ChildExit>;
  stdout(): string;
  stderr(): string;
  /** Resolves with the match in the output (both streams); throws with that output after `timeoutMs` or at the exit. */
  waitFor(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL after `timeoutMs`; resolves when the process is gone. */
  stop(timeoutMs?: number): Promise<ChildExit>;
}

/** The part of a tap test that is used. */
interface Owner {
  teardown(task: () => unknown): void;
}

const LARGEST_OUTPUT = 4_000_000;
const INHERITED = /^(PATH|HOME|TMPDIR|LANG|NODE_V8_COVERAGE|NODE_OPTIONS|NODE_COMPILE_CACHE|TAP.*|_TAPJS.*)$/;

/** The environment of a child: nothing of the parent's that could change what is tested. */
export function childEnv(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const inherited = Object.entries(process.env).filter(([name, value]) => INHERITED.test(name) && value !== undefined);
  return { ...(Object.fromEntries(inherited) as Record<string, string>), ...extra };
}

async function drained(stream: Readable | null): Promise<void> {
  if (stream === null || stream.closed) return;
  await new Promise<void>((resolve) => stream.once('close', resolve));
}

/** Starts a child (this Node by default) that `owner` stops at its end. */
export function startChild(owner: Owner, options: ChildOptions): Child {
  const child = spawn(options.command ?? process.execPath, [...options.args], {
    cwd: options.cwd,
    env: childEnv(options.env),
    stdio: options.ipc === true ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    stdout = (stdout + chunk).slice(-LARGEST_OUTPUT);
  });
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr = (stderr + chunk).slice(-LARGEST_OUTPUT);
  });
  let exit: ChildExit | undefined;
  const exited = new Promise<ChildExit>((resolve, reject) => {
    child.on('error', reject);
    // Not the event "close": a grandchild that holds the pipes would keep it away, and so does an IPC channel that this
    // side has closed. What the child itself wrote is read within a moment.
    child.on('exit', (code, signal) => {
      void Promise.race([Promise.all([drained(child.stdout), drained(child.stderr)]), sleep(500)]).then(() => {
        exit = { code, signal };
        resolve(exit);
      });
    });
  });
  const stop = async (timeoutMs = 5_000): Promise<ChildExit> => {
    if (exit === undefined) child.kill('SIGTERM');
    const killer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    try {
      return await exited;
    } finally {
      clearTimeout(killer);
    }
  };
  owner.teardown(() => stop());
  return {
    pid: child.pid ?? -1,
    process: child,
    exited,
    stdout: () => stdout,
    stderr: () => stderr,
    async waitFor(pattern, timeoutMs = 10_000) {
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        const match = pattern.exec(stdout) ?? pattern.exec(stderr);
        if (match !== null) return match;
        if (exit !== undefined || Date.now() > deadline) {
          const state = exit === undefined ? `after ${timeoutMs} ms` : `at the exit (${exit.code ?? exit.signal})`;
          throw new Error(`No ${String(pattern)} ${state}.\nstdout: ${stdout}\nstderr: ${stderr}`);
        }
        await sleep(10);
      }
    },
    signal: (signal) => child.kill(signal),
    stop,
  };
}

/** Whether a process with this id exists (zombies count). */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Waits until `condition` holds; throws after `timeoutMs`, naming `what`. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 5_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Not within ${timeoutMs} ms: ${what}`);
    await sleep(10);
  }
}
