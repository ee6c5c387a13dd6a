/**
 * Finds and kills the tree of an engine from outside, without being its parent: for the agent when a keeper is dead,
 * and for the keeper that runs on Node, which cannot be a subreaper. An orphan then belongs to init, so that descent
 * proves nothing; the proof is a variable that every process of the tree inherits, or the engine's session together
 * with its private folder. What has neither is left alone: a number alone may have been given to a stranger.
 */
import {
  descendantsOf,
  hasVariable,
  isProcess,
  isTidier,
  livingProcesses,
  type ProcessFacts,
  signalProcess,
  workingFolder,
} from './processes.ts';

export interface TreeProof {
  /** The variable and the value that name one life of one engine. */
  readonly variable: string;
  readonly mark: string;
  /** Processes of ours whose descendants belong to the tree, while they themselves do not: keepers. */
  readonly roots: readonly number[];
  /** Processes of the tree that are known by pid and start time. */
  readonly known: readonly { readonly pid: number; readonly startTicks: string }[];
  /** The engine's first process led a session of this number, and worked in this folder. */
  readonly session?: { readonly id: number; readonly folder: string };
}

export interface SweepResult {
  /** How many processes were killed. */
  readonly killed: number;
  /** What still lives at the end: it hangs inside the kernel. */
  readonly left: readonly number[];
}

const FIRST_PAUSE_MS = 4;
const LONGEST_PAUSE_MS = 250;
/** What tidies up after the others gets this long to do so. */
const TIDY_LIMIT_MS = 2000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function isMember(facts: ProcessFacts, proof: TreeProof): Promise<boolean> {
  const { session, known } = proof;
  if (known.some(({ pid, startTicks }) => pid === facts.pid && startTicks === facts.startTicks)) return true;
  if (session !== undefined && facts.session === session.id && (await workingFolder(facts.pid)) === session.folder)
    return true;
  return hasVariable(facts.pid, proof.variable, proof.mark);
}

/** Every living process of the tree. */
export async function findTree(proof: TreeProof): Promise<ProcessFacts[]> {
  const all = (await livingProcesses()).filter(({ pid }) => pid !== process.pid);
  const roots = new Set(proof.roots);
  const members = new Set(descendantsOf(roots, all).map(({ pid }) => pid));
  for (const facts of all)
    if (!members.has(facts.pid) && !roots.has(facts.pid) && (await isMember(facts, proof))) members.add(facts.pid);
  for (const { pid } of descendantsOf(members, all)) if (!roots.has(pid)) members.add(pid);
  return all.filter(({ pid }) => members.has(pid));
}

/**
 * SIGKILL for everything of the tree, again and again until nothing is left or `limitMs` has passed. What was killed is
 * known by its number from then on: a process that is on its way out has neither variables nor a folder to prove itself
 * by, and may hold memory of a GPU for a while yet.
 */
export async function sweepTree(proof: TreeProof, limitMs: number): Promise<SweepResult> {
  const killed = new Map<string, ProcessFacts>();
  const tidyUntilMs = performance.now() + TIDY_LIMIT_MS;
  const endMs = performance.now() + limitMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
    const tree = await findTree({ ...proof, known: [...proof.known, ...killed.values()] });
    if (tree.length === 0 || performance.now() > endMs)
      return { killed: killed.size, left: tree.map(({ pid }) => pid) };
    for (const facts of tree) {
      const { pid, startTicks } = facts;
      if (performance.now() < tidyUntilMs && (await isTidier(pid))) continue;
      killed.set(`${pid}@${startTicks}`, facts);
      // Looked at once more, for the number may have changed its owner since the list was made.
      if (await isProcess(pid, startTicks)) signalProcess(pid, 'SIGKILL');
    }
    await pause(pauseMs);
  }
}
