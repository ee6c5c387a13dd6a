/**
 * `npm run bench -- rollout`: a deployment of simulated engines changes its revision under streams, by each strategy, with a
 * good revision and with each kind of bad one. No stream may fail, and a bad revision must go back without a person.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeploymentSpec, RolloutStrategy } from '../../scheduler/core/resources/contract.ts';
import { round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { readStream, type Target } from '../streams/client.ts';
import { type RolloutFleet, startRolloutFleet } from './orders.ts';

export const STRATEGY_NAMES = ['rolling', 'blue_green', 'canary'] as const;
export type StrategyName = (typeof STRATEGY_NAMES)[number];
export const ROLLOUT_FAULTS = ['none', 'does_not_start', 'slow_ttft', 'errors', 'wrong_answer'] as const;
export type RolloutFault = (typeof ROLLOUT_FAULTS)[number];

export interface RolloutOptions {
  readonly json?: true;
  readonly strategies: readonly StrategyName[];
  readonly faults: readonly RolloutFault[];
  readonly replicas: number;
  readonly streams: number;
  readonly tokens: number;
}

export interface RolloutRow {
  readonly strategy: StrategyName;
  readonly fault: RolloutFault;
  /** Streams of clients that ended with an error, without their end, or not at all. */
  readonly failedRequests: number;
  readonly rolledBack: boolean;
  readonly seconds: number;
  readonly requests: number;
  readonly reason: string;
}

const MODEL = 'rollout-model';
const ROLLOUT_LIMIT_MS = 130_000;
const STREAM_LIMIT_MS = 60_000;
const SHOWN_FAILURES = 5;
const SHOWN_REASON = 100;
const PROMPT = 'What do you say of the sea?';
/** Steps short enough for a bench and long enough for the samples that the gates want. */
const STEPS: Readonly<Record<StrategyName, Partial<RolloutStrategy>>> = {
  rolling: { stepMs: 3000 },
  blue_green: { stepMs: 6000 },
  canary: { stepMs: 3000, steps: [20, 50] },
};

/** What each bad revision has that the good one has not; the mean time of a good step is 20 ms. */
const FLAGS: Readonly<Record<RolloutFault, readonly string[]>> = {
  none: ['--sim-ttft-ms', '40'],
  // A cache that holds less than one request: the engine ends with a sentence about it.
  does_not_start: ['--sim-ttft-ms', '40', '--max-model-len', '4096', '--sim-kv-tokens', '1024'],
  slow_ttft: ['--sim-ttft-ms', '400'],
  // Only answers longer than that to the smoke prompt are struck, so that clients' requests must show it.
  errors: ['--sim-ttft-ms', '40', '--sim-fault', 'kind=error,after_tokens=70,probability=0.5,count=0'],
  wrong_answer: ['--sim-ttft-ms', '40', '--seed', '99'],
};

interface Smoke {
  readonly prompt: string;
  readonly contains: string;
}

function specOf(
  options: RolloutOptions,
  run: number,
  fault: RolloutFault,
  strategy: StrategyName,
  smoke?: Smoke,
): DeploymentSpec {
  return {
    engine: 'sim',
    model: MODEL,
    servedModelName: MODEL,
    replicas: options.replicas,
    gpusPerHost: 0,
    extraFlags: ['--sim-itl-ms', '20', '--sim-start-ms', '300', ...FLAGS[fault]],
    // Another value makes another revision of the same flags.
    environment: { BENCH_RUN: String(run) },
    rollout: { kind: strategy, deadlineMs: 120_000, ...STEPS[strategy], ...(smoke === undefined ? {} : { smoke }) },
  };
}

class Clients {
  requests = 0;
  failed = 0;
  #isOver = false;
  readonly #target: Target;
  readonly #tokens: number;
  readonly #running: Promise<void>[];

  constructor(target: Target, streams: number, tokens: number) {
    this.#target = target;
    this.#tokens = tokens;
    this.#running = Array.from({ length: streams }, (_, index) => this.#client(index));
  }

  async #client(index: number): Promise<void> {
    for (let turn = 0; !this.#isOver; turn++) {
      const body = {
        model: MODEL,
        prompt: `Client ${index}, turn ${turn}: ${PROMPT}`,
        stream: true,
        max_tokens: this.#tokens,
        ignore_eos: true,
      };
      const result = await readStream(
        this.#target,
        { name: `client ${index}`, path: '/v1/completions', body },
        { limitMs: STREAM_LIMIT_MS },
      );
      this.requests += 1;
      if (result.ok) continue;
      this.failed += 1;
      if (this.failed <= SHOWN_FAILURES) process.stderr.write(`client ${index}, turn ${turn}: ${result.why}\n`);
      await sleep(100);
    }
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }
}

/** What the good revision answers to the smoke prompt: a part of it must come from each good replica. */
async function learnSmoke(target: Target): Promise<Smoke> {
  const body = {
    model: MODEL,
    messages: [{ role: 'user', content: PROMPT }],
    max_tokens: 32,
    temperature: 0,
    stream: true,
  };
  const { ok, text, why } = await readStream(
    target,
    { name: 'smoke', path: '/v1/chat/completions', body },
    { limitMs: STREAM_LIMIT_MS },
  );
  if (!ok) throw new Error(`the good revision does not answer: ${why}`);
  // The first words are the same for every simulated engine.
  return {
    prompt: PROMPT,
    contains: text
      .slice(text.indexOf(']') + 1)
      .trim()
      .slice(0, 60),
  };
}

async function measure(fleet: RolloutFleet, options: RolloutOptions): Promise<RolloutRow[]> {
  let run = 0;
  const limitMs = ROLLOUT_LIMIT_MS;
  const first = await fleet.apply(specOf(options, run, 'none', 'rolling'), limitMs);
  if (first.outcome !== 'done') throw new Error(`the first revision did not come up: ${first.lines.join('; ')}`);
  const smoke = await learnSmoke(fleet.target);
  const rows: RolloutRow[] = [];
  for (const strategy of options.strategies) {
    for (const fault of options.faults) {
      run += 1;
      const clients = new Clients(fleet.target, options.streams, options.tokens);
      await sleep(3000);
      const startedMs = performance.now();
      const { outcome, reason, lines } = await fleet.apply(specOf(options, run, fault, strategy, smoke), limitMs);
      const seconds = round((performance.now() - startedMs) / 1000, 1);
      await clients.stop();
      if (outcome === 'unfinished') process.stderr.write(`${lines.join('\n')}\n`);
      const { failed: failedRequests, requests } = clients;
      rows.push({
        strategy,
        fault,
        failedRequests,
        rolledBack: outcome === 'rolled_back',
        seconds,
        requests,
        reason: outcome === 'unfinished' ? outcome : reason,
      });
      process.stderr.write(
        `${strategy}, ${fault}: ${outcome} in ${seconds} s, ${failedRequests} of ${requests} failed; ${reason}\n`,
      );
    }
  }
  return rows;
}

const isWrong = ({ fault, failedRequests, rolledBack, reason }: RolloutRow): boolean =>
  failedRequests > 0 || rolledBack !== (fault !== 'none') || reason === 'unfinished';

export async function runRollout(options: RolloutOptions): Promise<void> {
  const fleet = await startRolloutFleet();
  let rows: RolloutRow[];
  try {
    rows = await measure(fleet, options);
  } finally {
    await fleet.stop();
  }
  const table = rows.map((row) => [
    row.strategy,
    row.fault,
    row.requests,
    row.failedRequests,
    row.rolledBack ? 'yes' : 'no',
    row.seconds,
    row.reason.slice(0, SHOWN_REASON),
  ]);
  console.log(alignRows([['strategy', 'revision', 'requests', 'failed', 'rolled back', 'seconds', 'why'], ...table]));
  if (options.json === true) {
    const { replicas, streams, tokens } = options;
    console.log(JSON.stringify({ replicas, streams, tokens, rows }));
  }
  if (rows.some(isWrong)) process.exitCode = 1;
}
