/**
 * `npm run bench -- fairness`: who gets what of a fleet that everybody wants more of than there is. The scheduler's own
 * waiting room runs here in virtual time over engines of a fixed speed. Each tenant offers more than its share, with
 * sizes of its own, so that equal counts of requests would not be equal shares of the engines; what an answer costs is
 * known to the queue only at its end, as in life.
 */
import { CodedError } from '../../lib/errors.ts';
import type { TenantId } from '../../lib/ids.ts';
import { type RandomSource, seededRandom } from '../../lib/rng.ts';
import type { ShedReason, WaitingOrder } from '../../scheduler/core/queue/contract.ts';
import { WaitingRoom } from '../../scheduler/core/queue/waiting_room.ts';
import { round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { QUEUE } from './queue_options.ts';
import { createVirtualClock, type VirtualClock } from './virtual_clock.ts';

export interface FairnessOptions {
  readonly json?: true;
  readonly seconds: number;
  readonly overload: number;
  readonly seed: number;
}

export interface FairnessRow {
  /** One weight a tenant, in their order. */
  readonly weights: readonly number[];
  /** Jain's index over tokens per weight: 1 is perfectly fair, 1/n is one tenant having all. */
  readonly jain: number;
  /** Largest difference between a tenant's share of the served tokens and its weight's share, as a part of the latter. */
  readonly maxShareError: number;
  readonly served: number;
  readonly shed: number;
  readonly meanWaitS: number;
}

/** Tenants with one weight each; the last is a crowd. */
const CASES: readonly (readonly number[])[] = [
  [1, 1, 1, 1],
  new Array<number>(16).fill(1),
  [1, 2],
  [1, 2, 4],
  [1, 1, 2, 4, 8],
  [1, 10],
  [1, 3, 5, 7, 9, 11, 13, 15],
  new Array<number>(64).fill(1),
];

const SLOTS = 64;
/** One slot's pace: prompt tokens go by faster than those of an answer. */
const PROMPT_TOKENS_PER_S = 8000;
const ANSWER_TOKENS_PER_S = 50;
const DEADLINE_MS = 600_000;
/** What the queue takes an answer for; the means of the tenants differ from it. */
const TYPICAL_OUTPUT_TOKENS = 256;
const MODEL = 'm';
const WARM_UP_PART = 0.2;
const CROWD = 16;

interface Tenant {
  readonly id: TenantId;
  readonly weight: number;
  readonly meanPromptTokens: number;
  readonly meanOutputTokens: number;
  served: number;
}

interface World {
  readonly clock: VirtualClock;
  readonly random: RandomSource;
  readonly room: WaitingRoom;
  running: number;
  served: number;
  shed: number;
  waitMs: number;
  readonly measureFromMs: number;
  readonly endMs: number;
}

const exponential = (random: RandomSource, mean: number): number => -Math.log(1 - random.next()) * mean;

/** Mean time that a slot is busy with a request of the tenant. */
const serviceS = (tenant: Tenant): number =>
  tenant.meanPromptTokens / PROMPT_TOKENS_PER_S + tenant.meanOutputTokens / ANSWER_TOKENS_PER_S;

function tenantsOf(weights: readonly number[]): Tenant[] {
  return weights.map((weight, n) => ({
    id: `tenant-${n}` as TenantId,
    weight,
    meanPromptTokens: 200 * (1 + (n % 5)),
    meanOutputTokens: 60 * (1 + ((n * 2) % 5)),
    served: 0,
  }));
}

/** One request: it waits in the room, runs on a slot, and what it cost is settled at its end. */
function arrive(world: World, tenant: Tenant): void {
  const { clock, random, room } = world;
  const promptTokens = Math.ceil(exponential(random, tenant.meanPromptTokens));
  const outputTokens = Math.ceil(exponential(random, tenant.meanOutputTokens));
  const sinceMs = clock.monotonicMs();
  const order: WaitingOrder = {
    model: MODEL,
    tenant: tenant.id,
    weight: tenant.weight,
    priority: 0,
    deadlineAtMs: sinceMs + DEADLINE_MS,
    promptTokens,
    outputTokens: TYPICAL_OUTPUT_TOKENS,
    bytes: promptTokens * 4,
    mayWait: () => true,
    place() {
      if (world.running >= SLOTS) return false;
      world.running += 1;
      const startedMs = clock.monotonicMs();
      const tookMs = (promptTokens / PROMPT_TOKENS_PER_S + outputTokens / ANSWER_TOKENS_PER_S) * 1000;
      clock.after(tookMs, () => {
        world.running -= 1;
        if (clock.monotonicMs() >= world.measureFromMs) {
          tenant.served += promptTokens + outputTokens;
          world.served += 1;
          world.waitMs += startedMs - sinceMs;
        }
        room.ended(order, { tookMs, outputTokens });
      });
      return true;
    },
    refuse: () => undefined,
    told: () => false,
  };
  try {
    room.enter(order);
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
  }
}

function arriveForever(world: World, tenant: Tenant, meanGapMs: number): void {
  const { clock, random } = world;
  clock.after(exponential(random, meanGapMs), () => {
    if (clock.monotonicMs() >= world.endMs) return;
    arrive(world, tenant);
    arriveForever(world, tenant, meanGapMs);
  });
}

/** Tokens that all slots serve in a second when the tenants get exactly their shares. */
function fleetTokensPerS(tenants: readonly Tenant[], weights: number): number {
  const secondsPerToken = tenants.reduce((sum, tenant) => {
    const tokens = tenant.meanPromptTokens + tenant.meanOutputTokens;
    return sum + ((tenant.weight / weights) * serviceS(tenant)) / tokens;
  }, 0);
  return SLOTS / secondsPerToken;
}

/** Runs one case. Pure but for the memory that it takes: the same seed gives the same row. */
export function measureFairness(weights: readonly number[], options: Omit<FairnessOptions, 'json'>): FairnessRow {
  const clock = createVirtualClock();
  const random = seededRandom(options.seed);
  const shed = (_model: string, _reason: ShedReason): void => void (world.shed += 1);
  const room = new WaitingRoom({ clock, options: QUEUE, figures: { shed, waited: () => undefined } });
  // A crowd needs more time until each has had as many requests.
  const endMs = options.seconds * 1000 * Math.max(1, weights.length / CROWD);
  const world: World = {
    clock,
    random,
    room,
    running: 0,
    served: 0,
    shed: 0,
    waitMs: 0,
    measureFromMs: endMs * WARM_UP_PART,
    endMs,
  };
  const tenants = tenantsOf(weights);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const tokensPerS = fleetTokensPerS(tenants, sum);
  for (const [n, tenant] of tenants.entries()) {
    // Everybody wants more than there is; some want far more.
    const wanted = options.overload * (1 + (n % 3)) * tokensPerS * (tenant.weight / sum);
    const perS = wanted / (tenant.meanPromptTokens + tenant.meanOutputTokens);
    arriveForever(world, tenant, 1000 / perS);
  }
  clock.runUntil(endMs);
  return rowOf(weights, tenants, sum, world);
}

function rowOf(weights: readonly number[], tenants: readonly Tenant[], sum: number, world: World): FairnessRow {
  const perWeight = tenants.map((tenant) => tenant.served / tenant.weight);
  const total = tenants.reduce((tokens, tenant) => tokens + tenant.served, 0);
  const jain =
    perWeight.reduce((all, each) => all + each, 0) ** 2 /
    (tenants.length * perWeight.reduce((squares, each) => squares + each ** 2, 0));
  const errors = tenants.map((tenant) => Math.abs(tenant.served / total / (tenant.weight / sum) - 1));
  return {
    weights,
    jain: round(jain, 6),
    maxShareError: round(Math.max(...errors), 5),
    served: world.served,
    shed: world.shed,
    meanWaitS: round(world.waitMs / Math.max(1, world.served) / 1000, 2),
  };
}

function shownWeights(weights: readonly number[]): string {
  return new Set(weights).size === 1 ? `${weights.length} x ${weights[0]}` : weights.join(':');
}

export function runFairness(options: FairnessOptions): void {
  const rows = CASES.map((weights) => measureFairness(weights, options));
  if (options.json !== true) {
    const table = rows.map((row) => [
      shownWeights(row.weights),
      row.jain.toFixed(5),
      `${(row.maxShareError * 100).toFixed(2)} %`,
      String(row.served),
      String(row.shed),
      row.meanWaitS.toFixed(1),
    ]);
    const head = ['weights', 'jain', 'max share error', 'served', 'shed', 'mean wait s'];
    process.stdout.write(`${alignRows([head, ...table])}\n`);
    return;
  }
  process.stdout.write(`${JSON.stringify({ rows })}\n`);
}
