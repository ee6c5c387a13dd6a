/**
 * What runs on this machine, read from /proc, so that a test can say that nothing of it was left behind. A process
 * belongs to a fleet when it descends from its processes, works in its folder or names that folder in its arguments.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

interface ProcessFacts {
  readonly pid: number;
  readonly parent: number;
  /** Clock ticks since the boot: with the pid it names one process for ever. */
  readonly startedAt: string;
  readonly state: string;
  readonly command: string;
  readonly folder: string;
}

/** Names one process, also after its id was given to another. */
export interface ProcessName {
  readonly pid: number;
  readonly startedAt: string;
}

const GONE = new Set(['ENOENT', 'ESRCH', 'EACCES']);
/** The kernel takes a moment to bury a killed process. */
const GONE_WITHIN_MS = 2_000;

function factsOf(pid: number): ProcessFacts | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The program's name stands in parentheses and may contain some, so the fields are counted from the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    const state = fields[0] ?? '?';
    const folder = state === 'Z' ? '' : readlinkSync(`/proc/${pid}/cwd`);
    return { pid, parent: Number(fields[1]), startedAt: fields[19] ?? '', state, command, folder };
  } catch (error) {
    // It ended between the listing and the read, or is another user's: in both cases none of ours.
    if (GONE.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** Everything that runs and holds something; zombies hold nothing. */
function allProcesses(): ProcessFacts[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => factsOf(Number(name)))
    .filter((facts): facts is ProcessFacts => facts !== undefined && facts.state !== 'Z');
}

/** The given processes and all that descend from them. */
export function processesOf(roots: readonly number[]): ProcessName[] {
  const all = allProcesses();
  const family = new Set(roots);
  for (let grew = true; grew; ) {
    const children = all.filter((facts) => family.has(facts.parent) && !family.has(facts.pid));
    for (const child of children) family.add(child.pid);
    grew = children.length > 0;
  }
  return all.filter((facts) => family.has(facts.pid));
}

/**
 * The processes that still run although the fleet whose folder is `root` was stopped, each as one line. They are
 * killed, so that one failed test does not spoil the next.
 */
export async function leftBehind(root: string, started: readonly ProcessName[]): Promise<string[]> {
  const known = new Set(started.map(({ pid, startedAt }) => `${pid}@${startedAt}`));
  const find = (): ProcessFacts[] =>
    allProcesses().filter(
      ({ pid, startedAt, folder, command }) =>
        pid !== process.pid &&
        (known.has(`${pid}@${startedAt}`) ||
          folder === root ||
          folder.startsWith(`${root}/`) ||
          command.includes(root)),
    );
  const endMs = Date.now() + GONE_WITHIN_MS;
  let left = find();
  while (left.length > 0 && Date.now() < endMs) {
    await sleep(50);
    left = find();
  }
  for (const { pid } of left) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  return left.map(({ pid, parent, command }) => `${pid} (parent ${parent}): ${command}`);
}

/** Processes that name a folder in their arguments. */
export const pidsNaming = (folder: string): number[] =>
  allProcesses()
    .filter(({ command }) => command.split(' ').includes(folder))
    .map(({ pid }) => pid);
