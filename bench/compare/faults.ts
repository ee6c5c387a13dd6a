/**
 * The two faults of the comparison: an engine that is killed again and again, and one that stops without a word. Each
 * contestant meets them alone, with engines of its own: ours with those that its agent supervises, a foreign router with
 * the same ones that are started again for it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type FaultFigures, type FaultLoad, startFaultClients } from './fault_clients.ts';
import type { Contestant } from './contestants.ts';

export interface FaultRow extends FaultFigures {
  readonly router: string;
  readonly fault: 'kill' | 'hang';
  readonly engines: number;
  readonly faults: number;
}

/** What strikes engines, by their number. */
export interface Victims {
  readonly count: number;
  /** kill -9 of all processes of an engine, which comes back by itself. */
  kill(index: number): Promise<void>;
  /** The first process of an engine. */
  pid(index: number): Promise<number>;
  /** Stops all processes of an engine; the result lets them go on. */
  freeze(index: number): Promise<() => void>;
}

export interface FaultPlan {
  readonly load: FaultLoad;
  readonly seconds: number;
  readonly everyMs: number;
  readonly freezeMs: number;
}

/** Streams run so long before the first fault. */
const LEAD_MS = 3000;

/** Kills one engine after another for `seconds`. */
export async function killRun(contestant: Contestant, victims: Victims, plan: FaultPlan): Promise<FaultRow> {
  const clients = startFaultClients(contestant, plan.load);
  const endMs = performance.now() + plan.seconds * 1000;
  let faults = 0;
  let nextMs = performance.now() + LEAD_MS;
  while (nextMs < endMs) {
    await sleep(Math.max(0, nextMs - performance.now()));
    await victims.kill(faults % victims.count);
    faults++;
    nextMs += plan.everyMs;
  }
  await sleep(Math.max(0, endMs - performance.now()));
  return { router: contestant.name, fault: 'kill', engines: victims.count, faults, ...(await clients.stop()) };
}

/** Stops one engine for `freezeMs`, and lets the rest of the streams end. */
export async function hangRun(contestant: Contestant, victims: Victims, plan: FaultPlan): Promise<FaultRow> {
  const clients = startFaultClients(contestant, plan.load);
  await sleep(LEAD_MS);
  const thaw = await victims.freeze(0);
  await sleep(plan.freezeMs);
  const figures = await clients.stop();
  thaw();
  return { router: contestant.name, fault: 'hang', engines: victims.count, faults: 1, ...figures };
}
