/** What the agent wrote down about an engine, read from its journal on disk, as a person would after a bad night. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface JournalLine {
  readonly incarnation: number;
  readonly state: string;
  readonly reason: string;
  readonly message: string;
}

/** The agent writes a journal again some seconds after its disk was full. */
const WRITTEN_WITHIN_MS = 15_000;
const POLL_MS = 200;

async function linesOf(file: string): Promise<JournalLine[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  // What follows the last newline is a line that is just being written.
  const whole = text.split('\n').slice(0, -1);
  return whole.map((line) => JSON.parse(line) as JournalLine);
}

/** The entries of an engine, oldest first, both files together. @throws SyntaxError when a whole line is no JSON */
export async function readJournal(agentFolder: string, engine: string): Promise<JournalLine[]> {
  const file = path.join(agentFolder, 'engines', engine, 'journal.ndjson');
  return [...(await linesOf(`${file}.1`)), ...(await linesOf(file))];
}

/** Waits for an entry of one life of the engine with one of these reasons; gives those of that life when none comes. */
export async function findInJournal(
  agentFolder: string,
  engine: string,
  incarnation: number,
  reasons: readonly string[],
): Promise<{ readonly found: boolean; readonly seen: readonly string[] }> {
  const endMs = performance.now() + WRITTEN_WITHIN_MS;
  for (;;) {
    const lines = (await readJournal(agentFolder, engine)).filter((line) => line.incarnation === incarnation);
    const found = lines.some((line) => reasons.includes(line.reason));
    if (found || performance.now() > endMs) return { found, seen: lines.map((line) => line.reason) };
    await sleep(POLL_MS);
  }
}
