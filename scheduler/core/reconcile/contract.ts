/**
 * What reconcile knows and decides. A place is one try to have one replica run somewhere: it has an engine name of its own,
 * holds its GPUs from the event that makes it until the event that releases it, and is one entry of the log's area
 * `placement`. Whatever runs anywhere is a function of these entries; nothing is remembered beside the log.
 */
import type { AppendItem } from '../events/store_port.ts';
import type { AssignedPart } from '../placement/contract.ts';
import type { DeploymentSpec, NodeSpec, PoolSpec, QuarantineSpec } from '../resources/contract.ts';
import type { RolloutOrder, RolloutState } from '../rollout/contract.ts';
import type { MoveOrder } from './moves.ts';
import type { Symptom } from './symptoms.ts';

/** Kind of the entries of the area `placement`. */
export const PLACE_KIND = 'Replica';
/** Kind of the entries of the area `lifecycle` that keep a deployment off a node for a time. */
export const AVOID_KIND = 'Avoid';

/** Kind of the entries of the area `lifecycle` that keep the state of a deployment's rollout, under its name. */
export const ROLLOUT_KIND = 'Rollout';
/** Kind of the entries of the area `lifecycle` that hold an operator's order until the leader has taken it up. */
export const ROLLOUT_ORDER_KIND = 'RolloutOrder';

/**
 * waiting: it has its GPUs, and starts when those that it waits for have stopped. placed: it is to run. leaving: it is to run
 * until its successor is ready. stopping: it is to run no more, and nobody has confirmed that it does not. lost: as stopping,
 * on a node that cannot be asked.
 */
export type PlacePhase = 'waiting' | 'placed' | 'leaving' | 'stopping' | 'lost';

/** What the members of a replica over several hosts must agree on; written with the place, so that every leader orders the same. */
export interface Gang {
  /** Where the members find the first one. */
  readonly address: string;
  readonly port: number;
  /** Its nodes by rank; the first one leads and has the only door. */
  readonly nodes: readonly string[];
  /** A member has failed: all of it stops at once, as nothing that it runs can end well. */
  readonly broken?: true;
}

export interface Place {
  /** Name of its entry: `deployment/index/number`. */
  readonly name: string;
  /** Version of its entry, 0 while there is none. */
  readonly version: number;
  readonly deployment: string;
  readonly index: number;
  /** Tells the tries of one index apart that are there at once; from 1. */
  readonly number: number;
  readonly revision: string;
  /** Of that revision: a place runs what it was made for, whatever the deployment says now. */
  readonly spec: DeploymentSpec;
  readonly engine: string;
  readonly priority: number;
  readonly parts: readonly AssignedPart[];
  readonly phase: PlacePhase;
  /** Why it is in this phase, in words. */
  readonly reason: string;
  /** Names of places that must be gone before it may start. */
  readonly waitsFor: readonly string[];
  /** Name of the place that leaves once this one is ready. */
  readonly replaces?: string;
  /** Of a replica over several hosts; absent: of one, or written by a version that knew no gangs. */
  readonly gang?: Gang;
}

export interface DeploymentResource {
  readonly name: string;
  readonly version: number;
  readonly spec: DeploymentSpec;
  readonly revision: string;
  /** As the log has it; undefined: nobody has looked at it yet, or no rollouts are made here. */
  readonly rollout?: RolloutState;
}

export interface RolloutEntry {
  readonly version: number;
  /** Undefined: nothing that this version can carry on. */
  readonly state: RolloutState | undefined;
}

export interface WaitingOrder {
  readonly version: number;
  /** Undefined: nothing that this version knows. */
  readonly order: RolloutOrder | undefined;
}

export interface NodeResource {
  readonly spec: NodeSpec;
  readonly labels: Readonly<Record<string, string>>;
}

/** A deployment is kept off a node until a moment of the store's clock. */
export interface Avoidance {
  readonly deployment: string;
  readonly node: string;
  readonly untilMs: number;
  /** How often in a row it was taken off there. */
  readonly times: number;
  readonly version: number;
}

export interface QuarantineResource {
  readonly name: string;
  readonly version: number;
  readonly spec: QuarantineSpec;
  /** By the store's clock; absent: it ends when it is deleted. */
  readonly endsAtMs?: number;
}

/** What operators and earlier passes have put into the log, read once a pass. */
export interface Declared {
  /** The last event that is in it. */
  readonly seq: number;
  /** Declared engines are among them, under the names of resources/pinned.ts. */
  readonly deployments: ReadonlyMap<string, DeploymentResource>;
  readonly nodes: ReadonlyMap<string, NodeResource>;
  readonly pools: ReadonlyMap<string, PoolSpec>;
  readonly places: readonly Place[];
  readonly avoidances: readonly Avoidance[];
  /** By their names. */
  readonly quarantines: ReadonlyMap<string, QuarantineResource>;
  /** By deployment; of deleted ones too, until the leader has ended them. */
  readonly rollouts: ReadonlyMap<string, RolloutEntry>;
  readonly rolloutOrders: ReadonlyMap<string, WaitingOrder>;
  /** An ordered defragmentation that is not over; absent: there is none. */
  readonly moveOrder?: MoveOrder;
  /** Who froze the fleet and why; undefined: it is not. */
  readonly frozen: string | undefined;
}

/** How many replicas of one revision are wanted now. */
export interface RevisionTarget {
  readonly revision: string;
  readonly spec: DeploymentSpec;
  readonly replicas: number;
}

/** Divides a deployment among its revisions; rollouts put their own in its place. `places` are those of the deployment. */
export type Targets = (
  deployment: DeploymentResource,
  places: readonly Place[],
  isReady: (place: Place) => boolean,
) => readonly RevisionTarget[];

export interface ReconcileOptions {
  /** A node that is not connected for this long is lost, and its replicas are placed elsewhere. */
  readonly nodeLostMs: number;
  /** A node that said nothing for this long gets no new replica. */
  readonly staleAfterMs: number;
  /** An engine that its agent has given up for this long is taken off the node. */
  readonly engineFailedMs: number;
  /** How long a deployment is kept off a node where its engine was given up; doubles with each time in a row. */
  readonly avoidMs: number;
  /** Symptoms are told and not acted upon. */
  readonly observeOnly: boolean;
  /** Most actions against symptoms within the window. */
  readonly maxActions: number;
  readonly actionWindowMs: number;
  /** Most of a deployment's replicas that are moved at once, 0 to 1; at least one. */
  readonly maxMovedShare: number;
  /** When more than this share of the nodes seems lost, this scheduler's own network is doubted and nothing is moved. */
  readonly maxLostShare: number;
  /** Bound of the planner's search in one pass. */
  readonly searchSteps: number;
}

/** An action against a symptom, taken or, while only observing, foretold. */
export interface Action {
  readonly symptom: Symptom;
  readonly action: string;
  readonly deployment: string;
  readonly index: number;
  readonly node: string;
  readonly detail: string;
}

export interface Decision {
  /** What to append, all or none. */
  readonly items: readonly AppendItem[];
  /** The same in words, a line each. */
  readonly lines: readonly string[];
  readonly actions: readonly Action[];
  /** What would have been done against symptoms, and why it was not. */
  readonly withheld: readonly (Action & { readonly why: string })[];
  /** Replicas that have no place; 0 where it was not planned. */
  readonly pending: number;
  readonly planned: boolean;
}
