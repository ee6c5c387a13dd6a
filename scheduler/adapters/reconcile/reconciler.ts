/**
 * The loop of reconcile: it wakes when the fleet or the log changes, decides, and writes under its fence. Every scheduler
 * knows what each node is to run; only the one that leads decides anything and gives orders.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { NodeId } from '../../../lib/ids.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { DesiredState } from '../../../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineSpec } from '../../../proto/gen/fleet/v1/EngineSpec.ts';
import type { Projection } from '../../core/events/projection.ts';
import type { AppendItem, AppendRequest, EventStore } from '../../core/events/store_port.ts';
import type { PlacementPlan } from '../../core/placement/contract.ts';
import type { FleetState } from '../../core/fleet/state.ts';
import type { Declared, ReconcileOptions, Targets } from '../../core/reconcile/contract.ts';
import { readDeclared } from '../../core/reconcile/declared.ts';
import { decide, type PassInput, snapshotToPlan } from '../../core/reconcile/decide.ts';
import { type Gap, gapOf } from '../../core/reconcile/gap.ts';
import { HealingMemory } from '../../core/reconcile/heal.ts';
import { ModelBook } from '../../core/reconcile/model_book.ts';
import { turnMoves } from '../../core/reconcile/moves_turn.ts';
import { OrderBook } from '../../core/reconcile/orders.ts';
import { changeKey } from '../../core/reconcile/pass_key.ts';
import type { Leader } from './leader.ts';
import type { PlanElsewhere } from './plan_thread.ts';
import type { RolloutRunner } from './rollout_runner.ts';

/** What operators see of it from outside. */
export interface ReconcileFigures {
  leading(isLeading: boolean, epoch: number): void;
  pass(ms: number, pending: number): void;
  action(symptom: string, outcome: 'taken' | 'withheld'): void;
}

export interface ReconcilerDeps {
  readonly store: Pick<EventStore, 'append' | 'head'>;
  /** Asked anew each time: a log that a person took as it is begins another one. */
  readonly projection: () => Pick<Projection, 'entries' | 'seq' | 'atMs'>;
  /** The store says that its log is not the one that was known: nothing is decided or ordered. */
  readonly gap: () => string | undefined;
  readonly fleet: () => FleetState;
  readonly leader: Leader;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly figures: ReconcileFigures;
  readonly schedulerId: string;
  /** Unique for this life of this process; names its appends. */
  readonly holder: string;
  readonly options: ReconcileOptions;
  readonly targets: Targets;
  /** Changes revisions; absent: they are changed as the targets say. */
  readonly rollouts?: RolloutRunner;
  /** Where large plans are made; absent: here. */
  readonly planElsewhere?: PlanElsewhere;
  /** Engines of the configuration, which are ordered beside those of the log. */
  readonly configured: (node: string) => readonly EngineSpec[] | undefined;
  /** What a node is to run has changed: it is told. */
  readonly onOrdersChanged: (node: NodeId) => void;
}

const DEBOUNCE_MS = 50;
/** Time passes for lost nodes and failed engines too: a pass comes at least this often. */
const PERIOD_MS = 1000;
/** While revisions are changed: what fails must not take requests for long. */
const ROLLOUT_PERIOD_MS = 250;
/** How often it is planned again for what waits, though nothing but readings has changed. */
const REPLAN_MS = 10_000;
const CHUNK = 500;
/** The log may be behind what agents have acknowledged for this long before it is said aloud. */
const BEHIND_MS = 10_000;

export class Reconciler {
  readonly #deps: ReconcilerDeps;
  readonly #book: OrderBook;
  #memory: HealingMemory;
  #declared: Declared | undefined;
  /** The projection that it was read from. */
  #from: unknown;
  #cancel: (() => void) | undefined;
  #dueAtMs = Infinity;
  readonly #end = new AbortController();
  #stopped = false;
  #work: Promise<void> | undefined;
  #again = false;
  /** How far the projection must be before this leader may give orders; undefined: not asked yet. */
  #mustSee: number | undefined;
  /** What this leader has written itself, and must see before it decides again. */
  #wrote = 0;
  #ledEpoch = 0;
  /** The epoch under which every agent has been told its orders. */
  #orderedEpoch = 0;
  #unsure: AppendRequest | undefined;
  #appends = 0;
  #plannedKey = '';
  #plannedAtMs = -Infinity;
  #waiting = 0;
  #behindSinceMs: number | undefined;
  #accepted = 0;
  /** What the store's clock was ahead of our monotonic one when it was asked last; undefined: it never was. */
  #storeAheadMs: number | undefined;
  #lastWithheld = '';
  readonly #models = new ModelBook();

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps;
    this.#memory = new HealingMemory(deps.options);
    this.#book = new OrderBook(deps.configured);
  }

  start(): void {
    this.#later(0);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    this.#end.abort();
    await this.#work;
  }

  /** Something has changed; many calls make one pass. */
  wake(): void {
    this.#later(DEBOUNCE_MS);
  }

  /** What a node is to run; undefined: nothing is known yet. */
  desiredFor(node: string): DesiredState | undefined {
    return this.#declared === undefined ? undefined : this.#book.of(node);
  }

  /** Whether what desiredFor says may be ordered by this scheduler now. */
  mayOrder(): boolean {
    const { leader, gap } = this.#deps;
    return leader.isLeading() && this.#hasSeenAll() && gap() === undefined && this.#gap() === undefined;
  }

  /** A person takes the log as it is: what agents have acknowledged so far is no gap any more. */
  acceptLog(): void {
    this.#accepted = Math.max(this.#accepted, this.#gap()?.generation ?? 0);
    this.wake();
  }

  /** What the log says, as of now. */
  declared(): Declared {
    const projection = this.#deps.projection();
    if (this.#declared?.seq !== projection.seq() || this.#from !== projection) this.#takeUp(projection);
    return this.#declared as Declared;
  }

  /** Engines of the configuration on a node. */
  configured(node: string): readonly EngineSpec[] {
    return this.#deps.configured(node) ?? [];
  }

  #storeMs(): number {
    const { clock, projection } = this.#deps;
    const nowMs = this.#storeAheadMs === undefined ? clock.wallMs() : clock.monotonicMs() + this.#storeAheadMs;
    return Math.max(projection().atMs(), nowMs);
  }

  input(declared: Declared): PassInput {
    const { fleet, clock, leader, options, targets, schedulerId, projection } = this.#deps;
    return {
      declared,
      fleet: fleet(),
      configured: (node) => this.configured(node).map(({ name = '', gpuIds = [] }) => ({ name, gpus: gpuIds })),
      nowMs: clock.monotonicMs(),
      leadingSinceMs: leader.sinceMs,
      // The store's clock stands still while nothing is written; ours may be off. The later of the two avoids longest.
      wallMs: Math.max(projection().atMs(), clock.wallMs()),
      storeMs: this.#storeMs(),
      options,
      memory: this.#memory,
      generationOf: (node) => (this.mayOrder() ? Number(this.#book.of(node).generation) : undefined),
      targets,
      models: this.#models,
      writer: { actor: `scheduler:${schedulerId}`, correlationId: `reconcile-${leader.epoch}-${this.#appends}` },
    };
  }

  #later(delayMs: number): void {
    if (this.#stopped) return;
    const { clock } = this.#deps;
    const atMs = clock.monotonicMs() + delayMs;
    if (atMs >= this.#dueAtMs) return;
    this.#cancel?.();
    this.#dueAtMs = atMs;
    this.#cancel = clock.after(delayMs, () => {
      this.#dueAtMs = Infinity;
      if (this.#work === undefined) this.#work = this.#run();
      else this.#again = true;
    });
  }

  async #run(): Promise<void> {
    try {
      await this.#pass();
    } catch (error) {
      const { logger } = this.#deps;
      if (error instanceof CodedError) logger.warn({ code: error.code }, `reconcile: ${error.message}`);
      else logger.error({ err: error }, 'a pass of reconcile failed');
    }
    this.#work = undefined;
    this.#later(this.#again ? DEBOUNCE_MS : this.#deps.rollouts?.isRunning === true ? ROLLOUT_PERIOD_MS : PERIOD_MS);
    this.#again = false;
  }

  #takeUp(projection: ReturnType<ReconcilerDeps['projection']>): void {
    this.#from = projection;
    const isFirst = this.#declared === undefined;
    this.#declared = readDeclared(projection);
    const { places, seq } = this.#declared;
    // Routing knows a place before its agent does.
    this.#deps.rollouts?.takeUp(this.#declared, this.#deps.fleet());
    for (const node of this.#book.update(places, seq)) this.#deps.onOrdersChanged(node as NodeId);
    if (isFirst) this.#orderAll();
  }

  #orderAll(): void {
    for (const [name, node] of this.#deps.fleet().nodes) if (node.connected) this.#deps.onOrdersChanged(name);
  }

  #hasSeenAll(): boolean {
    return this.#mustSee !== undefined && this.#deps.projection().seq() >= this.#mustSee;
  }

  async #pass(): Promise<void> {
    const { leader, figures } = this.#deps;
    this.#follow(this.declared());
    figures.leading(leader.isLeading(), leader.epoch);
    if (!leader.isLeading()) {
      this.#mustSee = undefined;
      return;
    }
    await this.#beginToLead();
    this.#orderFirst();
    this.#tellGap();
    if (!this.mayOrder() || !(await this.#settleUnsure())) return;
    const now = this.declared();
    if (now.seq < this.#wrote || !(await this.#turnRollouts(now)) || !(await this.#turnMoves())) return;
    await this.#place();
  }

  async #place(): Promise<void> {
    const { leader, figures, clock } = this.#deps;
    const startedMs = clock.monotonicMs();
    const now = this.declared();
    this.#follow(now);
    const key = changeKey(this.input(now));
    const isDue = this.#waiting > 0 && startedMs - this.#plannedAtMs >= REPLAN_MS;
    const plan = key !== this.#plannedKey || isDue ? await this.#plan(now) : 'none';
    // While a large plan was made the world went on: it is carried out as far as it still holds.
    const current = this.declared();
    if (!this.mayOrder() || current.seq < this.#wrote) return;
    const decidedMs = clock.monotonicMs();
    const decision = decide(this.input(current), plan);
    if (decision.planned) {
      this.#plannedKey = key;
      this.#plannedAtMs = startedMs;
      this.#waiting = decision.pending + decision.withheld.length;
      this.#tellWithheld(decision.withheld);
    }
    figures.pass(clock.monotonicMs() - decidedMs, this.#waiting);
    if (decision.items.length === 0) return;
    this.#plannedKey = '';
    for (const line of decision.lines) this.#deps.logger.info({ epoch: leader.epoch }, `reconcile: ${line}`);
    for (const { symptom } of decision.actions) figures.action(symptom, 'taken');
    this.#memory.budget.spend(decision.actions.length, startedMs);
    await this.#write(decision.items);
  }

  #follow(declared: Declared): void {
    this.#models.learn(declared, this.#deps.fleet());
    this.#deps.rollouts?.follow(declared, this.#deps.fleet());
  }

  /** @returns whether what the rollouts say now is written and seen, so that it may be done */
  async #turnRollouts(declared: Declared): Promise<boolean> {
    const { rollouts } = this.#deps;
    if (rollouts === undefined || declared.frozen !== undefined) return true;
    const items = rollouts.turn(this.input(declared));
    if (items.length > 0 && !(await this.#write(items))) return false;
    return this.mayOrder() && this.declared().seq >= this.#wrote;
  }

  /** Takes an ordered defragmentation on, likewise. */
  async #turnMoves(): Promise<boolean> {
    const { items, lines } = turnMoves(this.input(this.declared()));
    for (const line of lines) this.#deps.logger.info(`reconcile: ${line}`);
    if (items.length > 0 && !(await this.#write(items))) return false;
    return this.mayOrder() && this.declared().seq >= this.#wrote;
  }

  async #plan(declared: Declared): Promise<PlacementPlan | 'now'> {
    const { planElsewhere, options } = this.#deps;
    if (planElsewhere === undefined || declared.frozen !== undefined) return 'now';
    const snapshot = snapshotToPlan(this.input(declared));
    return (await planElsewhere(snapshot, options.searchSteps, this.#end.signal)) ?? 'now';
  }

  /** What earlier leaders have written must be seen first; none of them can write any more. */
  async #beginToLead(): Promise<void> {
    const { leader, store, options, clock } = this.#deps;
    if (this.#mustSee !== undefined && this.#ledEpoch === leader.epoch) return;
    this.#ledEpoch = leader.epoch;
    this.#mustSee = undefined;
    this.#unsure = undefined;
    this.#plannedKey = '';
    this.#memory = new HealingMemory(options);
    this.#deps.rollouts?.forget();
    const { seq, nowMs } = await store.head();
    this.#storeAheadMs = nowMs - clock.monotonicMs();
    this.#mustSee = seq;
  }

  /** Every agent hears of a new leader at once, also where nothing changes: from then on it refuses the one before. */
  #orderFirst(): void {
    const { epoch } = this.#deps.leader;
    if (!this.mayOrder() || this.#orderedEpoch === epoch) return;
    this.#orderedEpoch = epoch;
    this.#orderAll();
  }

  /** Says once in a while what is missing, once a lag would be over. */
  #tellGap(): void {
    const { clock, logger, projection } = this.#deps;
    const gap = this.#gap();
    if (gap === undefined) {
      this.#behindSinceMs = undefined;
      return;
    }
    const nowMs = clock.monotonicMs();
    this.#behindSinceMs ??= nowMs;
    if (nowMs - this.#behindSinceMs < BEHIND_MS) return;
    this.#behindSinceMs = nowMs;
    const seq = projection().seq();
    const words = `events ${seq + 1} to ${gap.generation} are missing: ${gap.node} has acknowledged them`;
    logger.error({ seq, ...gap }, `reconcile stands still: ${words}`);
  }

  #gap(): Gap | undefined {
    const { fleet, projection, leader } = this.#deps;
    return gapOf(fleet(), projection().seq(), leader.epoch, this.#accepted);
  }

  #tellWithheld(withheld: readonly { readonly detail: string; readonly why: string }[]): void {
    const text = JSON.stringify(withheld);
    if (text === this.#lastWithheld) return;
    this.#lastWithheld = text;
    for (const each of withheld) {
      this.#deps.logger.warn(each, `not done (${each.why}): ${each.detail}`);
      this.#deps.figures.action((each as unknown as { symptom: string }).symptom, 'withheld');
    }
  }

  async #write(items: readonly AppendItem[]): Promise<boolean> {
    const { leader, holder } = this.#deps;
    for (let from = 0; from < items.length; from += CHUNK) {
      this.#appends += 1;
      const idempotencyId = `reconcile-${holder}-${this.#appends}`;
      this.#unsure = { idempotencyId, items: items.slice(from, from + CHUNK), fence: leader.fence };
      if (!(await this.#settleUnsure())) return false;
    }
    return true;
  }

  /** Writes what is not known to be written. @returns whether this pass may go on */
  async #settleUnsure(): Promise<boolean> {
    const { store, leader, logger } = this.#deps;
    const request = this.#unsure;
    if (request === undefined) return true;
    if (!leader.isLeading() || request.fence?.epoch !== leader.fence.epoch) {
      this.#unsure = undefined;
      return false;
    }
    const outcome = await store.append(request);
    this.#unsure = undefined;
    switch (outcome.kind) {
      case 'appended':
        this.#wrote = Math.max(this.#wrote, outcome.lastSeq);
        this.#again = true;
        return true;
      case 'fenced':
        leader.fenced(outcome.epoch);
        return false;
      case 'conflict':
        // Somebody changed what this was decided on: the next pass decides on what is there now.
        logger.info({ ...outcome }, 'reconcile decides again: the log has changed');
        this.#again = true;
        return false;
      default:
        logger.error({ ...outcome }, 'the store does not take what reconcile decided');
        return false;
    }
  }
}
