/** What the program and its scheduler tell each other, in two files that are replaced as a whole. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import type { HistoryEntry, RolloutEvent } from '../../scheduler/core/rollout/contract.ts';
import type { DeploymentSpec } from '../../scheduler/core/resources/contract.ts';

export const WANTED_FILE = 'wanted.json';
export const STATUS_FILE = 'status.json';

export interface Wanted {
  readonly deployment: string;
  readonly spec: DeploymentSpec;
}

export interface Status {
  /** The revision that the newest spec has. */
  readonly revision: string;
  /** The proven one. */
  readonly current: string | null;
  readonly isOver: boolean;
  readonly last: HistoryEntry | null;
  readonly lines: readonly string[];
  readonly events: readonly RolloutEvent[];
}

export async function writeWhole(file: string, value: unknown): Promise<void> {
  const made = `${file}.new`;
  await writeFile(made, JSON.stringify(value), { mode: 0o600 });
  await rename(made, file);
}

/** @returns undefined when there is no such file yet */
export async function readWhole<Value>(file: string): Promise<Value | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Value;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
