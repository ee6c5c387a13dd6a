/**
 * The processes of engines as the kernel shows them, found without asking the agent that is being judged: each process
 * of an engine inherits one variable that names the life of the engine, and its keeper works for a folder of that life.
 */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { descendantsOf, livingProcesses, type ProcessFacts } from '../../lib/io/processes.ts';

/** The agent puts this variable into the environment of every engine: `AGENT/ENGINE/INCARNATION`. */
const LIFE_VARIABLE = 'SOPHIA_ENGINE_LIFE=';

export interface MarkedProcess {
  readonly pid: number;
  readonly engine: string;
  readonly incarnation: number;
  readonly command: string;
  readonly isKeeper: boolean;
}

async function readProc(pid: number, file: string): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    // It has ended, or is another user's: it has nothing to tell.
    return '';
  }
}

async function commandOf(pid: number): Promise<string> {
  return (await readProc(pid, 'cmdline')).replaceAll('\0', ' ').trim();
}

async function lifeOf(pid: number): Promise<readonly [agent: string, engine: string, incarnation: number] | undefined> {
  const environment = (await readProc(pid, 'environ')).split('\0');
  const mark = environment.find((entry) => entry.startsWith(LIFE_VARIABLE))?.slice(LIFE_VARIABLE.length);
  const [agent, engine, incarnation] = mark?.split('/') ?? [];
  return agent === undefined || engine === undefined ? undefined : [agent, engine, Number(incarnation)];
}

/** What names the agent in the marks of its engines, read from one of them. @throws when the process has no mark */
export async function agentMark(enginePid: number): Promise<string> {
  const life = await lifeOf(enginePid);
  if (life === undefined) throw new Error(`process ${enginePid} carries no mark of an engine`);
  return life[0];
}

/** Every living keeper of an agent, and every living process of its engines. */
export async function markedProcesses(agentFolder: string, mark: string): Promise<MarkedProcess[]> {
  const found: MarkedProcess[] = [];
  const engines = path.join(agentFolder, 'engines');
  for (const { pid } of await livingProcesses()) {
    const command = await commandOf(pid);
    // A keeper does not inherit the mark; its only argument is the folder of the life that it keeps.
    const folder = command.split(' ').at(-1) ?? '';
    const kept = /^life-(\d+)$/.exec(path.basename(folder));
    const engine = path.basename(path.dirname(folder));
    if (kept !== null && folder === path.join(engines, engine, kept[0])) {
      found.push({ pid, engine, incarnation: Number(kept[1]), command, isKeeper: true });
      continue;
    }
    const life = await lifeOf(pid);
    if (life?.[0] === mark) found.push({ pid, engine: life[1], incarnation: life[2], command, isKeeper: false });
  }
  return found;
}

/** Processes that inherited this folder on their PATH, belong to no engine, and have lost whoever started them. */
export async function strayProcesses(programFolder: string): Promise<readonly { pid: number; command: string }[]> {
  const all = await livingProcesses();
  const family = new Set(descendantsOf(new Set([process.pid]), all).map(({ pid }) => pid));
  const stray: { pid: number; command: string }[] = [];
  for (const { pid } of all) {
    if (pid === process.pid || family.has(pid)) continue;
    const environment = await readProc(pid, 'environ');
    if (!environment.includes(programFolder) || environment.includes(LIFE_VARIABLE)) continue;
    stray.push({ pid, command: await commandOf(pid) });
  }
  return stray;
}

export interface EngineTree {
  readonly api: number;
  readonly keeper: number;
  /** Absent in an engine of one process. */
  readonly core?: number;
  readonly worker?: number;
}

/** The processes of the engine whose first process is `api`, by what they call themselves. */
export async function treeOf(api: number): Promise<EngineTree> {
  const all = await livingProcesses();
  const titled = async (title: string): Promise<number | undefined> => {
    for (const { pid } of descendantsOf(new Set([api]), all)) if ((await commandOf(pid)).startsWith(title)) return pid;
    return undefined;
  };
  const [core, worker] = [await titled('VLLM::EngineCore'), await titled('VLLM::Worker')];
  return {
    api,
    keeper: all.find(({ pid }) => pid === api)?.parent ?? 0,
    ...(core === undefined ? {} : { core }),
    ...(worker === undefined ? {} : { worker }),
  };
}

/** The children of a process whose command line holds a word, zombies left out. */
export async function childrenOf(parent: number, word: string): Promise<ProcessFacts[]> {
  const children: ProcessFacts[] = [];
  for (const facts of await livingProcesses())
    if (facts.parent === parent && (await commandOf(facts.pid)).includes(word)) children.push(facts);
  return children;
}

/** Open file descriptors of a process; undefined when it is gone. */
export async function openFiles(pid: number): Promise<number | undefined> {
  try {
    return (await readdir(`/proc/${pid}/fd`)).length;
  } catch {
    // It has ended.
    return undefined;
  }
}
