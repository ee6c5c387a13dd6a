/**
 * The pure step of an engine's life. The run loop turns what happens (a process ended, a probe answered, a timer rang)
 * into events and carries out the effects; whether an engine is started, restarted, drained or given up is decided here
 * alone. Every unrequested exit is a crash, also one with status 0: vLLM can end so after its core died (vllm#48966).
 */
import { backoffDelayMs, type BackoffPolicy } from '../../../lib/backoff.ts';
import { type Diagnosis, rowDiagnosis, seenDiagnosis } from '../crash_classifier.ts';
import type { AcceptedSpec } from '../engine_spec.ts';
import { drain, enter, fail, goPending, rest, retryOrGiveUp, shouldRun, stay, terminate, without } from './change.ts';
import type { EngineEventIn, EngineLife, ExitFacts, LifecycleContext, StepResult } from './life.ts';
import { TIMED, WITH_PROCESS } from './table.ts';

type Of<Kind extends EngineEventIn['kind']> = Extract<EngineEventIn, { kind: Kind }>;

/** A look at the host takes this long at most. */
const PREFLIGHT_TIMEOUT_MS = 30_000;
/** A first token may be slow (kernels are compiled for it), but not endlessly. */
const LEAST_WARM_MS = 30_000;
/** Pauses between looks at a host that is not ready: facts change by themselves, so there is no last look. */
const PREFLIGHT_BACKOFF: BackoffPolicy = { baseMs: 2000, capMs: 60_000, minMs: 500 };

/** After any change of the wishes: what the status must do about it. */
function reconsider(life: EngineLife, context: LifecycleContext): StepResult {
  const run = shouldRun(life);
  const changed = life.runningHash !== undefined && life.runningHash !== life.spec.hash;
  switch (life.status) {
    case 'pending':
    case 'backoff':
      return run ? stay(life) : rest(life, context.nowMs);
    case 'preflight':
      return run ? stay(life) : rest(life, context.nowMs);
    case 'failed':
      return run ? stay(life) : rest(life, context.nowMs);
    case 'stopped':
    case 'quarantined':
      if (run) return goPending(life, 'wanted', 'The engine is to run again.', context.nowMs);
      // Which of the two it is, and whether it is to be forgotten, is decided anew.
      return rest(life, context.nowMs);
    case 'starting':
    case 'warming':
      if (run && !changed) return stay(life);
      return terminate(life, whyEnd(life), 'The engine is being stopped.', context);
    case 'adopted':
    case 'ready':
      if (run && !changed) return stay(life);
      return drain(life, whyEnd(life), 'Running requests may finish; new ones are not taken.', context.nowMs);
    case 'draining':
      if (!run || changed || life.restarting === true || life.models.length === 0) return stay(life);
      return stay(
        enter(life, 'ready', context.nowMs, { reason: 'undrained', message: 'The engine takes requests again.' }),
      );
    case 'stopping':
      return stay(life);
  }
}

function whyEnd(life: EngineLife): string {
  if (!life.wanted) return 'unwanted';
  if (life.hold !== undefined) return 'drained';
  return life.quarantine === undefined ? 'replaced' : 'gpu_quarantined';
}

function onWanted(life: EngineLife, spec: AcceptedSpec, generation: number, context: LifecycleContext): StepResult {
  const same = spec.hash === life.spec.hash;
  const next: EngineLife = { ...life, spec, generation, wanted: true };
  const { status } = life;
  const isNews = !same || (status === 'failed' && generation !== life.generation);
  if ((status === 'backoff' || status === 'failed' || status === 'preflight') && isNews && shouldRun(next)) {
    const fresh = { ...next, restarts: 0, restartTimesMs: [], preflightFailures: 0, addressTries: 0 };
    return goPending(fresh, 'wanted', 'A new desired state asks for the engine.', context.nowMs);
  }
  if (status === 'stopped' && next.hold !== undefined) return stay(next);
  return reconsider(next, context);
}

function onRestart(life: EngineLife, event: Of<'restart'>, context: LifecycleContext): StepResult {
  const { reason, message } = event;
  const fresh: EngineLife = { ...life, restarts: 0, restartTimesMs: [], preflightFailures: 0 };
  switch (life.status) {
    case 'ready':
    case 'adopted':
      if (event.drain) return drain({ ...fresh, restarting: true }, reason, message, context.nowMs);
      return fail(life, reason, message, seenDiagnosis('gpu_order'), context);
    case 'starting':
    case 'warming':
      return terminate(fresh, reason, message, context);
    case 'backoff':
    case 'failed':
      return shouldRun(fresh) ? goPending(fresh, reason, message, context.nowMs) : stay(life);
    default:
      // It waits, is stopped on purpose, or is on its way to another life already.
      return stay(life);
  }
}

function onChecked(life: EngineLife, event: Of<'checked'>, context: LifecycleContext): StepResult {
  if (life.status !== 'preflight' || event.attempt !== life.attempt) return stay(life);
  const { outcome } = event;
  const checked: EngineLife = { ...without(life, 'progressRatio', 'etaMs'), checks: outcome.checks };
  if (outcome.kind === 'go') {
    const launching: EngineLife = {
      ...without(checked, 'exitCode', 'signal'),
      launching: true,
      launchedAtMs: context.nowMs,
      preflightFailures: 0,
    };
    const starting = enter(launching, 'starting', context.nowMs, {
      reason: 'launching',
      message: 'The engine process is being launched.',
      progressRatio: 0,
      timerAtMs: context.nowMs + life.spec.limits.startTimeoutMs,
    });
    return { life: starting, effects: [{ kind: 'launch' }] };
  }
  const { diagnosis, message } = outcome;
  const told = { reason: 'preflight_failed', cause: diagnosis.cause, advice: diagnosis.advice };
  if (diagnosis.retry === 'never') {
    const text = `${message} It is not tried again.`;
    return stay(enter(checked, 'failed', context.nowMs, { ...told, message: text }));
  }
  const delayMs = backoffDelayMs(life.preflightFailures, PREFLIGHT_BACKOFF, context.random);
  const change = {
    ...told,
    message,
    preflightFailures: life.preflightFailures + 1,
    addressTries: life.addressTries + (diagnosis.retry === 'other_address' ? 1 : 0),
    timerAtMs: context.nowMs + delayMs,
  };
  return stay(enter(checked, 'backoff', context.nowMs, change));
}

/** The time for the look at the host begins anew with each word about the files. */
function onFetching(life: EngineLife, event: Of<'fetching'>, context: LifecycleContext): StepResult {
  if (life.status !== 'preflight' || event.attempt !== life.attempt) return stay(life);
  const { message, ratio: progressRatio, etaMs } = event;
  const timerAtMs = context.nowMs + PREFLIGHT_TIMEOUT_MS;
  const further = { ...without(life, 'etaMs'), reason: 'model_files', message, progressRatio, timerAtMs };
  return stay(etaMs === undefined ? further : { ...further, etaMs });
}

function onLaunched(life: EngineLife, event: Of<'launched'>, context: LifecycleContext): StepResult {
  if (!life.launching) return stay(life);
  const { pid, incarnation, hash } = event;
  const running: EngineLife = { ...life, launching: false, pid, incarnation, runningHash: hash };
  // The wish went away, or its time was over, while the process was being launched.
  if (life.status === 'stopping') return { life: running, effects: [{ kind: 'terminate' }] };
  if (hash !== life.spec.hash) return reconsider(running, context);
  return stay({ ...running, reason: 'launched', message: 'The engine process runs; it is loading.' });
}

function onLaunchFailed(life: EngineLife, event: Of<'launch_failed'>, context: LifecycleContext): StepResult {
  if (!life.launching) return stay(life);
  const none: EngineLife = { ...life, launching: false };
  if (life.status === 'stopping' && life.ending === undefined) return afterEnd(none, context);
  return retryOrGiveUp(none, 'launch_failed', event.message, event.diagnosis, context);
}

function onServing(life: EngineLife, event: Of<'serving'>, context: LifecycleContext): StepResult {
  const { models } = event;
  // A member of a gang without a door serves no model.
  const said = models.length === 0 ? 'The engine runs' : 'The engine answers';
  if (life.status === 'adopted') {
    const message = `${said}; an earlier agent started it.`;
    return stay(enter({ ...life, models }, 'ready', context.nowMs, { reason: 'adopted', message }));
  }
  if (life.status !== 'starting' || life.pid === undefined) return stay(life);
  const timerAtMs = Math.max(life.timerAtMs ?? 0, context.nowMs + LEAST_WARM_MS);
  const message = models.length === 0 ? `${said}.` : `${said}; one token is asked of it.`;
  return stay(enter({ ...life, models }, 'warming', context.nowMs, { reason: 'warming', message, timerAtMs }));
}

function onWarmed(life: EngineLife, event: Of<'warmed'>, context: LifecycleContext): StepResult {
  if (life.status !== 'warming') return stay(life);
  const done = without(life, 'progressRatio', 'etaMs');
  return stay(enter(done, 'ready', context.nowMs, { reason: 'serving', message: event.message }));
}

function describeExit({ exitCode, signal }: ExitFacts): string {
  if (signal !== undefined) return `The engine was ended by ${signal}.`;
  return `The engine ended by itself with status ${exitCode ?? 'unknown'}.`;
}

const exitOf = (life: EngineLife, { exitCode, signal }: ExitFacts): EngineLife => ({
  ...without(life, 'exitCode', 'signal'),
  ...(exitCode === undefined ? {} : { exitCode }),
  ...(signal === undefined ? {} : { signal }),
});

/** A long good life makes earlier failures forgotten. */
function forgiven(life: EngineLife, context: LifecycleContext): EngineLife {
  const isStable = life.status === 'ready' && context.nowMs - life.sinceMs >= context.stableAfterMs;
  return isStable ? { ...life, restarts: 0, restartTimesMs: [] } : life;
}

/** From a death to the end of what is left: a keeper sweeps the tree, and the timer kills it should that not be enough. */
function onDeath(life: EngineLife, message: string, context: LifecycleContext, diagnosis?: Diagnosis): EngineLife {
  const timerAtMs = context.nowMs + life.spec.limits.stopTimeoutMs;
  if (life.status === 'draining') {
    const swept = 'The engine has ended; what is left of it is swept.';
    return enter(life, 'stopping', context.nowMs, { reason: life.reason, message: swept, timerAtMs });
  }
  const reason = life.status === 'ready' || life.status === 'adopted' ? 'crashed' : 'start_crashed';
  const ending = { reason, message, ...(diagnosis === undefined ? {} : { diagnosis }) };
  const failed: EngineLife = { ...forgiven(life, context), ending };
  return enter(failed, 'stopping', context.nowMs, { reason, message, timerAtMs });
}

function onDied(life: EngineLife, event: Of<'died'>, context: LifecycleContext): StepResult {
  if (!WITH_PROCESS.has(life.status) || life.pid === undefined) return stay(life);
  const ended = exitOf(life, event);
  return stay(life.status === 'stopping' ? ended : onDeath(ended, describeExit(event), context));
}

/** Its first process still lives, so it is told to end. */
function onPartDied(life: EngineLife, event: Of<'part_died'>, context: LifecycleContext): StepResult {
  if (!WITH_PROCESS.has(life.status) || life.pid === undefined || life.status === 'stopping') return stay(life);
  const dying = onDeath(life, event.message, context, rowDiagnosis('engine_core'));
  return { life: dying, effects: [{ kind: 'terminate' }] };
}

/** No process is left after an end that was asked for. */
function afterEnd(life: EngineLife, context: LifecycleContext): StepResult {
  if (!shouldRun(life)) return rest(life, context.nowMs);
  return goPending(life, life.reason, 'The engine is started afresh.', context.nowMs);
}

/** What was seen of these is only a symptom: what is found afterwards says more, unless it is one of the vague. */
const SYMPTOMS: ReadonlySet<string | undefined> = new Set(['unhealthy', 'engine_core']);
const VAGUE: ReadonlySet<string> = new Set(['unknown', 'killed', 'keeper_killed']);

/** What was seen tells why, or else the output. */
function whyEnded(seen: Diagnosis | undefined, found: Diagnosis | undefined): Diagnosis {
  if (SYMPTOMS.has(seen?.cause) && found !== undefined && !VAGUE.has(found.cause)) return found;
  return seen ?? found ?? seenDiagnosis('unknown');
}

function onGone(life: EngineLife, event: Of<'gone'>, context: LifecycleContext): StepResult {
  // The death is told first, always, so an engine whose process is gone is stopping already.
  if (life.status !== 'stopping' || life.pid === undefined) return stay(life);
  const ended = exitOf(life, event);
  const { ending } = life;
  if (ending === undefined) return afterEnd(ended, context);
  const diagnosis = whyEnded(ending.diagnosis, event.diagnosis);
  const said = diagnosis === ending.diagnosis ? [ending.message] : [ending.message, diagnosis.sentence];
  if (diagnosis.evidence !== undefined) said.push(`It wrote: ${diagnosis.evidence}`);
  if (event.holdouts !== undefined) said.push(event.holdouts);
  return retryOrGiveUp(ended, ending.reason, said.join(' '), diagnosis, context);
}

function onTimer(life: EngineLife, context: LifecycleContext): StepResult {
  if (life.timerAtMs === undefined || context.nowMs < life.timerAtMs || !TIMED.has(life.status)) return stay(life);
  switch (life.status) {
    case 'pending': {
      const attempt = life.attempt + 1;
      const change = {
        attempt,
        reason: life.reason,
        message: 'The host is being checked.',
        timerAtMs: context.nowMs + PREFLIGHT_TIMEOUT_MS,
      };
      return { life: enter(life, 'preflight', context.nowMs, change), effects: [{ kind: 'preflight', attempt }] };
    }
    case 'preflight': {
      const diagnosis = seenDiagnosis('host');
      const message = 'The host could not be checked in time.';
      const outcome = { kind: 'stop', checks: life.checks, diagnosis, message } as const;
      return onChecked(life, { kind: 'checked', attempt: life.attempt, outcome }, context);
    }
    case 'adopted':
    case 'starting':
    case 'warming': {
      const message = `The engine was not ready after ${life.spec.limits.startTimeoutMs} ms.`;
      return fail(life, 'start_timeout', message, seenDiagnosis('start_timeout'), context);
    }
    case 'draining':
      return terminate(life, life.reason, 'The time for running requests is over.', context);
    case 'stopping':
      // Rings again, should the kill not be the end (a process stuck inside the driver).
      return {
        life: { ...life, timerAtMs: context.nowMs + life.spec.limits.stopTimeoutMs },
        effects: life.pid === undefined ? [] : [{ kind: 'kill' }],
      };
    default:
      // Only backoff is left: no other status has a timer.
      return goPending(life, 'restarting', 'The pause after the last failure is over.', context.nowMs);
  }
}

function onTrouble(life: EngineLife, event: Of<'unhealthy' | 'wedged'>, context: LifecycleContext): StepResult {
  if (life.status !== 'ready' && life.status !== 'draining' && life.status !== 'adopted') return stay(life);
  // A drain that is stuck is cut short; its end was wished for, so nothing is retried because of it.
  if (life.status === 'draining') return terminate(life, life.reason, event.message, context, 'dump_and_kill');
  const how = event.kind === 'wedged' ? 'dump_and_kill' : 'terminate';
  return fail(forgiven(life, context), event.kind, event.message, seenDiagnosis(event.kind), context, how);
}

function onOrder(
  life: EngineLife,
  event: Of<'unwanted' | 'hold' | 'unhold' | 'quarantine' | 'lift'>,
  context: LifecycleContext,
): StepResult {
  switch (event.kind) {
    case 'unwanted':
      return life.wanted ? reconsider({ ...life, wanted: false }, context) : stay(life);
    case 'hold':
      return reconsider({ ...life, hold: event.hold }, context);
    case 'unhold':
      return life.hold === undefined ? stay(life) : reconsider(without(life, 'hold'), context);
    case 'quarantine':
      return reconsider({ ...life, quarantine: event.message }, context);
    case 'lift':
      return life.quarantine === undefined ? stay(life) : reconsider(without(life, 'quarantine'), context);
  }
}

/** What an event makes of an engine, and what is to be done. An event that does not fit the status changes nothing. */
export function step(life: EngineLife, event: EngineEventIn, context: LifecycleContext): StepResult {
  switch (event.kind) {
    case 'wanted':
      return onWanted(life, event.spec, event.generation, context);
    case 'unwanted':
    case 'hold':
    case 'unhold':
    case 'quarantine':
    case 'lift':
      return onOrder(life, event, context);
    case 'restart':
      return onRestart(life, event, context);
    case 'checked':
      return onChecked(life, event, context);
    case 'fetching':
      return onFetching(life, event, context);
    case 'launched':
      return onLaunched(life, event, context);
    case 'launch_failed':
      return onLaunchFailed(life, event, context);
    case 'progress': {
      if (life.status !== 'starting') return stay(life);
      const { ratio, message, etaMs } = event;
      const further = { ...without(life, 'etaMs'), progressRatio: Math.max(ratio, life.progressRatio ?? 0), message };
      return stay(etaMs === undefined ? further : { ...further, etaMs });
    }
    case 'serving':
      return onServing(life, event, context);
    case 'loading': {
      if (life.status !== 'adopted') return stay(life);
      const timerAtMs = context.nowMs + life.spec.limits.startTimeoutMs;
      const message = 'An earlier agent started it; it is still loading.';
      return stay(enter(life, 'starting', context.nowMs, { reason: 'adopted', message, timerAtMs }));
    }
    case 'warmed':
      return onWarmed(life, event, context);
    case 'warm_failed':
      if (life.status !== 'warming') return stay(life);
      return fail(life, 'warm_failed', event.message, seenDiagnosis('warm_failed'), context);
    case 'unhealthy':
    case 'wedged':
      return onTrouble(life, event, context);
    case 'slept':
      return stay(life.status === 'ready' ? { ...life, sleeping: true } : life);
    case 'woke':
      return stay({ ...life, sleeping: false });
    case 'idle':
      if (life.status !== 'draining') return stay(life);
      return terminate(life, life.reason, 'No request is left; the engine is being stopped.', context);
    case 'died':
      return onDied(life, event, context);
    case 'part_died':
      return onPartDied(life, event, context);
    case 'gone':
      return onGone(life, event, context);
    case 'timer':
      return onTimer(life, context);
  }
}
