/**
 * Starts the simulated engine as an agent would: its own process group, a Unix socket in a private folder, output in a
 * file. Nothing of it outlives the test.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const SIM_MAIN = fileURLToPath(new URL('../../../../agent/engines/sim/main.js', import.meta.url));

export interface SimProcess {
  readonly uds: string;
  readonly api: ChildProcess;
  readonly apiPid: number;
  /** Pids of the children that vLLM's names go by; read anew at each call. */
  corePid(): number;
  workerPid(): number;
  log(): string;
  /** Resolves with [code, signal] of the API process. */
  readonly exited: Promise<readonly [number | null, NodeJS.Signals | null]>;
}

interface Teardown {
  teardown(work: () => void | Promise<void>): void;
}

/** Starts with `flags` and waits for vLLM's last start-up line; `env` is added to a bare environment. */
export async function launchSim(
  t: Teardown,
  flags: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<SimProcess> {
  const sim = spawnSim(t, flags, env);
  for (let wait = 0; !sim.log().includes('Application startup complete.'); wait += 1) {
    if (wait > 500 || sim.api.exitCode !== null) throw new Error(`the simulated engine did not start: ${sim.log()}`);
    await sleep(20);
  }
  return sim;
}

/** As launchSim, without waiting. */
export function spawnSim(t: Teardown, flags: readonly string[], env: Record<string, string> = {}): SimProcess {
  const folder = mkdtempSync(join(tmpdir(), 'sim-'));
  const uds = join(folder, 'engine.sock');
  const logFile = join(folder, 'log');
  const out = openSync(logFile, 'a');
  const api = spawn(
    process.execPath,
    [
      SIM_MAIN,
      ...(flags.includes('--host') ? [] : ['--uds', uds]),
      '--served-model-name',
      'sim',
      '--sim-orphan-ttl-s',
      '60',
      ...flags,
    ],
    {
      detached: true,
      stdio: ['ignore', out, out],
      env: { PATH: '/usr/bin:/bin', ...env },
    },
  );
  const exited = new Promise<readonly [number | null, NodeJS.Signals | null]>((resolve) => {
    api.once('exit', (code, signal) => resolve([code, signal]));
  });
  const apiPid = api.pid ?? 0;
  t.teardown(async () => {
    try {
      process.kill(-apiPid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    await exited;
    rmSync(folder, { recursive: true, force: true });
  });
  const named = (title: string): number => {
    const found = groupMembers(apiPid).find((member) => member.title.startsWith(title));
    if (found === undefined) throw new Error(`no ${title} in the group`);
    return found.pid;
  };
  return {
    uds,
    api,
    apiPid,
    corePid: () => named('VLLM::EngineCore'),
    workerPid: () => named('VLLM::Worker'),
    log: () => readFileSync(logFile, 'utf8'),
    exited,
  };
}

export interface Member {
  readonly pid: number;
  readonly ppid: number;
  readonly title: string;
}

/** The living processes of a process group (zombies are not counted), from /proc. */
export function groupMembers(pgid: number): Member[] {
  const members: Member[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const [state, ppid, group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (Number(group) !== pgid || state === 'Z') continue;
      const title = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      members.push({ pid: Number(name), ppid: Number(ppid), title });
    } catch (error) {
      // It ended while it was looked at.
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return members;
}

/** Waits until `holds`, at most `limitMs`; returns the milliseconds it took, and rejects beyond. */
export async function eventually(holds: () => boolean | Promise<boolean>, limitMs: number): Promise<number> {
  const startMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - startMs > limitMs) throw new Error(`it did not come true within ${limitMs} ms`);
    await sleep(15);
  }
  return performance.now() - startMs;
}

/** The value of a metric without labels but vLLM's two. */
export function metric(text: string, name: string): number {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name}{`));
  if (line === undefined) throw new Error(`no metric ${name}`);
  return Number(line.slice(line.lastIndexOf(' ') + 1));
}
