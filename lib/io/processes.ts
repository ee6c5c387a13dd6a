/** Processes as Linux shows them under /proc: what a keeper and its agent need to find, prove and kill a tree. */
import { readdir, readFile, readlink } from 'node:fs/promises';

export interface ProcessFacts {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** Field 22 of proc_pid_stat(5), clock ticks since boot: with the pid it names one process until the host goes down. */
  readonly startTicks: string;
  /** A zombie holds nothing and counts as dead, unless only its first thread has ended. */
  readonly alive: boolean;
}

async function readOrGone(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'latin1');
  } catch {
    // The process is gone, or another user's: in both cases it is none of ours.
    return undefined;
  }
}

/** Undefined when there is no such process. */
export async function processFacts(pid: number): Promise<ProcessFacts | undefined> {
  const text = await readOrGone(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The second field is the program's name in parentheses and may hold anything, so fields are counted after it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent, group, session] = fields;
  const startTicks = fields[19];
  if (startTicks === undefined) return undefined;
  const alive = (state !== 'Z' && state !== 'X') || Number(fields[17]) > 1;
  return { pid, parent: Number(parent), group: Number(group), session: Number(session), startTicks, alive };
}

/** When a living process started; undefined when there is none. */
export async function processStartTicks(pid: number): Promise<string | undefined> {
  const facts = await processFacts(pid);
  return facts?.alive === true ? facts.startTicks : undefined;
}

/** Whether exactly this process lives. */
export const isProcess = async (pid: number, startTicks: string): Promise<boolean> =>
  (await processStartTicks(pid)) === startTicks;

/** Every living process of this host. */
export async function livingProcesses(): Promise<ProcessFacts[]> {
  const living: ProcessFacts[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const facts = await processFacts(Number(name));
    if (facts?.alive === true) living.push(facts);
  }
  return living;
}

/** The processes of the list that descend from `roots`, these left out. */
export function descendantsOf(roots: ReadonlySet<number>, all: readonly ProcessFacts[]): ProcessFacts[] {
  const family = new Set(roots);
  for (let grew = true; grew; ) {
    const children = all.filter(({ pid, parent }) => family.has(parent) && !family.has(pid));
    for (const child of children) family.add(child.pid);
    grew = children.length > 0;
  }
  return all.filter(({ pid }) => family.has(pid) && !roots.has(pid));
}

/** Live members of a process group. */
export async function groupMembers(group: number): Promise<number[]> {
  return (await livingProcesses()).filter((facts) => facts.group === group).map(({ pid }) => pid);
}

/** Living processes whose last argument is this one. */
export async function processesFor(argument: string): Promise<number[]> {
  const wanted = Buffer.from(argument, 'utf8').toString('latin1');
  const found: number[] = [];
  for (const { pid } of await livingProcesses()) {
    const command = await readOrGone(`/proc/${pid}/cmdline`);
    // Each argument ends with a NUL.
    if (command?.split('\0').at(-2) === wanted) found.push(pid);
  }
  return found;
}

/** Whether the process was started with this variable in its environment. */
export async function hasVariable(pid: number, name: string, value: string): Promise<boolean> {
  const environment = await readOrGone(`/proc/${pid}/environ`);
  return environment?.split('\0').includes(Buffer.from(`${name}=${value}`, 'utf8').toString('latin1')) === true;
}

/**
 * Whether it is the process that removes the shared memory and the semaphores of a Python engine once all others of its
 * tree are gone (CPython, Lib/multiprocessing/resource_tracker.py). Killed with them it leaves 200 MiB and more behind.
 */
export async function isTidier(pid: number): Promise<boolean> {
  return (await readOrGone(`/proc/${pid}/cmdline`))?.includes('multiprocessing.resource_tracker') === true;
}

/** The folder in which the process works; undefined when it is gone or another user's. */
export async function workingFolder(pid: number): Promise<string | undefined> {
  return readlink(`/proc/${pid}/cwd`).catch(() => undefined);
}

/** Names one run of this host's kernel; empty where the kernel does not tell. */
export async function bootId(): Promise<string> {
  return ((await readOrGone('/proc/sys/kernel/random/boot_id')) ?? '').trim();
}

/** @returns false when there is no such process */
export function signalProcess(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}
