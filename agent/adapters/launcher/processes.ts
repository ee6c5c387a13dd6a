/** Processes and process groups as Linux shows them under /proc. */
import { readdir, readFile } from 'node:fs/promises';

interface ProcessFacts {
  readonly pgid: number;
  readonly startTicks: string;
  readonly state: string;
}

async function readFacts(pid: number): Promise<ProcessFacts | undefined> {
  let text: string;
  try {
    text = await readFile(`/proc/${pid}/stat`, 'latin1');
  } catch {
    // The process is gone, which is the answer.
    return undefined;
  }
  // The second field is the program's name in parentheses and may hold anything, so fields are counted after it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, , pgid] = fields;
  const startTicks = fields[19];
  if (state === undefined || pgid === undefined || startTicks === undefined) return undefined;
  return { state, pgid: Number(pgid), startTicks };
}

/** When the process started, in clock ticks since boot; undefined when there is none (a zombie counts as none). */
export async function processStartTicks(pid: number): Promise<string | undefined> {
  const facts = await readFacts(pid);
  return facts === undefined || facts.state === 'Z' ? undefined : facts.startTicks;
}

/** Live members of a process group, zombies left out. */
export async function groupMembers(pgid: number): Promise<number[]> {
  const members: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const facts = await readFacts(Number(name));
    if (facts === undefined || facts.pgid !== pgid || facts.state === 'Z') continue;
    members.push(Number(name));
  }
  return members;
}

/** Whether the process was started with this variable in its environment. */
export async function hasVariable(pid: number, name: string, value: string): Promise<boolean> {
  try {
    return (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').includes(`${name}=${value}`);
  } catch {
    // Gone, or another user's: then it is not ours.
    return false;
  }
}

function send(target: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(target, name);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** @returns false when the group has no member left */
export const signalGroup = (pgid: number, name: NodeJS.Signals): boolean => send(-pgid, name);

/** @returns false when there is no such process */
export const signalProcess = (pid: number, name: NodeJS.Signals): boolean => send(pid, name);
