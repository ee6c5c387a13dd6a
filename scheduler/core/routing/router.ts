/**
 * Filter, score, pick, reserve: one engine for one request, in one step, with the reasons. It holds what routing knows
 * (the engines by model, what is on them, how fast they are, their breakers) and is fed with facts, requests and their
 * ends; time is an argument and chance a seeded source, so the scheduler and the fleet simulator run this very code.
 */
import type { EngineId, NodeId } from '../../../lib/ids.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { Endpoint } from '../../ports.ts';
import { admit, createOpenSet, NOBODY } from './admission.ts';
import { breakerPicked } from './breaker.ts';
import { choose, keepBest } from './choice.ts';
import type { RequestShape, Residency } from './contract.ts';
import { type Decision, NO_ENGINES, type Picked, traceOf } from './decision.ts';
import { settleRow } from './engine_rows.ts';
import { type EngineSlot, prefillDone, waitingPrefillMs } from './engine_slot.ts';
import { createEngineTable, type EngineTable } from './engine_table.ts';
import { type LeaseHost, RoutedLease } from './lease.ts';
import type { PolicyAsk } from './policies/policy.ts';
import { POLICIES, type PolicyName } from './policies.ts';
import { createReservations, type Lease, type Reservations, tokensOf } from './reservations.ts';
import { createRevisionTallies, type RevisionTallies } from './revision_tallies.ts';
import type { TrafficRules } from './traffic_rules.ts';

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
  readonly tried: ReadonlyMap<EngineId, number>;
  /** Whether the agent of a node takes direct calls; absent: the request is relayed. */
  readonly callable?: ((node: NodeId) => boolean) | undefined;
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
  /** How requests are divided among revisions, and which engines are closed to them; until then nothing is. */
  divide(rules: TrafficRules): void;
  /** Whether a request for the model could be sent now, as far as the engines' own state goes. */
  serves(model: string): boolean;
  /** What the requests of each revision came to. */
  readonly tallies: RevisionTallies;
  /** Tokens that an answer of the model has in the mean, as far as was seen. */
  typicalOutputTokens(model: string): number;
}

/** Tokens of an answer before any was seen, and the pace at which the mean follows. */
const FIRST_OUTPUT_TOKENS = 256;
const OUTPUT_PACE = 0.02;
/** Models whose mean is kept. */
const MOST_MODELS = 4096;
const NONE_TRIED: ReadonlyMap<EngineId, number> = new Map();
const NONE_AVOIDED: ReadonlySet<number> = new Set();
/** In a decision's counts: engines of a revision that this request was not drawn for. */
const OTHER_REVISION = 'other_revision';

const withOthers = (refused: ReadonlyMap<string, number>, count: number): ReadonlyMap<string, number> =>
  new Map([...refused, [OTHER_REVISION, count]]);

export function createRouter(deps: RouterDeps): Router {
  return new FleetRouter(deps);
}

class FleetRouter implements Router {
  readonly engines: EngineTable;
  readonly reservations: Reservations;
  readonly tallies: RevisionTallies = createRevisionTallies();
  readonly #deps: RouterDeps;
  readonly #outputTokens = new Map<string, number>();
  readonly #open = createOpenSet();
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
      onSized: (slot) => deps.residency?.sized(slot, slot.kvTokens),
    });
  }

  get policy(): PolicyName {
    return this.#deps.options.policy;
  }

  typicalOutputTokens(model: string): number {
    return this.#outputTokens.get(model) ?? FIRST_OUTPUT_TOKENS;
  }

  pick(ask: RouteAsk): Decision {
    const pool = this.engines.pool(ask.shape.model);
    const known = { policy: this.policy, ...NOBODY, engines: pool?.slots.length ?? 0 };
    if (pool === undefined) return { trace: traceOf(known, NO_ENGINES, []), picked: undefined };
    const { staleAfterMs } = this.#deps.options;
    const admitted = admit(pool, { ...ask, staleAfterMs }, this.engines.rows, this.#open);
    const elsewhere = pool.divided === 0 ? 0 : this.#divide(ask.tried);
    const policy = POLICIES[this.policy];
    const policyAsk = this.#policyAsk(ask);
    policy.score(policyAsk, this.#totals);
    const at = choose(policy, policyAsk, this.#totals);
    const best = keepBest(policy, policyAsk, this.#totals, at);
    const refused = elsewhere === 0 ? admitted.refused : withOthers(admitted.refused, elsewhere);
    const trace = traceOf({ ...known, ...admitted, refused }, best, admitted.verdicts);
    const picked = at === undefined ? undefined : this.#take(policyAsk, at, ask.plain ?? false);
    return { trace, picked };
  }

  room(model: string, endpoint: Endpoint, nowMs: number): Room {
    const pool = this.engines.pool(model);
    if (pool === undefined) return { kind: 'none' };
    const { maxPendingPrefillMs, staleAfterMs } = this.#deps.options;
    const open = this.#open;
    admit(pool, { endpoint, tried: NONE_TRIED, nowMs, staleAfterMs }, this.engines.rows, open);
    if (pool.divided > 0) this.engines.splits.withoutStandby(open, this.engines.groups);
    let waitMs = Infinity;
    for (let i = 0; i < open.count; i++) {
      const slot = open.slots[i] as EngineSlot;
      const overMs = waitingPrefillMs(slot, nowMs) - maxPendingPrefillMs;
      if (overMs <= 0 && slot.reservedRequests < slot.maxSequences) return { kind: 'room' };
      waitMs = Math.min(waitMs, Math.max(0, overMs));
    }
    return open.count === 0 ? { kind: 'none' } : { kind: 'full', waitMs };
  }

  serves(model: string): boolean {
    const slots = this.engines.pool(model)?.slots ?? [];
    return slots.some(({ refusal, mark }) => refusal === undefined && mark?.closed !== true);
  }

  divide(rules: TrafficRules): void {
    this.engines.applyRules(rules);
    const labels = new Set<string>();
    for (const { mark } of this.engines.slots) if (mark !== undefined) labels.add(mark.label);
    this.tallies.keepOnly(labels);
  }

  /** Draws the revision that the request goes to; @returns how many open engines are of others */
  #divide(tried: ReadonlyMap<EngineId, number>): number {
    const { splits, groups } = this.engines;
    const avoid =
      tried.size === 0 ? NONE_AVOIDED : new Set([...tried.keys()].map((id) => this.engines.find(id)?.group ?? 0));
    return splits.narrow(this.#open, { groups, random: this.#deps.random, avoid });
  }

  #policyAsk({ shape: told, nowMs }: RouteAsk): PolicyAsk {
    const { slots: open, count, rowsAt } = this.#open;
    if (this.#totals.length < count) {
      this.#totals = new Float64Array(count * 2);
      this.#cached = new Float64Array(count * 2);
      this.#overlap = new Uint32Array(count * 2);
    }
    // A figure that cannot be must not make every cost one that cannot be.
    const shape = { ...told, promptTokens: tokensOf(told.promptTokens) };
    if (POLICIES[this.policy].usesResidency) this.#lookUp(open, count, shape);
    const typical = this.typicalOutputTokens(shape.model);
    const outputTokens = Math.min(tokensOf(shape.maxOutputTokens ?? typical), typical);
    const { random } = this.#deps;
    const { rows } = this.engines;
    return { shape, nowMs, random, open, count, rows, rowsAt, cachedTokens: this.#cached, outputTokens };
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

  /** Reserves, in the same step. */
  #take(ask: PolicyAsk, at: number, blind: boolean): Picked {
    const { shape, nowMs } = ask;
    const slot = ask.open[at] as EngineSlot;
    const { usesResidency } = POLICIES[this.policy];
    // A policy that does not ask for all engines needs the figure of the picked one for the accounts.
    if (!usesResidency) this.#lookUp([slot], 1, shape);
    const cachedTokens = this.#cached[usesResidency ? at : 0] as number;
    const lease = this.#lease(slot, ask, cachedTokens, blind);
    this.#picks += 1;
    slot.pickOrder = this.#picks;
    slot.lastPickedAtMs = nowMs;
    slot.breaker = breakerPicked(slot.breaker, nowMs);
    settleRow(slot);
    if (shape.blocks !== undefined) this.#deps.residency?.dispatched(slot, shape.blocks, nowMs);
    return { slot, lease, cachedTokens };
  }

  #lease(slot: EngineSlot, ask: PolicyAsk, cachedTokens: number, blind: boolean): Lease {
    const { shape, nowMs, outputTokens } = ask;
    const { promptTokens, model, blocks } = shape;
    const { head, pendingPrefillTokens, pendingPrefillSquares } = slot;
    const done = prefillDone(slot, nowMs);
    const share = { uncachedTokens: promptTokens - cachedTokens, promptTokens, outputTokens, blind };
    const place = this.reservations.reserve(slot.engine, slot.incarnation, share, nowMs);
    const host: LeaseHost = {
      residency: this.#deps.residency,
      dropped: (where) => this.#deps.dropped?.(where),
      answered: (tokens) => this.#learnOutput(model, tokens),
      tally: slot.mark === undefined ? undefined : this.tallies.open(slot.mark.label),
    };
    return new RoutedLease(host, {
      place,
      nowMs,
      promptTokens,
      cachedTokens,
      blocks,
      aheadTokens: pendingPrefillTokens - done * (head?.tokens ?? 0),
      aheadSquares: pendingPrefillSquares - done * (head?.squares ?? 0),
      decides: slot.breaker.state !== 'closed',
    });
  }

  #learnOutput(model: string, tokens: number): void {
    const mean = this.#outputTokens.get(model);
    if (mean === undefined && this.#outputTokens.size >= MOST_MODELS) return;
    const from = mean ?? FIRST_OUTPUT_TOKENS;
    this.#outputTokens.set(model, from + OUTPUT_PACE * (tokensOf(tokens) - from));
  }
}
