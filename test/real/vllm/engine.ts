/**
 * Starts and stops a real vLLM for the tests in this folder, without the project's own agent: what the agent assumes
 * of vLLM is tested here against vLLM itself, so nothing of ours may stand between.
 *
 * One vLLM is a tree of processes (API server, resource tracker, EngineCore, Worker). The API server's death leaves the
 * others running, so the whole tree gets a process group of its own, and stopping means that the group is empty.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Address, exchange } from './wire_capture.ts';

export type VllmOptions = {
  /** The Python environment that prepare.sh printed as VENV. */
  readonly venv: string;
  /** The model folder that prepare.sh printed as MODEL. */
  readonly model: string;
  /** Where vLLM writes its output; its temporary files go to the same folder. */
  readonly logFile: string;
  /** A socket path is served with --uds, anything else on a free loopback port. */
  readonly socketPath?: string;
  /** The core that computes; two engines on one core halve each other. */
  readonly core?: number;
  readonly extraArgs?: readonly string[];
};

export type Vllm = {
  readonly address: Address;
  /** Also the process group: vLLM is started as the leader of its own. */
  readonly pid: number;
  readonly log: () => string;
  /** Kills the whole group and returns when no process of it is left. */
  readonly kill: () => Promise<void>;
};

export type GroupProcess = { readonly pid: number; readonly parent: number; readonly name: string };

const READY_WITHIN_MS = 600_000;

/** The arguments of `vllm serve` for this lane; float32 because its greedy answers do not depend on the batch. */
export function serveArguments(model: string, address: Address, extra: readonly string[] = []): string[] {
  const where = 'path' in address ? ['--uds', address.path] : ['--host', address.host, '--port', String(address.port)];
  const shape = ['--served-model-name', 'smollm2', '--max-model-len', '2048', '--dtype', 'float32', '--enforce-eager'];
  return ['serve', model, ...where, ...shape, ...extra];
}

/** Every living process of a group, oldest first; zombies do not count, they hold nothing. */
export function groupProcesses(group: number): GroupProcess[] {
  const found: GroupProcess[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const process = readProcess(Number(entry));
    if (process !== undefined && process.group === group && process.state !== 'Z') found.push(process);
  }
  return found.sort((left, right) => left.pid - right.pid);
}

function readProcess(pid: number): (GroupProcess & { group: number; state: string }) | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command stands in parentheses and may itself contain some, so the fields are counted from the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const name = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return { pid, parent: Number(fields[1]), group: Number(fields[2]), state: fields[0] ?? '?', name };
  } catch (error) {
    // A process may end between the listing and the read; that one is simply not there any more.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** The one process of the tree whose title is `VLLM::<role>`. */
export function processOfRole(engine: Vllm, role: 'EngineCore' | 'Worker'): GroupProcess {
  const found = groupProcesses(engine.pid).find((process) => process.name.startsWith(`VLLM::${role}`));
  if (found === undefined) throw new Error(`vLLM has no ${role} process`);
  return found;
}

/** A loopback port that was free a moment ago: vLLM cannot be asked for port 0, because it does not tell the outcome. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('the probe socket has no port');
  return address.port;
}

/**
 * Starts vLLM and returns when it answers /health with 200.
 * Throws, with the end of its log, when it exits first or is not ready within ten minutes; nothing is left running.
 */
export async function startVllm(options: VllmOptions): Promise<Vllm> {
  const address: Address =
    options.socketPath === undefined ? { host: '127.0.0.1', port: await freePort() } : { path: options.socketPath };
  const output = openSync(options.logFile, 'w');
  const child = spawn(join(options.venv, 'bin/vllm'), serveArguments(options.model, address, options.extraArgs), {
    detached: true,
    stdio: ['ignore', output, output],
    env: {
      ...process.env,
      PATH: `${join(options.venv, 'bin')}:${process.env.PATH}`,
      // A killed vLLM leaves its rendezvous files behind; here they go with the test's own folder.
      TMPDIR: dirname(options.logFile),
      HF_HUB_OFFLINE: '1',
      TRANSFORMERS_OFFLINE: '1',
      VLLM_NO_USAGE_STATS: '1',
      DO_NOT_TRACK: '1',
      VLLM_CPU_KVCACHE_SPACE: '1',
      VLLM_CPU_OMP_THREADS_BIND: String(options.core ?? 0),
    },
  });
  closeSync(output);
  const pid = child.pid;
  if (pid === undefined) throw new Error(`vllm could not be started from ${options.venv}`);
  rememberGroup(pid);
  let exit: string | undefined;
  child.once('exit', (code, signal) => {
    exit = `exit code ${code}, signal ${signal}`;
  });
  const engine: Vllm = { address, pid, log: () => readFileSync(options.logFile, 'utf8'), kill: () => killGroup(pid) };
  const deadline = Date.now() + READY_WITHIN_MS;
  while (Date.now() < deadline && exit === undefined) {
    if ((await healthStatus(address)) === 200) return engine;
    await sleep(250);
  }
  await engine.kill();
  throw new Error(`vLLM was not ready: ${exit ?? 'time is up'}\n${engine.log().slice(-2000)}`);
}

/** The status of GET /health, or the error code when nothing answers (ECONNREFUSED, ENOENT, ...). */
export async function healthStatus(address: Address): Promise<number | string> {
  try {
    const { raw } = await exchange(address, { method: 'GET', path: '/health', limitMs: 5_000 });
    return Number(raw.toString('latin1').split(' ')[1]);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

/** The shared memory segments a process has mapped; vLLM's span 160 to 240 MiB each (few pages are touched) and outlive a SIGKILL. */
export function sharedMemoryOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8').match(/\/dev\/shm\/(?:psm_|sem\.mp-)[\w-]+/g) ?? [];
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}

async function killGroup(group: number): Promise<void> {
  const segments = new Set(groupProcesses(group).flatMap((process) => sharedMemoryOf(process.pid)));
  const deadline = Date.now() + 20_000;
  while (groupProcesses(group).length > 0) {
    if (Date.now() > deadline) throw new Error(`process group ${group} survives SIGKILL`);
    try {
      process.kill(-group, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    await sleep(50);
  }
  for (const segment of segments) rmSync(segment, { force: true });
  forgetGroup(group);
}

/** `.ci/real` kills what is noted here, should this process die before it could do so itself. */
function rememberGroup(group: number): void {
  const folder = process.env.SOPHIA_REAL_GROUPS;
  if (folder !== undefined) writeFileSync(join(folder, String(group)), '');
}

function forgetGroup(group: number): void {
  const folder = process.env.SOPHIA_REAL_GROUPS;
  if (folder !== undefined) rmSync(join(folder, String(group)), { force: true });
}
