/** How a life moves from one status to another: every change of status passes here, with its reason. */
import { judgeRestart } from '../restart_brake.ts';
import type { Diagnosis } from '../crash_classifier.ts';
import type { AcceptedSpec } from '../engine_spec.ts';
import type { EngineEffect, EngineLife, LifecycleContext, StepResult } from './life.ts';
import type { EngineStatus } from './table.ts';

export const stay = (life: EngineLife): StepResult => ({ life, effects: [] });

export function without<Key extends keyof EngineLife>(life: EngineLife, ...keys: readonly Key[]): EngineLife {
  const copy: Partial<Record<keyof EngineLife, unknown>> = { ...life };
  for (const key of keys) delete copy[key];
  return copy as unknown as EngineLife;
}

/** What a change of status carries. `timerAtMs` absent: no timer. */
export type Change = Partial<Omit<EngineLife, 'status'>> & { readonly reason: string; readonly message: string };

export function enter(life: EngineLife, status: EngineStatus, nowMs: number, change: Change): EngineLife {
  return { ...without(life, 'timerAtMs', 'cause', 'advice'), status, sinceMs: nowMs, ...change };
}

/** Whether the engine is to run, all orders together. */
export const shouldRun = (life: EngineLife): boolean =>
  life.wanted && life.hold === undefined && life.quarantine === undefined;

/** What told of the process that has ended. */
const noProcess = (life: EngineLife): EngineLife => ({
  ...without(life, 'pid', 'runningHash', 'restarting', 'ending', 'progressRatio', 'etaMs', 'launchedAtMs'),
  launching: false,
  adopted: false,
  sleeping: false,
  models: [],
});

/** A new engine that is to run. The wishes that already hold for it (a drained node) are events that follow. */
export function beginLife(spec: AcceptedSpec, generation: number, nowMs: number): EngineLife {
  return {
    spec,
    generation,
    status: 'pending',
    wanted: true,
    incarnation: 0,
    attempt: 0,
    restarts: 0,
    restartTimesMs: [],
    preflightFailures: 0,
    addressTries: 0,
    sinceMs: nowMs,
    timerAtMs: nowMs,
    launching: false,
    adopted: false,
    sleeping: false,
    models: [],
    checks: [],
    reason: 'wanted',
    message: 'The engine is about to be started.',
  };
}

/** An engine that an earlier agent left running under its keeper. */
export function adoptLife(
  spec: AcceptedSpec,
  generation: number,
  running: { readonly pid: number; readonly incarnation: number; readonly hash: string },
  nowMs: number,
): EngineLife {
  return {
    ...beginLife(spec, generation, nowMs),
    status: 'adopted',
    adopted: true,
    pid: running.pid,
    incarnation: running.incarnation,
    runningHash: running.hash,
    timerAtMs: nowMs + spec.limits.startTimeoutMs,
    reason: 'adopted',
    message: 'An earlier agent started it; it is being verified.',
  };
}

export function goPending(life: EngineLife, reason: string, message: string, nowMs: number): StepResult {
  return stay(enter(noProcess(life), 'pending', nowMs, { reason, message, timerAtMs: nowMs }));
}

/** The status of an engine that is not to run and has no process. */
export function rest(life: EngineLife, nowMs: number): StepResult {
  const ended = noProcess(life);
  if (!life.wanted) {
    const stopped = enter(ended, 'stopped', nowMs, { reason: 'unwanted', message: 'The engine is stopped.' });
    return { life: stopped, effects: [{ kind: 'forget' }] };
  }
  if (life.quarantine !== undefined && life.hold === undefined) {
    return stay(enter(ended, 'quarantined', nowMs, { reason: 'gpu_quarantined', message: life.quarantine }));
  }
  const message = `Drained by ${life.hold?.actor ?? 'a person'}${life.hold?.reason ? `: ${life.hold.reason}` : ''}.`;
  return stay(enter(ended, 'stopped', nowMs, { reason: 'drained', message }));
}

/** Ends the process at once: SIGTERM first, and the whole tree when that does not end it in time. */
export function terminate(
  life: EngineLife,
  reason: string,
  message: string,
  context: LifecycleContext,
  how: 'terminate' | 'dump_and_kill' = 'terminate',
): StepResult {
  const timerAtMs = context.nowMs + life.spec.limits.stopTimeoutMs;
  const stopping = enter(life, 'stopping', context.nowMs, { reason, message, timerAtMs });
  // A launch that is under way has no process yet; the one that appears is ended then.
  return { life: stopping, effects: life.pid === undefined ? [] : [{ kind: how }] };
}

/** Ends a process because of a failure: once it is gone, the engine is tried again or given up. */
export function fail(
  life: EngineLife,
  reason: string,
  message: string,
  diagnosis: Diagnosis,
  context: LifecycleContext,
  how?: 'terminate' | 'dump_and_kill',
): StepResult {
  return terminate({ ...life, ending: { reason, message, diagnosis } }, reason, message, context, how);
}

/** Lets running requests end before the process is. */
export function drain(life: EngineLife, reason: string, message: string, nowMs: number): StepResult {
  const timerAtMs = nowMs + life.spec.limits.drainTimeoutMs;
  return stay(enter(life, 'draining', nowMs, { reason, message, timerAtMs }));
}

/** After a failure, with no process left: a pause, or the end. */
export function retryOrGiveUp(
  life: EngineLife,
  reason: string,
  message: string,
  diagnosis: Diagnosis,
  context: LifecycleContext,
): StepResult {
  if (!shouldRun(life)) return rest(life, context.nowMs);
  const told = { reason, cause: diagnosis.cause, advice: diagnosis.advice };
  const ended = noProcess(life);
  if (diagnosis.retry === 'never') {
    return stay(enter(ended, 'failed', context.nowMs, { ...told, message: `${message} It is not tried again.` }));
  }
  const verdict = judgeRestart(
    life,
    { maxRestarts: life.spec.limits.maxRestarts, windowMs: context.restartWindowMs, backoff: context.restartBackoff },
    context.nowMs,
    context.random,
  );
  if (verdict.kind === 'give_up') {
    const text = `${message} It was restarted ${verdict.inWindow} times; no more.`;
    return stay(enter(ended, 'failed', context.nowMs, { ...told, message: text }));
  }
  const delayMs = Math.max(verdict.delayMs, context.hostRestartDelayMs);
  const effects: EngineEffect[] = [{ kind: 'count_restart' }];
  const addressTries = life.addressTries + (diagnosis.retry === 'other_address' ? 1 : 0);
  const change = { ...told, message, ...verdict.history, addressTries, timerAtMs: context.nowMs + delayMs };
  return { life: enter(ended, 'backoff', context.nowMs, change), effects };
}
