/**
 * A foreign program as a child: in a process group of its own, so that whatever it starts ends with it, and told by the
 * kernel when this process is killed, where the system has the tool for that.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Program {
  readonly pid: number;
  /** Resolves when the program has ended. */
  readonly exited: Promise<void>;
  hasExited(): boolean;
  /** The last line of its output that says something. */
  lastWords(): string;
  /** SIGTERM to the program, and SIGKILL to its group after a while. */
  stop(): Promise<void>;
}

/** Groups that live; whatever way this process ends by itself, they end with it. */
const groups = new Set<number>();
process.once('exit', () => {
  for (const pid of groups) signalGroup(pid, 'SIGKILL');
});

const SETPRIV = '/usr/bin/setpriv';
const STOP_TIMEOUT_MS = 5000;
const MAX_WORDS_CHARS = 300;

function signalGroup(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name);
  } catch (error) {
    // A group that is gone is what was wanted.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

export function startProgram(
  command: string,
  args: readonly string[],
  logFile: string,
  env: NodeJS.ProcessEnv,
): Program {
  const log = openSync(logFile, 'a', 0o600);
  const bound = existsSync(SETPRIV);
  const child = spawn(bound ? SETPRIV : command, bound ? ['--pdeathsig', 'KILL', command, ...args] : [...args], {
    stdio: ['ignore', log, log],
    detached: true,
    env,
  });
  closeSync(log);
  let gone = false;
  const exited = new Promise<void>((resolve) => {
    const end = (): void => {
      gone = true;
      resolve();
    };
    child.once('exit', end);
    child.once('error', end);
  });
  const pid = child.pid ?? 0;
  if (pid !== 0) groups.add(pid);
  return {
    pid,
    exited,
    hasExited: () => gone,
    lastWords() {
      const lines = readFileSync(logFile, 'utf8')
        .split('\n')
        .filter((line) => line.trim() !== '');
      return (lines.at(-1) ?? 'it said nothing').slice(0, MAX_WORDS_CHARS);
    },
    async stop() {
      if (pid === 0) return;
      if (!gone) child.kill('SIGTERM');
      await Promise.race([exited, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
      signalGroup(pid, 'SIGKILL');
      await exited;
      groups.delete(pid);
    },
  };
}
