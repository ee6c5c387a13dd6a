/**
 * `npm run bench -- pick`: what a pick costs the scheduler with few and with thousands of engines, with requests on all
 * of them and an index of prefixes that is full. The time per pick is CPU, the mean of a loop that does nothing else, with
 * the first token and the end of a request in it; p50 and p99 are of the clock, of picks at a pace, with cold caches between
 * them, and on a busy machine they show its other work too. The second part counts what is left of the accounts after a
 * million random events: nothing may be.
 */
import type { EngineId, NodeId, TenantId } from '../../lib/ids.ts';
import { type RandomSource, seededRandom } from '../../lib/rng.ts';
import { createResidency, type PrefixIndex } from '../../scheduler/core/residency/residency.ts';
import type { EngineLife, PromptBlocks, RequestShape } from '../../scheduler/core/routing/contract.ts';
import { POLICY_NAMES, type PolicyName } from '../../scheduler/core/routing/policies.ts';
import type { Lease } from '../../scheduler/core/routing/reservations.ts';
import { createRouter, type Router } from '../../scheduler/core/routing/router.ts';
import { quantile, round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { type Leftovers, runAccounts } from './pick_accounts.ts';

export interface PickOptions {
  readonly json?: true;
  readonly engines: readonly number[];
  readonly policy: PolicyName;
  /** Cap of the index, MiB. */
  readonly indexMb: number;
  readonly perSecond: number;
  readonly seconds: number;
  readonly events: number;
  readonly seed: number;
  /** Requests are divided between two revisions by weight. */
  readonly divided?: true;
}

export interface PickRow {
  readonly engines: number;
  /** CPU of a pick, a first token and an end. */
  readonly usPerPick: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly indexMb: number;
}

export const PICK_POLICIES: readonly PolicyName[] = POLICY_NAMES;

const MODEL = 'bench';
const TENANT = 'bench' as TenantId;
const NONE_TRIED: ReadonlyMap<EngineId, number> = new Map();
const ENGINES_PER_NODE = 8;
/** Requests that run on each engine, and prompts of so many blocks of 16 tokens in so many groups with the same start. */
const RUNNING_PER_ENGINE = 8;
const BLOCK_TOKENS = 16;
const SHARED_BLOCKS = 256;
const OWN_BLOCKS = 64;
const GROUPS = 512;
const LOOP_PICKS = 2000;
const OLD = { label: 'old', closed: false, share: { split: 'bench', weight: 75, standby: false } };
const NEW = { label: 'new', closed: false, share: { split: 'bench', weight: 25, standby: false } };

interface Stage {
  readonly router: Router;
  readonly residency: PrefixIndex;
  /** Requests that run, oldest first; each pick ends one. */
  readonly running: Lease[];
  nowMs: number;
}

function promptOf(random: RandomSource): RequestShape {
  const group = seededRandom(Math.floor(random.next() * GROUPS));
  const hashes = new Uint32Array((SHARED_BLOCKS + OWN_BLOCKS) * 2);
  for (let i = 0; i < hashes.length; i++) hashes[i] = (i < SHARED_BLOCKS * 2 ? group : random).next() * 2 ** 32;
  const blocks: PromptBlocks = { blockTokens: BLOCK_TOKENS, hashes };
  const promptTokens = (SHARED_BLOCKS + OWN_BLOCKS) * BLOCK_TOKENS + 5;
  return { model: MODEL, tenant: TENANT, promptTokens, blocks };
}

/** One pick, its first token, and the end of the oldest request. */
function step(stage: Stage, shape: RequestShape): number {
  const { router, running } = stage;
  stage.nowMs += 0.1;
  const { nowMs } = stage;
  const before = process.hrtime.bigint();
  const { picked } = router.pick({ shape, endpoint: 'chat', tried: NONE_TRIED, nowMs });
  const tookNs = Number(process.hrtime.bigint() - before);
  if (picked === undefined) throw new Error('no engine was picked');
  running.push(picked.lease);
  const after = running[running.length >>> 1];
  after?.firstToken(nowMs);
  return tookNs / 1000;
}

function endOldest(stage: Stage): void {
  const { nowMs } = stage;
  stage.running.shift()?.end({ nowMs, outcome: 'ok', outputTokens: 64, cachedTokens: SHARED_BLOCKS * BLOCK_TOKENS });
}

/**
 * Sends prompts to all engines until the first blocks had to go for others: from then on each prompt costs what it costs
 * a scheduler that has run for long.
 */
function fill(residency: PrefixIndex, lives: readonly EngineLife[], random: RandomSource): void {
  const most = residency.figures.capacityBlocks / OWN_BLOCKS + lives.length;
  for (let i = 0; residency.figures.evictedBlocks === 0; i++) {
    if (i > 2 * most) throw new Error('the index does not fill');
    residency.dispatched(lives[i % lives.length] as EngineLife, promptOf(random).blocks as PromptBlocks, 0);
  }
}

function openStage(engines: number, { policy, indexMb, divided }: PickOptions, random: RandomSource): Stage {
  const residency = createResidency({ maxBytes: indexMb * 2 ** 20 });
  const options = { policy, staleAfterMs: 1e9, maxPendingPrefillMs: 1000 };
  const router = createRouter({ options, random, residency });
  for (let i = 0; i < engines; i++) {
    const node = `node-${Math.floor(i / ENGINES_PER_NODE)}` as NodeId;
    const name = `e${i % ENGINES_PER_NODE}`;
    router.engines.put({
      engine: `${node}/${name}` as EngineId,
      incarnation: 1,
      node,
      name,
      serves: [{ model: MODEL, endpoints: [] }],
      lastSeenAtMs: 0,
      otherRequests: i % 3,
      kvUsageRatio: 0.4,
    });
  }
  if (divided === true)
    router.divide({ markOf: (engine) => (engine.endsWith('0') || engine.endsWith('2') ? NEW : OLD) });
  fill(residency, [...router.engines.slots], random);
  return { router, residency, running: [], nowMs: 0 };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Picks at a pace; a turn that comes late makes up for those that it missed. */
async function pacedUs(stage: Stage, options: PickOptions, random: RandomSource): Promise<number[]> {
  const taken: number[] = [];
  const startMs = performance.now();
  for (;;) {
    const elapsedS = (performance.now() - startMs) / 1000;
    if (elapsedS >= options.seconds) return taken;
    const due = Math.floor(elapsedS * options.perSecond);
    if (taken.length < due) {
      const shape = promptOf(random);
      taken.push(step(stage, shape));
      endOldest(stage);
    } else await pause(1);
  }
}

async function measure(engines: number, options: PickOptions): Promise<PickRow> {
  const random = seededRandom(options.seed);
  const stage = openStage(engines, options, random);
  const warmUp = Math.max(LOOP_PICKS, Math.min(engines * RUNNING_PER_ENGINE, LOOP_PICKS * 4));
  for (let i = 0; i < warmUp; i++) step(stage, promptOf(random));
  const shapes = Array.from({ length: LOOP_PICKS }, () => promptOf(random));
  const before = process.cpuUsage();
  for (const shape of shapes) {
    step(stage, shape);
    endOldest(stage);
  }
  const { user, system } = process.cpuUsage(before);
  const paced = await pacedUs(stage, options, random);
  const indexMb = round(stage.residency.bytes / 2 ** 20);
  const usPerPick = round((user + system) / LOOP_PICKS);
  return { engines, usPerPick, p50Us: round(quantile(paced, 0.5)), p99Us: round(quantile(paced, 0.99)), indexMb };
}

export async function runPick(options: PickOptions): Promise<void> {
  const rows: PickRow[] = [];
  for (const engines of options.engines) rows.push(await measure(engines, options));
  const left: Leftovers = runAccounts(options.events, options.seed);
  const { policy, perSecond } = options;
  const table = rows.map((row) => [row.engines, row.usPerPick, row.p50Us, row.p99Us, row.indexMb]);
  process.stdout.write(
    `policy ${policy}: microseconds of CPU per pick in a loop, and of the clock at ${perSecond} requests/s; the index is full\n` +
      `${alignRows([['engines', 'CPU us per pick', 'p50 us', 'p99 us', 'index MB'], ...table])}\n\n` +
      `left of the accounts after ${options.events} random events (all must be 0)\n` +
      `${alignRows(Object.entries(left))}\n`,
  );
  if (options.json === true) process.stdout.write(`${JSON.stringify({ ...options, rows, accounts: left })}\n`);
  if (Object.values(left).some((count) => count !== 0)) process.exitCode = 1;
}
