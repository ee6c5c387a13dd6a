/**
 * The life of one engine as a table and one pure step. The run loop turns what happens (a process ended, a probe
 * answered, a timer rang) into events and carries out the effects; whether an engine is restarted, drained or given up
 * is decided here alone. Every unrequested exit is a crash, also one with status 0: vLLM can end so after its core died.
 */
import { backoffDelayMs, type BackoffPolicy } from '../../lib/backoff.ts';
import type { RandomSource } from '../../lib/rng.ts';
import type { AcceptedSpec } from './engine_spec.ts';

/** Which status may follow which. The statuses of proto's EngineState that are not here have no use yet. */
export const NEXT = {
  pending: ['pending', 'starting', 'backoff', 'failed', 'stopping', 'stopped'],
  starting: ['starting', 'ready', 'stopping', 'backoff', 'failed', 'stopped', 'pending'],
  ready: ['ready', 'draining', 'stopping', 'backoff', 'failed'],
  draining: ['draining', 'stopping', 'stopped', 'pending'],
  stopping: ['stopping', 'stopped', 'backoff', 'failed', 'pending'],
  stopped: [],
  backoff: ['backoff', 'pending', 'stopped'],
  failed: ['failed', 'pending', 'stopped'],
} as const satisfies Record<string, readonly string[]>;

export type EngineStatus = keyof typeof NEXT;

export interface LiveModel {
  readonly id: string;
  readonly contextTokens?: number;
  readonly createdS?: number;
  readonly ownedBy?: string;
  readonly simulated: boolean;
}

export interface EngineLife {
  readonly spec: AcceptedSpec;
  readonly generation: number;
  readonly status: EngineStatus;
  /** 0 before the first start. */
  readonly incarnation: number;
  readonly restarts: number;
  /** Monotonic milliseconds since when the status holds. */
  readonly sinceMs: number;
  /** When the run loop is to send `timer`; absent: never. */
  readonly timerAtMs?: number;
  /** What to become once the process is gone: ended for good, run again (with `spec`), or retried after a pause. */
  readonly afterStop?: 'stopped' | 'pending' | 'backoff';
  readonly pid?: number;
  readonly models: readonly LiveModel[];
  readonly progressRatio?: number;
  readonly reason: string;
  readonly message: string;
  readonly exitCode?: number;
  readonly signal?: string;
}

export type EngineEventIn =
  | { readonly kind: 'wanted'; readonly spec: AcceptedSpec; readonly generation: number }
  | { readonly kind: 'unwanted' }
  | { readonly kind: 'launched'; readonly pid: number; readonly incarnation: number }
  | { readonly kind: 'launch_failed'; readonly message: string }
  | { readonly kind: 'progress'; readonly ratio: number; readonly message: string }
  | { readonly kind: 'serving'; readonly models: readonly LiveModel[] }
  | { readonly kind: 'unhealthy'; readonly message: string }
  | { readonly kind: 'idle' }
  | { readonly kind: 'exited'; readonly exitCode?: number; readonly signal?: string; readonly message?: string }
  | { readonly kind: 'timer' };

export type EngineEffect =
  | { readonly kind: 'launch' }
  | { readonly kind: 'terminate' }
  | { readonly kind: 'kill' }
  /** The engine is gone and not wanted: forget it. */
  | { readonly kind: 'forget' };

/** Time, chance and policy, handed in by the run loop. */
export interface LifecycleContext {
  readonly nowMs: number;
  readonly random: RandomSource;
  readonly restartBackoff: BackoffPolicy;
  /** A life as `ready` of this length makes earlier crashes forgotten. */
  readonly stableAfterMs: number;
}

export interface StepResult {
  readonly life: EngineLife;
  readonly effects: readonly EngineEffect[];
}

type Change = Partial<Omit<EngineLife, 'status' | 'timerAtMs' | 'afterStop'>> & {
  readonly timerAtMs?: number;
  readonly afterStop?: 'stopped' | 'pending' | 'backoff';
};

function enter(life: EngineLife, status: EngineStatus, nowMs: number, change: Change): EngineLife {
  const { timerAtMs: _timer, afterStop: _afterStop, ...kept } = life;
  return { ...kept, status, sinceMs: nowMs, ...change };
}

function without<Key extends keyof EngineLife>(life: EngineLife, ...keys: readonly Key[]): EngineLife {
  const copy: Partial<Record<keyof EngineLife, unknown>> = { ...life };
  for (const key of keys) delete copy[key];
  return copy as unknown as EngineLife;
}

const stay = (life: EngineLife): StepResult => ({ life, effects: [] });

/** A new engine that is to run: begins with its launch. */
export function beginLife(spec: AcceptedSpec, generation: number, nowMs: number): StepResult {
  const life: EngineLife = {
    spec,
    generation,
    status: 'pending',
    incarnation: 0,
    restarts: 0,
    sinceMs: nowMs,
    models: [],
    reason: 'wanted',
    message: 'The engine is about to be started.',
  };
  return { life, effects: [{ kind: 'launch' }] };
}

function launchAgain(life: EngineLife, reason: string, message: string, nowMs: number): StepResult {
  const fresh = without(life, 'pid', 'progressRatio');
  return { life: enter(fresh, 'pending', nowMs, { models: [], reason, message }), effects: [{ kind: 'launch' }] };
}

function retryOrGiveUp(life: EngineLife, reason: string, message: string, context: LifecycleContext): StepResult {
  const wasStable = life.status === 'ready' && context.nowMs - life.sinceMs >= context.stableAfterMs;
  const restarts = wasStable ? 0 : life.restarts;
  const ended = without(life, 'pid', 'progressRatio');
  if (restarts >= life.spec.limits.maxRestarts) {
    const text = `${message} It was restarted ${restarts} times; no more.`;
    return stay(enter(ended, 'failed', context.nowMs, { models: [], reason, message: text, restarts }));
  }
  const delayMs = backoffDelayMs(restarts, context.restartBackoff, context.random);
  const change = { models: [], reason, message, restarts: restarts + 1, timerAtMs: context.nowMs + delayMs };
  return stay(enter(ended, 'backoff', context.nowMs, change));
}

function endProcess(life: EngineLife, afterStop: 'stopped' | 'pending', context: LifecycleContext): StepResult {
  const why = afterStop === 'pending' ? 'replaced' : 'unwanted';
  if (life.status === 'ready') {
    const change = {
      reason: why,
      message: 'Running requests may finish; new ones are not taken.',
      afterStop,
      timerAtMs: context.nowMs + life.spec.limits.drainTimeoutMs,
    };
    return stay(enter(life, 'draining', context.nowMs, change));
  }
  return terminate(life, afterStop, why, 'The engine is being stopped.', context);
}

function terminate(
  life: EngineLife,
  afterStop: 'stopped' | 'pending' | 'backoff',
  reason: string,
  message: string,
  context: LifecycleContext,
): StepResult {
  const timerAtMs = context.nowMs + life.spec.limits.stopTimeoutMs;
  return {
    life: enter(life, 'stopping', context.nowMs, { reason, message, afterStop, timerAtMs }),
    effects: [{ kind: 'terminate' }],
  };
}

function stopWithoutProcess(life: EngineLife, nowMs: number): StepResult {
  const stopped = enter(life, 'stopped', nowMs, { reason: 'unwanted', message: 'The engine is stopped.' });
  return { life: stopped, effects: [{ kind: 'forget' }] };
}

function onWanted(life: EngineLife, spec: AcceptedSpec, generation: number, context: LifecycleContext): StepResult {
  const same = spec.hash === life.spec.hash;
  const next: EngineLife = { ...life, spec, generation };
  switch (life.status) {
    case 'pending':
      // A launch is under way with the old specification; `launched` compares and replaces it.
      if (life.afterStop === 'stopped') return stay(without(next, 'afterStop'));
      return stay(same ? next : { ...next, afterStop: 'pending' });
    case 'starting':
    case 'ready':
      return same ? stay(next) : endProcess(next, 'pending', context);
    case 'draining':
    case 'stopping':
      return stay(life.afterStop === 'stopped' ? { ...next, afterStop: 'pending' } : next);
    case 'backoff':
    case 'failed':
      if (same && (life.status === 'backoff' || generation === life.generation)) return stay(next);
      return launchAgain({ ...next, restarts: 0 }, 'wanted', 'A new desired state asks for the engine.', context.nowMs);
    default:
      return stay(life);
  }
}

function onUnwanted(life: EngineLife, context: LifecycleContext): StepResult {
  switch (life.status) {
    case 'pending':
      return stay({ ...life, afterStop: 'stopped' });
    case 'starting':
    case 'ready':
      return endProcess(life, 'stopped', context);
    case 'draining':
    case 'stopping':
      return stay({ ...life, afterStop: 'stopped' });
    case 'backoff':
    case 'failed':
      return stopWithoutProcess(life, context.nowMs);
    default:
      return stay(life);
  }
}

function onLaunched(life: EngineLife, pid: number, incarnation: number, context: LifecycleContext): StepResult {
  const running: EngineLife = { ...life, pid, incarnation };
  if (life.afterStop === 'stopped' || life.afterStop === 'pending')
    return endProcess({ ...running, status: 'starting' }, life.afterStop, context);
  const change = {
    reason: 'launched',
    message: 'The engine process runs; it is loading.',
    progressRatio: 0,
    timerAtMs: context.nowMs + life.spec.limits.startTimeoutMs,
  };
  return stay(enter(without(running, 'exitCode', 'signal'), 'starting', context.nowMs, change));
}

function describeExit(exitCode: number | undefined, signal: string | undefined): string {
  if (signal !== undefined) return `The engine was ended by ${signal}.`;
  return `The engine ended by itself with status ${exitCode ?? 'unknown'}.`;
}

function onExited(
  life: EngineLife,
  event: Extract<EngineEventIn, { kind: 'exited' }>,
  context: LifecycleContext,
): StepResult {
  const ended: EngineLife = {
    ...without(life, 'exitCode', 'signal'),
    ...(event.exitCode === undefined ? {} : { exitCode: event.exitCode }),
    ...(event.signal === undefined ? {} : { signal: event.signal }),
  };
  const what = describeExit(event.exitCode, event.signal);
  const message = event.message === undefined ? what : `${what} ${event.message}`;
  switch (life.status) {
    case 'starting':
      return retryOrGiveUp(ended, 'start_crashed', message, context);
    case 'ready':
      return retryOrGiveUp(ended, 'crashed', message, context);
    case 'draining':
    case 'stopping':
      if (life.afterStop === 'pending')
        return launchAgain(ended, 'replaced', 'The engine starts with its new specification.', context.nowMs);
      if (life.afterStop === 'backoff') return retryOrGiveUp(ended, life.reason, life.message, context);
      return stopWithoutProcess(without(ended, 'pid', 'progressRatio'), context.nowMs);
    default:
      return stay(life);
  }
}

function onTimer(life: EngineLife, context: LifecycleContext): StepResult {
  if (life.timerAtMs === undefined || context.nowMs < life.timerAtMs) return stay(life);
  switch (life.status) {
    case 'starting': {
      const message = `The engine was not ready after ${life.spec.limits.startTimeoutMs} ms.`;
      return terminate(life, 'backoff', 'start_timeout', message, context);
    }
    case 'draining':
      return terminate(
        life,
        life.afterStop ?? 'stopped',
        'drain_timeout',
        'The time for running requests is over.',
        context,
      );
    case 'stopping':
      // Rings again, should the kill not be the end (a process stuck inside the driver).
      return {
        life: { ...life, timerAtMs: context.nowMs + life.spec.limits.stopTimeoutMs },
        effects: [{ kind: 'kill' }],
      };
    default:
      // Only backoff is left: no other status has a timer.
      return launchAgain(life, 'restarting', 'The pause after the last failure is over.', context.nowMs);
  }
}

/** What an event makes of an engine, and what is to be done. An event that does not fit the status changes nothing. */
export function step(life: EngineLife, event: EngineEventIn, context: LifecycleContext): StepResult {
  switch (event.kind) {
    case 'wanted':
      return onWanted(life, event.spec, event.generation, context);
    case 'unwanted':
      return onUnwanted(life, context);
    case 'launched':
      return life.status === 'pending' ? onLaunched(life, event.pid, event.incarnation, context) : stay(life);
    case 'launch_failed':
      if (life.status !== 'pending') return stay(life);
      if (life.afterStop === 'stopped') return stopWithoutProcess(life, context.nowMs);
      if (life.afterStop === 'pending')
        return launchAgain(life, 'replaced', 'The engine starts with its new specification.', context.nowMs);
      return retryOrGiveUp(life, 'launch_failed', event.message, context);
    case 'progress':
      if (life.status !== 'starting' || event.ratio <= (life.progressRatio ?? 0)) return stay(life);
      return stay({ ...life, progressRatio: event.ratio, message: event.message });
    case 'serving':
      if (life.status !== 'starting') return stay(life);
      return stay(
        enter(without(life, 'progressRatio'), 'ready', context.nowMs, {
          models: event.models,
          reason: 'serving',
          message: 'The engine answers.',
        }),
      );
    case 'unhealthy':
      return life.status === 'ready' ? terminate(life, 'backoff', 'unhealthy', event.message, context) : stay(life);
    case 'idle':
      if (life.status !== 'draining') return stay(life);
      return terminate(
        life,
        life.afterStop ?? 'stopped',
        life.reason,
        'No request is left; the engine is being stopped.',
        context,
      );
    case 'exited':
      return onExited(life, event, context);
    case 'timer':
      return onTimer(life, context);
  }
}
