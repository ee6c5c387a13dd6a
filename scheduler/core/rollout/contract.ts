/**
 * What the rollout machine is told and what it answers. Its state is one JSON value for each deployment (entry of the area
 * `lifecycle`, kind `Rollout`); everything else is observed anew at each step, so another scheduler goes on where one
 * stopped. Times are milliseconds of the store's clock. Types only, and the few words that doors need.
 */
import type { JsonObject } from '../events/json.ts';
import type { Looks } from './statistics/looks.ts';

/** What engines of a deployment are, apart from how many there are and how they are changed. */
export interface Revision {
  /** Ten letters and digits, made of the spec (revision.ts). */
  readonly id: string;
  /** The fields that make an engine: enough to start one again after the deployment says something else. */
  readonly spec: JsonObject;
}

/** A strategy with nothing left open (strategy.ts). */
export interface Rules {
  readonly kind: 'rolling' | 'blue_green' | 'canary';
  readonly maxSurge: number;
  readonly maxUnavailable: number;
  /** Rising percentages of a canary; empty for the others. */
  readonly steps: readonly number[];
  readonly stepMs: number;
  readonly deadlineMs: number;
  /** What the deadline counts from: one that nobody set must not end a large rollout that gets on. */
  readonly deadlineFrom: 'start' | 'progress';
  readonly maxErrorRate: number;
  readonly maxTtftRatio: number;
  readonly smoke: { readonly prompt: string; readonly contains: string };
  /** Requests of the new revision that a step waits for, and how long at most. */
  readonly leastRequests: number;
  readonly sampleWaitMs: number;
}

export type ReplicaState = 'pending' | 'placed' | 'starting' | 'ready' | 'draining' | 'stopping' | 'failed';

/** One replica as it is seen now. One that has stopped is not listed any more. */
export interface ReplicaFacts {
  /** The same for as long as the replica is in its place. */
  readonly key: string;
  readonly revision: string;
  readonly state: ReplicaState;
  /** In words of placement or the agent: why it is pending, has failed. */
  readonly reason?: string;
  /** Times that its engine ended since it was placed. */
  readonly restarts?: number;
  /** The worst of its GPUs, and what is wrong with it. */
  readonly gpu?: 'ok' | 'degraded' | 'failed';
  readonly gpuReason?: string;
  /** The newest answer to the smoke prompt; absent: it was not asked. */
  readonly smoke?: SmokeResult;
}

export interface SmokeResult {
  readonly ok: boolean;
  /** False: there was no answer at all, so it may be asked again. */
  readonly answered: boolean;
  readonly attempts: number;
  /** The beginning of the answer, or the error. */
  readonly detail: string;
}

/** What requests of one revision came to, since its engines were first seen. */
export interface RevisionTally {
  readonly started: number;
  /** Those of which a first token came. */
  readonly spoken: number;
  /** Those that ended and say something about the engine. */
  readonly ended: number;
  /** Of these: faults of the engine, and requests that it refused as wrong. */
  readonly failures: number;
  readonly rejections: number;
  /** Times to the first token, milliseconds: how many there were, and the newest few hundred. */
  readonly ttftCount: number;
  readonly ttftMs: readonly number[];
}

/** The part of a tally that only grows; it begins anew where another scheduler has taken over. */
export type Counters = Pick<RevisionTally, 'started' | 'spoken' | 'ended' | 'failures' | 'rejections' | 'ttftCount'>;

export type OrderVerb = 'pause' | 'resume' | 'undo';

export interface RolloutOrder {
  readonly verb: OrderVerb;
  readonly actor: string;
  readonly reason: string;
}

/** What is wanted now. */
export interface Desired {
  readonly revision: Revision;
  readonly replicas: number;
  readonly rules: Rules;
}

export interface RolloutInput {
  readonly deployment: string;
  /** Undefined: never seen before. */
  readonly state: RolloutState | undefined;
  readonly desired: Desired;
  readonly replicas: readonly ReplicaFacts[];
  readonly tallies: Readonly<Record<string, RevisionTally>>;
  readonly orders: readonly RolloutOrder[];
  readonly nowMs: number;
}

export const GATE_NAMES = ['readiness', 'smoke', 'gpu_health', 'silence', 'error_rate', 'rejections', 'ttft'] as const;
export type GateName = (typeof GATE_NAMES)[number];

/** Why something is as it is; text.ts makes sentences of it. */
export type Reason =
  | { readonly kind: 'gate'; readonly gate: GateName; readonly facts: GateFacts }
  | { readonly kind: 'deadline'; readonly afterMs: number; readonly waitingFor: string }
  | { readonly kind: 'operator'; readonly actor: string; readonly reason: string }
  /** The deployment asks for the old revision again. */
  | { readonly kind: 'reverted' };

/** Numbers and words of a gate's verdict; what they mean is in docs/ROLLOUTS.md. */
export type GateFacts = Readonly<Record<string, number | string>>;

export type Verdict =
  | { readonly kind: 'pass' }
  | { readonly kind: 'wait'; readonly gate: GateName; readonly facts: GateFacts }
  | { readonly kind: 'fail'; readonly gate: GateName; readonly facts: GateFacts };

export type Phase =
  | 'starting'
  | 'replacing'
  | 'stepping'
  | 'preparing'
  | 'baking'
  | 'removing'
  | 'rolling_back'
  | 'done'
  | 'rolled_back';
/** Phases of a rollout that goes on: one that is over is in the history. */
export type LivePhase = Exclude<Phase, 'done' | 'rolled_back'>;

/** A stretch of a rollout over which gates take their samples. */
export interface Step {
  /** Of a canary: which of its percentages; of the others 0. */
  readonly index: number;
  readonly sinceMs: number;
  /** New replicas that take requests in it. */
  readonly admitted: number;
  /** What the new revision's tally said when it began. */
  readonly before: Counters;
}

export interface Running {
  readonly phase: LivePhase;
  /** Null: there was no engine of the deployment before. */
  readonly from: Revision | null;
  readonly to: Revision;
  readonly rules: Rules;
  readonly startedAtMs: number;
  /** Where the deadline counts from the start. */
  readonly deadlineAtMs: number;
  readonly step: Step;
  /** What the tallies of both revisions said when the rollout began. */
  readonly before: { readonly from: Counters; readonly to: Counters };
  /** New replicas with which the traffic gates have passed. */
  readonly proven: number;
  /** Keys of replicas of revisions that are not proven yet whose smoke test passed. */
  readonly passed: readonly string[];
  readonly looks: Readonly<Record<'failures' | 'limit' | 'rejections' | 'ttft', Looks>>;
  readonly pause: { readonly actor: string; readonly reason: string; readonly atMs: number } | null;
  /** Why it goes or went back. */
  readonly reason: Reason | null;
  /** Replicas by revision, as last wanted: what a pause holds on to. */
  readonly wanted: Readonly<Record<string, number>>;
}

export type Outcome = 'done' | 'rolled_back' | 'superseded';

export interface HistoryEntry {
  readonly revision: Revision;
  readonly from: string | null;
  readonly strategy: Rules['kind'];
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly outcome: Outcome;
  readonly reason: Reason | null;
}

export interface RolloutState {
  /** The deployment's revision that was last taken note of: only another one begins a rollout. */
  readonly seen: string;
  /** The revision that is proven; null until the first is. */
  readonly current: Revision | null;
  /** The rollout under way; null: none. */
  readonly running: Running | null;
  /** Newest first. */
  readonly history: readonly HistoryEntry[];
}

/** How requests are divided among revisions. */
export interface RevisionShare {
  readonly revision: string;
  /** Only the ratio to the others counts. */
  readonly weight: number;
  /** With the weight 0: gets requests that no other revision can take. */
  readonly standby: boolean;
  /** Every replica of it may be sent requests; else only those that are admitted. */
  readonly proven: boolean;
}

export interface Traffic {
  /** Of one revision alone there is nothing to divide, and it is listed all the same. */
  readonly shares: readonly RevisionShare[];
  /** Keys of replicas of revisions that are not proven which may be sent requests. */
  readonly admitted: readonly string[];
}

export interface RolloutEvent {
  readonly kind: 'started' | 'step' | 'phase' | 'paused' | 'resumed' | 'refused' | Outcome;
  readonly detail: string;
}

export interface RolloutOutput {
  readonly state: RolloutState;
  /** The state is another than before: it is to be written before anything of the rest is done. */
  readonly changed: boolean;
  /** Replicas by revision; a revision that is not listed is to have none. */
  readonly wanted: Readonly<Record<string, number>>;
  readonly traffic: Traffic;
  /** Keys of replicas that are to be asked the smoke prompt. */
  readonly ask: readonly string[];
  /** What it waits for. */
  readonly waiting: readonly Verdict[];
  readonly events: readonly RolloutEvent[];
}
