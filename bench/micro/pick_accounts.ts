/**
 * A million random events on the accounts of a fleet: picks, first tokens, ends of every kind, ends that come twice or
 * after their engine's death, engines that begin new lives or leave. Whatever happened, nothing may be left at the end,
 * and no account may have been below zero on the way.
 */
import type { ErrorCode } from '../../lib/errors.ts';
import type { EngineId, NodeId, TenantId } from '../../lib/ids.ts';
import { type RandomSource, seededRandom } from '../../lib/rng.ts';
import type { EngineSlot } from '../../scheduler/core/routing/engine_slot.ts';
import { POLICY_NAMES } from '../../scheduler/core/routing/policies.ts';
import type { Lease } from '../../scheduler/core/routing/reservations.ts';
import { createRouter, type Router } from '../../scheduler/core/routing/router.ts';

/** What was left, and what went wrong on the way; each must be 0. */
export interface Leftovers extends Record<string, number> {
  readonly requests: number;
  readonly lives: number;
  readonly pendingTokens: number;
  readonly pendingSquares: number;
  readonly pendingRequests: number;
  readonly decodeTokens: number;
  readonly contextTokens: number;
  readonly negative: number;
  readonly notFinite: number;
}

const ENGINES = 16;
const MOST_RUNNING = 2000;
const OUTCOMES: readonly ('ok' | ErrorCode)[] = [
  'ok',
  'ok',
  'ok',
  'engine_died',
  'engine_overloaded',
  'cancelled',
  'engine_rejected',
  'stream_lost',
];

interface World {
  readonly router: Router;
  readonly random: RandomSource;
  readonly running: Lease[];
  /** Every life that ever was: an old one must come to nothing as well. */
  readonly lives: Set<EngineSlot>;
  readonly incarnations: number[];
  nowMs: number;
}

const whole = (random: RandomSource, below: number): number => Math.floor(random.next() * below);

function put(world: World, at: number): void {
  const name = `e${at}`;
  const slot = world.router.engines.put({
    engine: `n/${name}` as EngineId,
    incarnation: world.incarnations[at] as number,
    node: 'n' as NodeId,
    name,
    serves: [{ model: 'm', endpoints: [] }],
    lastSeenAtMs: world.nowMs,
    otherRequests: world.random.next() < 0.1 ? Number.NaN : whole(world.random, 4),
  });
  world.lives.add(slot);
}

function pick(world: World): void {
  const { router, random, nowMs } = world;
  const odd = [Number.NaN, -5, Infinity, 0][whole(random, 40)];
  const promptTokens = odd ?? whole(random, 20_000);
  const shape = { model: 'm', tenant: 't' as TenantId, promptTokens, maxOutputTokens: whole(random, 2000) };
  const plain = random.next() < 0.2;
  const { picked } = router.pick({ shape, endpoint: 'chat', tried: new Map(), nowMs, plain });
  if (picked !== undefined) world.running.push(picked.lease);
}

/** Ends a request; some end twice, and some only after others took their place in the list. */
function end(world: World): void {
  const { random, running, nowMs } = world;
  if (running.length === 0) return;
  const at = whole(random, running.length);
  const lease = running[at] as Lease;
  const outcome = OUTCOMES[whole(random, OUTCOMES.length)] as 'ok' | ErrorCode;
  const once = (): void => {
    if (random.next() < 0.1) lease.release();
    else lease.end({ nowMs, outcome, outputTokens: whole(random, 500), cachedTokens: whole(random, 500) });
  };
  once();
  if (random.next() < 0.05) once();
  if (random.next() < 0.05) lease.firstToken(nowMs);
  running[at] = running.at(-1) as Lease;
  running.pop();
}

function oneEvent(world: World): void {
  const { random, running, router } = world;
  // The clock goes on, and now and then back.
  world.nowMs += random.next() < 0.01 ? -50 : random.next() * 5;
  const what = random.next();
  if (what < 0.4 && running.length < MOST_RUNNING) pick(world);
  else if (what < 0.65) running[whole(random, Math.max(1, running.length))]?.firstToken(world.nowMs);
  else if (what < 0.985) end(world);
  else if (what < 0.995) {
    const at = whole(random, ENGINES);
    if (random.next() < 0.5) world.incarnations[at] = (world.incarnations[at] as number) + 1;
    put(world, at);
  } else router.engines.remove(`n/e${whole(random, ENGINES)}` as EngineId);
}

const figuresOf = (slot: EngineSlot): readonly number[] => [
  slot.reservedRequests,
  slot.pendingPrefillTokens,
  slot.pendingPrefillSquares,
  slot.decodeTokens,
  slot.contextTokens,
];

/** Runs the events, ends what still runs, and counts what is left. */
export function runAccounts(events: number, seed: number): Leftovers {
  const random = seededRandom(seed);
  let negative = 0;
  let notFinite = 0;
  const sums = {
    requests: 0,
    pendingTokens: 0,
    pendingSquares: 0,
    pendingRequests: 0,
    decodeTokens: 0,
    contextTokens: 0,
  };
  let lives = 0;
  // Every policy has its part of the events.
  for (const policy of POLICY_NAMES) {
    const options = { policy, staleAfterMs: 10_000, maxPendingPrefillMs: 1000 };
    const router = createRouter({ options, random });
    const incarnations = Array.from({ length: ENGINES }, () => 1);
    const world: World = { router, random, running: [], lives: new Set(), incarnations, nowMs: 0 };
    for (let at = 0; at < ENGINES; at++) put(world, at);
    for (let event = 0; event < events / POLICY_NAMES.length; event++) {
      oneEvent(world);
      const slot = router.engines.find(`n/e${event % ENGINES}` as EngineId);
      if (slot === undefined) continue;
      for (const figure of figuresOf(slot)) if (figure < 0) negative += 1;
      for (const figure of [...figuresOf(slot), ...Object.values(slot.speed)])
        if (!Number.isFinite(figure)) notFinite += 1;
    }
    for (const lease of world.running) lease.end({ nowMs: world.nowMs, outcome: 'cancelled', outputTokens: 0 });
    for (const slot of world.lives) {
      const [requests = 0, pendingTokens = 0, pendingSquares = 0, decodeTokens = 0, contextTokens = 0] = figuresOf(
        slot,
      ).map(Math.abs);
      sums.requests += requests;
      sums.pendingTokens += pendingTokens;
      sums.pendingSquares += pendingSquares;
      sums.pendingRequests += slot.pending.size;
      sums.decodeTokens += decodeTokens;
      sums.contextTokens += contextTokens;
    }
    sums.requests += router.reservations.total;
    lives += router.reservations.lives;
  }
  return { ...sums, lives, negative, notFinite };
}
