/** What several commands share of their command line: counts, words for people, Ctrl-C. */
import { InvalidArgumentError, Option } from 'commander';

/** Most characters of a reason. */
const MAX_REASON_CHARS = 512;

function whole(text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  return value;
}

export function countOption(flags: string, text: string, preset: number, max: number): Option {
  return new Option(flags, text).default(preset).argParser((value: string) => whole(value, 0, max));
}

/** Reads the index of a GPU. */
export const gpuIndex = (text: string): number => whole(text, 0, 255);

/** Reads the level of a sleep. */
export const sleepLevel = (text: string): number => whole(text, 1, 2);

export function reasonOption(): Option {
  return new Option('--reason <text>', 'why, for the journal').default('').argParser((text: string) => {
    if (text.length > MAX_REASON_CHARS) throw new InvalidArgumentError(`At most ${MAX_REASON_CHARS} characters.`);
    return text;
  });
}

/** Calls `task` on Ctrl-C, or when the process is asked to end; what it returns takes that back. */
export function onInterrupt(task: () => void): () => void {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, task);
  return () => {
    for (const signal of signals) process.off(signal, task);
  };
}
