/**
 * What the doors can ask of the control plane: one list of operations for gRPC, HTTP and the command line, with what each
 * takes and gives. Types only.
 */
import type { FleetEvent } from '../events/event.ts';
import type { Entry, Until } from '../events/projection.ts';
import type { Outcome, ResourceName, ResourceRef } from './changes.ts';
import type { OrderVerb } from '../rollout/contract.ts';
import type {
  DefragmentView,
  DeploymentStatus,
  EngineStatus,
  NodeSpec,
  PlanView,
  QuarantineStatus,
  Resource,
  RolloutReport,
} from './contract.ts';
import type { FreezeView } from './control_port.ts';
import type { FieldChange } from './diff.ts';

/** Who asks, for the log. */
export interface Caller {
  readonly actor: string;
  readonly correlationId: string;
}

export interface ApplyRequest {
  /** Resources in the spelling of the files, unchecked. */
  readonly resources: readonly unknown[];
  /** Decide, and write nothing. */
  readonly dryRun: boolean;
  readonly reason: string;
}

/** A kind as a person types it. */
export interface RawRef {
  readonly kind: string;
  readonly name: string;
  readonly version?: number;
}

export interface DeleteRequest {
  readonly resources: readonly RawRef[];
  readonly dryRun: boolean;
  readonly reason: string;
}

export interface ResourceOutcome extends ResourceName {
  readonly outcome: Outcome;
  /** After the change; for a dry run before it. */
  readonly version: number;
  readonly changes: readonly FieldChange[];
  readonly notes: readonly string[];
}

export interface ChangeAnswer {
  readonly outcomes: readonly ResourceOutcome[];
  /** The event with which all of it is in the log; 0: nothing was written. */
  readonly seq: number;
  readonly correlationId: string;
}

export interface ResourceView {
  readonly resource: Resource;
  readonly updatedAtMs: number;
  readonly updatedBy: string;
  /** Of a deployment, where somebody reconciles. */
  readonly status?: DeploymentStatus;
  /** Of an engine, likewise. */
  readonly engine?: EngineStatus;
  /** Of a quarantine, likewise. */
  readonly quarantine?: QuarantineStatus;
}

export interface DescribeAnswer extends ResourceView {
  /** Why there is no status; empty when there is one. */
  readonly statusNote: string;
  readonly notes: readonly string[];
  /** The newest events of it that this scheduler remembers, oldest first. */
  readonly events: readonly FleetEvent[];
}

export interface PlanRequest {
  readonly resources: readonly unknown[];
  readonly deleted: readonly RawRef[];
}

export interface PlanAnswer extends PlanView {
  readonly outcomes: readonly ResourceOutcome[];
}

export interface RolloutOrderRequest {
  /** Of the deployment. */
  readonly name: string;
  readonly verb: OrderVerb;
  readonly reason: string;
}

export interface DefragmentOrder {
  /** `apply` lays the moves before the leader; `cancel` lets those that have begun end, and begins no other. */
  readonly verb: 'apply' | 'cancel';
  /** Name of the plan as it was shown; unused with `cancel`. */
  readonly plan: string;
  /** As it was planned with; absent: 16. */
  readonly maxMoves?: number;
  readonly reason: string;
}

export interface DefragmentAnswer {
  /** Ordered; with `cancel` those that do not begin any more. */
  readonly moves: number;
  /** Every event of it has this. */
  readonly correlationId: string;
}

export interface EventsRequest {
  /** Events after this one; absent: the newest ones. */
  readonly after?: number;
  /** Most events; for a stream most of them from before now. */
  readonly limit: number;
  /** Only of this kind of resource, and of this name. */
  readonly kind?: string;
  readonly name?: string;
}

export interface ReplayAnswer {
  readonly seq: number;
  readonly atMs: number;
  readonly entries: readonly Entry[];
  /** There are more entries than are given. */
  readonly truncated: boolean;
}

export interface Explanation {
  readonly servedModelName: string;
  readonly lines: readonly string[];
}

/** What operators have declared of a node, as far as it is in memory. */
export interface DeclaredNode {
  readonly name: string;
  readonly spec: NodeSpec;
  readonly updatedAtMs: number;
  readonly updatedBy: string;
  /** Why it was changed last; empty: nobody said, or it is too long ago. */
  readonly reason: string;
}

/**
 * All of them throw CodedError: store_off, store_…, invalid_resource, invalid_value, not_found, version_conflict; delete also
 * managed_elsewhere and fleet_frozen.
 */
export interface ResourceOperations {
  apply(request: ApplyRequest, caller: Caller): Promise<ChangeAnswer>;
  delete(request: DeleteRequest, caller: Caller): Promise<ChangeAnswer>;
  get(ref: RawRef): Promise<ResourceView>;
  /**
   * Engines and quarantines that nobody has declared are among those of their kind.
   * @param kind empty or `all`: what is declared of all kinds
   */
  list(kind: string): Promise<readonly ResourceView[]>;
  describe(ref: RawRef): Promise<DescribeAnswer>;
  /** From memory alone: whoever looks at nodes opens no store. */
  declaredNodes(): readonly DeclaredNode[];
  /** @throws CodedError reconcile_unavailable, planner_busy besides */
  plan(request: PlanRequest): Promise<PlanAnswer>;
  /** @param maxMoves absent: 16 @throws CodedError reconcile_unavailable, planner_busy besides */
  defragment(maxMoves?: number): Promise<DefragmentView>;
  /** Lays moves before the leader. @throws CodedError reconcile_unavailable, planner_busy, fleet_frozen, plan_stale, plan_running */
  orderDefragment(order: DefragmentOrder, caller: Caller): Promise<DefragmentAnswer>;
  /** The names of a deployment's model and why each node does or does not do; undefined: there is no such deployment. */
  explain(name: string): Promise<Explanation | undefined>;
  /** @throws CodedError reconcile_unavailable besides */
  rollout(name: string): Promise<RolloutReport>;
  /** Lays an order before the leader. @throws CodedError reconcile_unavailable, rollout_conflict besides */
  orderRollout(request: RolloutOrderRequest, caller: Caller): Promise<RolloutReport>;
  freeze(): FreezeView;
  setFreeze(reason: string, caller: Caller): Promise<FreezeView>;
  /** @param acceptLog takes a log with a gap as it is, besides */
  liftFreeze(reason: string, acceptLog: boolean, caller: Caller): Promise<FreezeView>;
  events(request: EventsRequest): Promise<readonly FleetEvent[]>;
  /** Events as they come, until the signal fires. */
  follow(request: EventsRequest, signal: AbortSignal): AsyncIterable<readonly FleetEvent[]>;
  /** @param area empty: all areas */
  replay(until: Until, area: string): Promise<ReplayAnswer>;
}

export type { ResourceRef };
