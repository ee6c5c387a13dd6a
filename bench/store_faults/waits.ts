/** Waiting for a condition with a limit, and a list of what is to be cleared up. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Owner } from './postgres.ts';

const POLL_MS = 20;

/** @throws when the condition does not hold within the limit */
export async function until(condition: () => boolean | Promise<boolean>, what: string, limitMs: number): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`Waited ${limitMs / 1000} s for ${what}.`);
    await sleep(POLL_MS);
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const INTERRUPTED = 130;

/** Runs `work`, and afterwards, also after Ctrl-C, everything that it asked to be done, the last first. */
export async function withCleanUp<Value>(work: (owner: Owner) => Promise<Value>): Promise<Value> {
  const tasks: (() => unknown)[] = [];
  const failures: unknown[] = [];
  const clear = async (): Promise<void> => {
    for (let task = tasks.pop(); task !== undefined; task = tasks.pop()) {
      try {
        await task();
      } catch (thrown) {
        failures.push(thrown);
      }
    }
  };
  const onSignal = (): void => void clear().finally(() => process.exit(INTERRUPTED));
  for (const name of SIGNALS) process.once(name, onSignal);
  let value: Value;
  try {
    value = await work({ teardown: (task) => void tasks.push(task) });
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
    await clear();
  }
  if (failures.length > 0) throw new AggregateError(failures, `not all was cleared up: ${String(failures[0])}`);
  return value;
}
