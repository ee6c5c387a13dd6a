/** The clients of the run: streams at the doors, and writers that change deployments of their own without a pause. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { readStream, type Target } from '../streams/client.ts';
import { asksOf } from '../streams/prompts.ts';
import { deployment, sendChange } from './admin_http.ts';
import type { Change } from './history.ts';

export const MODEL = 'store-faults';
/** Begins the ids of the writers' changes, which stand in the log as the reasons of the events. */
export const ID_PREFIX = 'change-';
const STREAM_LIMIT_MS = 120_000;
const SHOWN = 5;
/** Writer 0 starts real engines, slowly; those of the others have no replicas. */
const PAUSES_MS = { real: 1500, paper: 120 };

type TargetOf = (index: number) => Target;

export class Streams {
  finished = 0;
  failed = 0;
  reconnects = 0;
  #isOver = false;
  readonly #running: Promise<void>[];

  /** @param target of the scheduler of a client */
  constructor(target: TargetOf, count: number, tokens: number) {
    const asks = asksOf(MODEL, tokens);
    this.#running = Array.from({ length: count }, async (_, index) => {
      for (let turn = index; !this.#isOver; turn++) {
        const idempotencyKey = randomBytes(12).toString('hex');
        const options = { idempotencyKey, limitMs: STREAM_LIMIT_MS };
        const result = await readStream(target(index), asks[turn % asks.length] as (typeof asks)[0], options);
        this.finished += 1;
        this.reconnects += result.reconnects;
        if (result.ok) continue;
        this.failed += 1;
        if (this.failed <= SHOWN) process.stderr.write(`stream ${index}, turn ${turn}: ${result.why}\n`);
        await sleep(100);
      }
    });
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }
}

/** The life of one deployment of a writer: what it has after each change; the last one deletes it. */
const lifeOf = (isReal: boolean, turn: number): readonly (number | undefined)[] => {
  const [one, two] = isReal ? [1, 2] : [0, 0];
  // Each fifth stays, so that something is left to be compared at the end.
  const end = turn % 5 === 4 && !isReal ? [] : [undefined];
  return [one, two, one, ...end];
};

export class Writers {
  readonly changes: Change[] = [];
  readonly codes = new Map<string, number>();
  #isOver = false;
  #next = 0;
  readonly #target: TargetOf;
  readonly #schedulers: number;
  readonly #running: Promise<void>[];

  constructor(target: TargetOf, schedulers: number, writers: number) {
    this.#target = target;
    this.#schedulers = schedulers;
    this.#running = Array.from({ length: writers }, (_, index) => this.#write(index));
  }

  async #write(writer: number): Promise<void> {
    const isReal = writer === 0;
    for (let turn = 0; !this.#isOver; turn++) {
      for (const replicas of lifeOf(isReal, turn)) {
        if (this.#isOver) break;
        await this.change(`w${writer}-${turn}`, replicas);
        await sleep(isReal ? PAUSES_MS.real : PAUSES_MS.paper);
      }
    }
  }

  /** One change, at each scheduler in turn; it is sent once, whatever becomes of it. */
  async change(name: string, replicas: number | undefined, scheduler = this.#next): Promise<Change> {
    this.#next += 1;
    const id = `${ID_PREFIX}${this.#next}-${randomBytes(4).toString('hex')}`;
    const target = this.#target(scheduler % this.#schedulers);
    const startedMs = performance.now();
    // The label makes each change one, also where the replicas are as before.
    const flags = { extraFlags: ['--sim-itl-ms', '20'] };
    const answer =
      replicas === undefined
        ? await sendChange(target, '/admin/v1/delete', { reason: id, resources: [{ kind: 'deployment', name }] })
        : await sendChange(target, '/admin/v1/apply', {
            reason: id,
            resources: [deployment(name, { replicas, ...flags }, { change: id })],
          });
    const { ending, seq, why } = answer;
    const change = { id, name, replicas, startedMs, endedMs: performance.now(), ending, seq };
    this.changes.push(change);
    if (why !== '') this.codes.set(why, (this.codes.get(why) ?? 0) + 1);
    return change;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }
}
