/** One engine as the lifecycle knows it, what can happen to it, and what is then to be done. Types only. */
import type { BackoffPolicy } from '../../../lib/backoff.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { Diagnosis } from '../crash_classifier.ts';
import type { AcceptedSpec } from '../engine_spec.ts';
import type { Check, PreflightOutcome } from '../preflight.ts';
import type { EngineStatus } from './table.ts';

export interface LiveModel {
  readonly id: string;
  readonly contextTokens?: number;
  readonly createdS?: number;
  readonly ownedBy?: string;
  readonly simulated: boolean;
}

/** A person's order to keep the engine drained. */
export interface Hold {
  readonly actor: string;
  readonly reason: string;
  /** Wall-clock milliseconds, because it outlives the agent. */
  readonly sinceMs: number;
}

export interface EngineLife {
  /** What is wanted now; the running process may still be of an older specification. */
  readonly spec: AcceptedSpec;
  readonly generation: number;
  readonly status: EngineStatus;
  readonly wanted: boolean;
  readonly hold?: Hold;
  /** Why its GPU may not be used; absent: it may. */
  readonly quarantine?: string;
  /** 0 before the first start. */
  readonly incarnation: number;
  /** Counts looks at the host, so that a late answer is known as such. */
  readonly attempt: number;
  /** Restarts after failures, since the last long good life. */
  readonly restarts: number;
  /** When they were, monotonic milliseconds, the newest few. */
  readonly restartTimesMs: readonly number[];
  readonly preflightFailures: number;
  /** Times that its address was found taken: the next choice differs. */
  readonly addressTries: number;
  /** Monotonic milliseconds since when the status holds. */
  readonly sinceMs: number;
  /** When the run loop is to send `timer`; absent: never. */
  readonly timerAtMs?: number;
  /** A launch is under way, so a process may appear. */
  readonly launching: boolean;
  /** When the launch of this process was asked for, monotonic milliseconds. */
  readonly launchedAtMs?: number;
  readonly pid?: number;
  /** Hash of the specification that the running process was launched with. */
  readonly runningHash?: string;
  /** The process is to be replaced by a fresh one although its specification is the wanted one. */
  readonly restarting?: boolean;
  /** Why the process is being ended, when that is a failure. */
  readonly ending?: { readonly reason: string; readonly message: string; readonly diagnosis?: Diagnosis };
  readonly adopted: boolean;
  /** Its weights are put away on a person's order: it takes no requests. */
  readonly sleeping: boolean;
  readonly models: readonly LiveModel[];
  readonly progressRatio?: number;
  readonly etaMs?: number;
  readonly checks: readonly Check[];
  readonly reason: string;
  readonly message: string;
  readonly cause?: string;
  readonly advice?: string;
  readonly exitCode?: number;
  readonly signal?: string;
}

export interface ExitFacts {
  readonly exitCode?: number;
  readonly signal?: string;
}

export type EngineEventIn =
  | { readonly kind: 'wanted'; readonly spec: AcceptedSpec; readonly generation: number }
  | { readonly kind: 'unwanted' }
  | { readonly kind: 'hold'; readonly hold: Hold }
  | { readonly kind: 'unhold'; readonly actor: string }
  | { readonly kind: 'quarantine'; readonly message: string }
  | { readonly kind: 'lift'; readonly message: string }
  /** By a person (`drain`: running requests may end first) or because its GPU asks for it. */
  | { readonly kind: 'restart'; readonly reason: string; readonly message: string; readonly drain: boolean }
  | { readonly kind: 'checked'; readonly attempt: number; readonly outcome: PreflightOutcome }
  /** The look at the host waits for the files of the model. */
  | {
      readonly kind: 'fetching';
      readonly attempt: number;
      readonly message: string;
      readonly ratio: number;
      readonly etaMs?: number;
    }
  | { readonly kind: 'launched'; readonly pid: number; readonly incarnation: number; readonly hash: string }
  | { readonly kind: 'launch_failed'; readonly message: string; readonly diagnosis: Diagnosis }
  | { readonly kind: 'progress'; readonly ratio: number; readonly message: string; readonly etaMs?: number }
  | { readonly kind: 'serving'; readonly models: readonly LiveModel[] }
  /** An adopted engine does not answer yet: it is still loading. */
  | { readonly kind: 'loading' }
  | { readonly kind: 'warmed'; readonly message: string }
  | { readonly kind: 'warm_failed'; readonly message: string }
  | { readonly kind: 'unhealthy'; readonly message: string }
  | { readonly kind: 'wedged'; readonly message: string }
  | { readonly kind: 'slept' }
  | { readonly kind: 'woke' }
  | { readonly kind: 'idle' }
  /** A process without which the engine is dead has ended; its first one is about to follow. */
  | { readonly kind: 'part_died'; readonly message: string }
  /** The first process has ended; what is left of its tree is being swept. */
  | ({ readonly kind: 'died' } & ExitFacts)
  /** After `died`: no process is left, and its GPU memory is free as far as can be told. */
  | ({
      readonly kind: 'gone';
      readonly diagnosis?: Diagnosis;
      /** Said when GPU memory stayed taken. */
      readonly holdouts?: string;
    } & ExitFacts)
  | { readonly kind: 'timer' };

export type EngineEffect =
  | { readonly kind: 'preflight'; readonly attempt: number }
  | { readonly kind: 'launch' }
  | { readonly kind: 'terminate' }
  | { readonly kind: 'kill' }
  /** Writes down what a wedged engine was doing, then kills its tree. */
  | { readonly kind: 'dump_and_kill' }
  /** A restart after a failure: it counts against the host's brake. */
  | { readonly kind: 'count_restart' }
  /** The engine is gone and not wanted: forget it. */
  | { readonly kind: 'forget' };

/** Time, chance and policy, handed in by the run loop. */
export interface LifecycleContext {
  /** Monotonic milliseconds. */
  readonly nowMs: number;
  readonly random: RandomSource;
  readonly restartBackoff: BackoffPolicy;
  /** Failures older than this do not count towards the most restarts. */
  readonly restartWindowMs: number;
  /** A life as `ready` of this length makes earlier failures forgotten. */
  readonly stableAfterMs: number;
  /** Least pause that the host's brake asks of the next restart, in milliseconds. */
  readonly hostRestartDelayMs: number;
}

export interface StepResult {
  readonly life: EngineLife;
  readonly effects: readonly EngineEffect[];
}
