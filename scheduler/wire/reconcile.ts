/**
 * Puts reconcile together: the lease, the loop, the orders of the nodes. Without a store it gives the orders of the
 * configuration, as a scheduler that is alone does.
 */
import type { Clock } from '../../lib/clock.ts';
import type { NodeId } from '../../lib/ids.ts';
import type { Logger } from '../../lib/io/logger.ts';
import type { Metrics } from '../../lib/io/metrics.ts';
import type { DesiredState } from '../../proto/gen/fleet/v1/DesiredState.ts';
import { Leader } from '../adapters/reconcile/leader.ts';
import { planElsewhere } from '../adapters/reconcile/plan_thread.ts';
import { Reconciler, type ReconcilerDeps, type ReconcileFigures } from '../adapters/reconcile/reconciler.ts';
import type { RolloutRunner } from '../adapters/reconcile/rollout_runner.ts';
import { createReconcileView } from '../adapters/reconcile/view.ts';
import { wakingSink } from '../adapters/reconcile/waking_sink.ts';
import type { SchedulerConfig } from '../config.ts';
import type { EventStore } from '../core/events/store_port.ts';
import type { Projection } from '../core/events/projection.ts';
import { desiredStateOf, namedNodes } from '../core/fleet/desired.ts';
import type { FleetState } from '../core/fleet/state.ts';
import type { ReconcileOptions, Targets } from '../core/reconcile/contract.ts';
import { rolloutTargets } from '../core/reconcile/rollout_targets.ts';
import { rollingTargets } from '../core/reconcile/wanted.ts';
import type { ReconcileView } from '../core/resources/contract.ts';
import type { FleetSink } from '../ports.ts';

/** What reconcile needs of the control plane. */
export interface ReconcileStore {
  readonly store: Pick<EventStore, 'append' | 'head' | 'leases'>;
  /** What the log adds up to; asked anew each time. */
  projection(): Pick<Projection, 'entries' | 'seq' | 'atMs'>;
  /** Nobody has used the store so far: the configuration alone says what runs, and no store is opened for that. */
  isUnused(): boolean;
  /** Calls once when the log has been read for the first time, at once when it has been. */
  onRead(listener: () => void): void;
  /** Calls after new events. What it returns ends that. */
  onEvents(listener: () => void): () => void;
  /** The log is not the one that was known: what is missing, in words. */
  gap(): string | undefined;
}

export interface ReconcileDeps {
  readonly config: SchedulerConfig;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Term and generation of a scheduler without a store. */
  readonly startedAtMs: number;
  /** Tells the lives of this process apart: a few random characters. */
  readonly life: string;
  /** Absent: the configuration alone says what runs. */
  readonly log?: ReconcileStore;
  /** Divides deployments among revisions; absent: they roll one replica at a time. */
  readonly targets?: Targets;
  /** Changes revisions by the strategy of each deployment; then the targets are its. */
  readonly rollouts?: RolloutRunner;
}

export interface Reconcile {
  /** For the run loop: what a node is to run. */
  desiredFor(node: NodeId): DesiredState | undefined;
  /** For the agents' door. */
  term(): number;
  mayOrder(): boolean;
  /** What agents say goes through here. */
  sinkOf(inner: FleetSink): FleetSink;
  /** Undefined without a store. */
  readonly view: ReconcileView | undefined;
  /** A person takes the log as it is, after a store came back from an older backup (EventStore.acceptLog). */
  acceptLog(): void;
  /** @param fleet the directory's state, which exists only once the run loop does */
  start(fleet: FleetState): void;
  stop(): Promise<void>;
}

export function reconcileOptions(config: SchedulerConfig, staleAfterMs: number): ReconcileOptions {
  return {
    nodeLostMs: config.nodeLostMs,
    staleAfterMs,
    engineFailedMs: config.engineFailedMs,
    avoidMs: config.avoidNodeMs,
    observeOnly: config.observeOnly,
    maxActions: config.healMaxActions,
    actionWindowMs: config.healWindowMs,
    maxMovedShare: config.healMaxMovedPercent / 100,
    maxLostShare: config.healMaxLostPercent / 100,
    searchSteps: config.placementSearchSteps,
  };
}

function figuresOf(metrics: Metrics): ReconcileFigures {
  const leading = metrics.gauge('sophia_reconcile_leading');
  const pending = metrics.gauge('sophia_replicas_pending');
  const passes = metrics.histogram('sophia_reconcile_pass_seconds');
  const actions = metrics.counter('sophia_reconcile_actions_total');
  return {
    leading: (isLeading) => leading.set({}, isLeading ? 1 : 0),
    pass(ms, waiting) {
      passes.observe({}, ms / 1000);
      pending.set({}, waiting);
    },
    action: (symptom, outcome) => actions.inc({ symptom, outcome }),
  };
}

/** The orders of the configuration alone. */
function createStatic({ config, startedAtMs }: ReconcileDeps): Reconcile {
  return {
    desiredFor: (node) => desiredStateOf(config.nodes, node, startedAtMs),
    term: () => startedAtMs,
    mayOrder: () => true,
    sinkOf: (inner) => inner,
    view: undefined,
    acceptLog: () => undefined,
    start: () => undefined,
    stop: () => Promise.resolve(),
  };
}

/** The newest term that agents have seen, at least `least`. */
function newestTerm({ nodes }: FleetState, least: number): number {
  let most = least;
  for (const { hello } of nodes.values()) most = Math.max(most, hello.observedTerm ?? 0);
  return most;
}

const holderOf = ({ config, life }: ReconcileDeps): string =>
  `${config.schedulerId.replaceAll(/[^\x21-\x7e]/g, '-').slice(0, 64)}/${life}`;

/** How a deployment is divided among its revisions, and who changes them. */
function revisionsOf({ targets, rollouts }: ReconcileDeps): Pick<ReconcilerDeps, 'targets' | 'rollouts'> {
  if (rollouts === undefined) return { targets: targets ?? rollingTargets };
  return { targets: targets ?? rolloutTargets, rollouts };
}

const NO_FLEET: FleetState = { nodes: new Map() };
const LEAST_STALE_MS = 10_000;
const STALE_PERIODS = 10;

/** What the loop is told of the fleet, and whom it tells. */
interface LoopSides {
  readonly fleet: () => FleetState;
  readonly observedTerm: () => number;
  readonly onOrdersChanged: (node: NodeId) => void;
}

function createLoop(deps: ReconcileDeps, log: ReconcileStore, { fleet, observedTerm, onOrdersChanged }: LoopSides) {
  const { config, clock, logger } = deps;
  const { store } = log;
  const holder = holderOf(deps);
  const leader = new Leader({
    leases: store.leases,
    clock,
    logger,
    holder,
    ttlMs: config.leaseTtlMs,
    observedTerm,
    onChanged: () => reconciler.wake(),
  });
  const reconciler = new Reconciler({
    store,
    projection: () => log.projection(),
    gap: () => log.gap(),
    fleet,
    leader,
    clock,
    logger,
    figures: figuresOf(deps.metrics),
    schedulerId: config.schedulerId,
    holder,
    options: reconcileOptions(config, Math.max(LEAST_STALE_MS, STALE_PERIODS * config.telemetryPeriodMs)),
    ...revisionsOf(deps),
    planElsewhere,
    configured: (node) => desiredStateOf(config.nodes, node as NodeId, 0)?.engines,
    onOrdersChanged,
  });
  return { leader, reconciler };
}

export function createReconcile(deps: ReconcileDeps): Reconcile {
  const { log } = deps;
  const configured = createStatic(deps);
  if (log === undefined) return configured;
  let fleet = NO_FLEET;
  let wasStatic = false;
  let isRead = false;
  let stopListening = (): void => undefined;
  const end = new AbortController();
  /** Until somebody uses the store. */
  const isStatic = (): boolean => {
    const is = !isRead && log.isUnused();
    wasStatic ||= is;
    return is;
  };
  let sink: FleetSink | undefined;
  // What was ordered before the store was used was ordered under the time of the start.
  const observedTerm = (): number => newestTerm(fleet, wasStatic ? deps.startedAtMs : 0);
  const { leader, reconciler } = createLoop(deps, log, {
    fleet: () => fleet,
    observedTerm,
    onOrdersChanged: (node) => sink?.onOrdersChanged?.(node),
  });
  return {
    desiredFor: (node) => (isStatic() ? configured.desiredFor(node) : reconciler.desiredFor(node)),
    // One that leads speaks under its own epoch and no other; the rest under the newest that anybody has seen.
    term() {
      if (isStatic()) return configured.term();
      return leader.isLeading() ? leader.epoch : Math.max(leader.epoch, observedTerm());
    },
    mayOrder: () => isStatic() || reconciler.mayOrder(),
    sinkOf(inner) {
      sink = wakingSink(inner, () => reconciler.wake());
      return sink;
    },
    view: createReconcileView(reconciler, leader, {
      rollouts: deps.rollouts,
      signal: end.signal,
      configuredNodes: namedNodes(deps.config.nodes),
    }),
    acceptLog: () => reconciler.acceptLog(),
    start(state) {
      fleet = state;
      log.onRead(() => {
        isRead = true;
        stopListening = log.onEvents(() => reconciler.wake());
        leader.start();
        reconciler.start();
      });
    },
    async stop() {
      end.abort();
      stopListening();
      await reconciler.stop();
      await leader.stop();
    },
  };
}
