/**
 * Filter, score, pick, reserve: one engine for one request, in one step, with the reasons. It holds what routing knows
 * (the engines by model, what is on them, how fast they are, their breakers) and is fed with facts, requests and their
 * ends; time is an argument and chance a seeded source, so the scheduler and the fleet simulator run this very code.
 */
import type { EngineId } from '../../../lib/ids.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { Endpoint } from '../../ports.ts';
import { breakerPicked } from './breaker.ts';
import type { RequestShape, Residency } from './contract.ts';
import { type Decision, type DecisionMode, MOST_OPEN, MOST_REFUSED, type Picked, type Verdict } from './decision.ts';
import { type EngineSlot, waitingPrefillMs } from './engine_slot.ts';
import { createEngineTable, type EngineTable, type Pool } from './engine_table.ts';
import type { FilterAsk } from './filters/filter.ts';
import { FILTERS } from './filters.ts';
import { type LeaseHost, RoutedLease } from './lease.ts';
import type { PolicyAsk } from './policies/policy.ts';
import { POLICIES, type PolicyName } from './policies.ts';
import { createReservations, type Lease, type Reservations } from './reservations.ts';

export interface RouterOptions {
  readonly policy: PolicyName;
  /** An agent that said nothing for this long may hang: its engines are taken only when there are no others. */
  readonly staleAfterMs: number;
  /** Most work that may wait for its prefill on an engine while a queue holds requests back, milliseconds. */
  readonly maxPendingPrefillMs: number;
}

export interface RouterDeps {
  readonly options: RouterOptions;
  readonly random: RandomSource;
  /** What engines hold of prompts; absent: nothing is known of it. */
  readonly residency?: Residency | undefined;
  readonly reservations?: Reservations;
  /** Something could not be and was left out. */
  readonly dropped?: (where: 'fit_sample') => void;
}

export interface RouteAsk {
  readonly shape: RequestShape;
  readonly endpoint: Endpoint;
  /** Engines that have failed this request already. */
  readonly tried: ReadonlySet<EngineId>;
  /** Monotonic milliseconds. */
  readonly nowMs: number;
  /** The answer comes whole: its first token is not seen. */
  readonly plain?: boolean;
}

/** Whether a request may be sent now, or is better held back. */
export type Room =
  /** An engine is below its cap of waiting prefill. */
  | { readonly kind: 'room' }
  /** Every engine is over it; the first is expected below it in `waitMs`. */
  | { readonly kind: 'full'; readonly waitMs: number }
  /** No engine may be picked at all. */
  | { readonly kind: 'none' };

export interface Router {
  readonly policy: PolicyName;
  /** Where facts of engines go. */
  readonly engines: EngineTable;
  readonly reservations: Reservations;
  /** Decides and reserves. Without a picked engine nothing was reserved. */
  pick(ask: RouteAsk): Decision;
  /** Whether every engine of a model is over its cap of waiting prefill. */
  room(model: string, endpoint: Endpoint, nowMs: number): Room;
  /** Tokens that an answer of the model has in the mean, as far as was seen. */
  typicalOutputTokens(model: string): number;
}

/** Ejection is ignored once more than this part of the engines is ejected (Envoy's healthy panic threshold). */
export const PANIC_RATIO = 0.5;
/** Tokens of an answer before any was seen, and the pace at which the mean follows. */
const FIRST_OUTPUT_TOKENS = 256;
const OUTPUT_PACE = 0.02;
/** Models whose mean is kept. */
const MOST_MODELS = 4096;
const NONE_TRIED: ReadonlySet<EngineId> = new Set();
const NO_REFUSALS: ReadonlyMap<string, number> = new Map();

export function createRouter(deps: RouterDeps): Router {
  return new FleetRouter(deps);
}

/** The engines that may be picked, and those that may not with the filter that said so. */
interface Sorted {
  /** Only entries 0 to `count` - 1 count: the array is used again. */
  readonly open: EngineSlot[];
  count: number;
  refused: Map<string, number> | undefined;
  readonly verdicts: Verdict[];
  mode: DecisionMode | undefined;
}

class FleetRouter implements Router {
  readonly engines: EngineTable;
  readonly reservations: Reservations;
  readonly #deps: RouterDeps;
  readonly #outputTokens = new Map<string, number>();
  readonly #open: EngineSlot[] = [];
  #totals = new Float64Array(64);
  #cached = new Float64Array(64);
  #overlap = new Uint32Array(64);
  #picks = 0;

  constructor(deps: RouterDeps) {
    this.#deps = deps;
    this.reservations = deps.reservations ?? createReservations();
    this.engines = createEngineTable({
      reservations: this.reservations,
      onEnded: (slot) => deps.residency?.forget(slot),
    });
  }

  get policy(): PolicyName {
    return this.#deps.options.policy;
  }

  typicalOutputTokens(model: string): number {
    return this.#outputTokens.get(model) ?? FIRST_OUTPUT_TOKENS;
  }

  pick(ask: RouteAsk): Decision {
    const { policy } = this;
    const pool = this.engines.pool(ask.shape.model);
    if (pool === undefined)
      return { policy, mode: undefined, engines: 0, refused: NO_REFUSALS, verdicts: [], picked: undefined };
    const sorted = this.#sort(pool, ask);
    const scored = this.#score(sorted, ask);
    const at = this.#choose(scored);
    const { verdicts, mode } = sorted;
    const refused = sorted.refused ?? NO_REFUSALS;
    const engines = pool.slots.length;
    if (at === undefined) return { policy, mode, engines, refused, verdicts, picked: undefined };
    const all = [...this.#openVerdicts(scored, at), ...verdicts];
    const picked = this.#take(scored, at, ask.plain ?? false);
    return { policy, mode, engines, refused, verdicts: all, picked };
  }

  room(model: string, endpoint: Endpoint, nowMs: number): Room {
    const pool = this.engines.pool(model);
    if (pool === undefined) return { kind: 'none' };
    const { maxPendingPrefillMs } = this.#deps.options;
    const { open, count } = this.#sort(pool, { endpoint, tried: NONE_TRIED, nowMs });
    let waitMs = Infinity;
    for (let i = 0; i < count; i++) {
      const slot = open[i] as EngineSlot;
      const overMs = waitingPrefillMs(slot, nowMs) - maxPendingPrefillMs;
      if (overMs <= 0 && slot.reservedRequests < slot.maxSequences) return { kind: 'room' };
      waitMs = Math.min(waitMs, Math.max(0, overMs));
    }
    return count === 0 ? { kind: 'none' } : { kind: 'full', waitMs };
  }

  /** Asks the filters about each engine. */
  #sort(pool: Pool, ask: Pick<RouteAsk, 'endpoint' | 'tried' | 'nowMs'>): Sorted {
    const sorted: Sorted = { open: this.#open, count: 0, refused: undefined, verdicts: [], mode: undefined };
    const filterAsk = { ...ask, answers: 0, staleAfterMs: this.#deps.options.staleAfterMs };
    const ejected: EngineSlot[] = [];
    const silent: EngineSlot[] = [];
    const { slots, endpoints } = pool;
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[i] as EngineSlot;
      filterAsk.answers = endpoints[i] as number;
      const filter = FILTERS.find((each) => !each.admits(slot, filterAsk));
      if (filter === undefined) sorted.open[sorted.count++] = slot;
      else if (filter.strength === 'ejected') ejected.push(slot);
      else if (filter.strength === 'unless_last') silent.push(slot);
      else refuse(sorted, slot, filter.why(slot, filterAsk));
    }
    this.#lastResorts(sorted, ejected, silent, filterAsk);
    return sorted;
  }

  /** Ejection never empties a model: too many open breakers are no longer heeded, and silent nodes are the last resort. */
  #lastResorts(sorted: Sorted, ejected: readonly EngineSlot[], silent: readonly EngineSlot[], ask: FilterAsk): void {
    const panic = ejected.length > PANIC_RATIO * (sorted.count + ejected.length);
    if (panic) sorted.mode = 'panic';
    for (const slot of ejected) {
      if (panic) sorted.open[sorted.count++] = slot;
      else refuseBy(sorted, slot, ask);
    }
    const last = sorted.count === 0 && silent.length > 0;
    if (last) sorted.mode = 'stale';
    for (const slot of silent) {
      if (last) sorted.open[sorted.count++] = slot;
      else refuseBy(sorted, slot, ask);
    }
  }

  #score(sorted: Sorted, { shape, nowMs }: RouteAsk): PolicyAsk {
    const { open, count } = sorted;
    if (this.#totals.length < count) {
      this.#totals = new Float64Array(count * 2);
      this.#cached = new Float64Array(count * 2);
      this.#overlap = new Uint32Array(count * 2);
    }
    const policy = POLICIES[this.policy];
    if (policy.usesResidency) this.#lookUp(open, count, shape);
    const typical = this.typicalOutputTokens(shape.model);
    const outputTokens = Math.min(shape.maxOutputTokens ?? Infinity, typical);
    const { random } = this.#deps;
    const ask = { shape, nowMs, random, open, count, cachedTokens: this.#cached, outputTokens };
    policy.score(ask, this.#totals);
    return ask;
  }

  /** Cached tokens of each engine; the last token of a prompt is always computed. */
  #lookUp(open: EngineSlot[], count: number, { blocks, promptTokens }: RequestShape): void {
    const { residency } = this.#deps;
    this.#cached.fill(0, 0, count);
    if (residency === undefined || blocks === undefined || blocks.hashes.length === 0) return;
    open.length = count;
    residency.overlap(open, blocks, this.#overlap);
    const most = Math.max(0, promptTokens - 1);
    for (let i = 0; i < count; i++) this.#cached[i] = Math.min(most, (this.#overlap[i] as number) * blocks.blockTokens);
  }

  /** The lowest cost; among equals as the policy says, at last by chance. */
  #choose({ open, count, random }: PolicyAsk): number | undefined {
    const { tolerance, prefersWarm } = POLICIES[this.policy];
    const totals = this.#totals;
    let lowest = Infinity;
    for (let i = 0; i < count; i++) lowest = Math.min(lowest, totals[i] as number);
    if (lowest === Infinity) return undefined;
    let best: number | undefined;
    let equals = 0;
    for (let i = 0; i < count; i++) {
      if (!((totals[i] as number) <= lowest + tolerance)) continue;
      const order = best === undefined ? -1 : prefersWarm ? this.#compare(open, i, best) : 0;
      if (order > 0) continue;
      equals = order < 0 ? 1 : equals + 1;
      // Each of n equals is kept with the chance 1 / n.
      if (equals === 1 || random.next() * equals < 1) best = i;
    }
    return best;
  }

  /** Negative: `left` is to be preferred among equal costs. */
  #compare(open: readonly EngineSlot[], left: number, right: number): number {
    const longer = (this.#cached[right] as number) - (this.#cached[left] as number);
    return longer === 0 ? (open[left] as EngineSlot).pickOrder - (open[right] as EngineSlot).pickOrder : longer;
  }

  /** The cheapest engines with the parts of their costs, the picked one first. */
  #openVerdicts(ask: PolicyAsk, picked: number): Verdict[] {
    const totals = this.#totals;
    const best: number[] = [];
    for (let i = 0; i < ask.count; i++) {
      const total = totals[i] as number;
      if (i === picked || (best.length === MOST_OPEN - 1 && !(total < (totals[best.at(-1) as number] as number))))
        continue;
      if (best.length === MOST_OPEN - 1) best.pop();
      let to = best.length;
      while (to > 0 && total < (totals[best[to - 1] as number] as number)) to -= 1;
      best.splice(to, 0, i);
    }
    const policy = POLICIES[this.policy];
    return [picked, ...best].map((i) => ({
      kind: i === picked ? 'picked' : 'passed',
      engine: (ask.open[i] as EngineSlot).engine,
      cost: totals[i] as number,
      parts: policy.parts(ask, i),
    }));
  }

  /** Reserves, in the same step. */
  #take(ask: PolicyAsk, at: number, blind: boolean): Picked {
    const { shape, nowMs } = ask;
    const slot = ask.open[at] as EngineSlot;
    // A policy that does not ask for all engines needs the figure of the picked one for the accounts.
    if (!POLICIES[this.policy].usesResidency) this.#lookUp([slot], 1, shape);
    const cachedTokens = this.#cached[POLICIES[this.policy].usesResidency ? at : 0] as number;
    const lease = this.#lease(slot, ask, cachedTokens, blind);
    this.#picks += 1;
    slot.pickOrder = this.#picks;
    slot.lastPickedAtMs = nowMs;
    slot.breaker = breakerPicked(slot.breaker, nowMs);
    if (shape.blocks !== undefined) this.#deps.residency?.dispatched(slot, shape.blocks, nowMs);
    return { slot, lease, cachedTokens };
  }

  #lease(slot: EngineSlot, ask: PolicyAsk, cachedTokens: number, blind: boolean): Lease {
    const { shape, nowMs, outputTokens } = ask;
    const { promptTokens, model, blocks } = shape;
    const { tokens, squares } = aheadOf(slot, nowMs);
    const share = { uncachedTokens: promptTokens - cachedTokens, promptTokens, outputTokens, blind };
    const place = this.reservations.reserve(slot.engine, slot.incarnation, share, nowMs);
    const host: LeaseHost = {
      residency: this.#deps.residency,
      dropped: (where) => this.#deps.dropped?.(where),
      answered: (answerTokens) => this.#learnOutput(model, answerTokens),
    };
    const decides = slot.breaker.state !== 'closed';
    const start = { place, nowMs, promptTokens, cachedTokens, blocks, decides };
    return new RoutedLease(host, { ...start, aheadTokens: tokens, aheadSquares: squares });
  }

  #learnOutput(model: string, tokens: number): void {
    if (!(tokens >= 0) || tokens === Infinity) return;
    const mean = this.#outputTokens.get(model);
    if (mean === undefined && this.#outputTokens.size >= MOST_MODELS) return;
    const from = mean ?? FIRST_OUTPUT_TOKENS;
    this.#outputTokens.set(model, from + OUTPUT_PACE * (tokens - from));
  }
}

/** The tokens that wait on the engine, less what the oldest prompt must have got since its turn came. */
function aheadOf(slot: EngineSlot, nowMs: number): { readonly tokens: number; readonly squares: number } {
  const { head, pendingPrefillTokens, pendingPrefillSquares, speed } = slot;
  if (head === undefined) return { tokens: 0, squares: 0 };
  const headMs = speed.prefillPerTokenMs * head.tokens + (speed.prefillPerTokenSquaredMs ?? 0) * head.squares;
  const done = headMs > 0 ? Math.min(1, Math.max(0, nowMs - slot.headSinceMs) / headMs) : 1;
  return {
    tokens: pendingPrefillTokens - done * head.tokens,
    squares: pendingPrefillSquares - done * head.squares,
  };
}

function refuse(sorted: Sorted, slot: EngineSlot, why: { readonly by: string; readonly detail: string }): void {
  sorted.refused ??= new Map();
  sorted.refused.set(why.by, (sorted.refused.get(why.by) ?? 0) + 1);
  if (sorted.verdicts.length < MOST_REFUSED) sorted.verdicts.push({ kind: 'refused', engine: slot.engine, ...why });
}

function refuseBy(sorted: Sorted, slot: EngineSlot, ask: FilterAsk): void {
  const filter = FILTERS.find((each) => each.strength !== 'always' && !each.admits(slot, ask));
  if (filter !== undefined) refuse(sorted, slot, filter.why(slot, ask));
}
