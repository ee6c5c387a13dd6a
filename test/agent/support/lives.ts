/** Lives of engines, played event by event: what the tests of the lifecycle share. */
import { rowDiagnosis } from '../../../agent/core/crash_classifier.ts';
import type { AcceptedSpec } from '../../../agent/core/engine_spec.ts';
import { adoptLife, beginLife } from '../../../agent/core/lifecycle/change.ts';
import type { EngineEffect, EngineEventIn, EngineLife, LifecycleContext } from '../../../agent/core/lifecycle/life.ts';
import { step } from '../../../agent/core/lifecycle/step.ts';
import { seededRandom } from '../../../lib/rng.ts';

export const SPEC: AcceptedSpec = {
  name: 'e',
  kind: 'sim',
  model: 'm',
  servedModelName: 'm',
  gpuIds: [],
  extraFlags: [],
  environment: {},
  limits: { startTimeoutMs: 60_000, drainTimeoutMs: 500, stopTimeoutMs: 200, maxRestarts: 2 },
  hash: 'one',
};
export const OTHER: AcceptedSpec = { ...SPEC, hash: 'two' };
export const MODELS = [{ id: 'm', simulated: true }];

export const at = (nowMs: number, hostRestartDelayMs = 0): LifecycleContext => ({
  nowMs,
  random: seededRandom(1),
  restartBackoff: { baseMs: 100, capMs: 400, minMs: 10 },
  restartWindowMs: 1_000_000,
  stableAfterMs: 10_000,
  hostRestartDelayMs,
});

export type Item = EngineEventIn | number | ((life: EngineLife) => EngineEventIn);

export interface Played {
  readonly life: EngineLife;
  readonly effects: EngineEffect['kind'][];
  readonly nowMs: number;
}

/** Plays events one after another; numbers move the clock, functions make an event of the life as it is. */
export function playFrom(start: EngineLife, ...story: readonly Item[]): Played {
  let nowMs = 0;
  let life = start;
  const effects: EngineEffect['kind'][] = [];
  for (const item of story) {
    if (typeof item === 'number') {
      nowMs += item;
      continue;
    }
    const result = step(life, typeof item === 'function' ? item(life) : item, at(nowMs));
    life = result.life;
    effects.push(...result.effects.map((effect) => effect.kind));
  }
  return { life, effects, nowMs };
}

export const play = (...story: readonly Item[]): Played => playFrom(beginLife(SPEC, 1, 0), ...story);

export const timer: EngineEventIn = { kind: 'timer' };
export const passed = (life: EngineLife): EngineEventIn => ({
  kind: 'checked',
  attempt: life.attempt,
  outcome: { kind: 'go', checks: [{ name: 'address', verdict: 'ok', detail: 'free' }] },
});
export const refused =
  (cause: 'gpu_memory' | 'bad_model' | 'port_taken') =>
  (life: EngineLife): EngineEventIn => ({
    kind: 'checked',
    attempt: life.attempt,
    outcome: { kind: 'stop', checks: [], diagnosis: rowDiagnosis(cause), message: `Because of ${cause}.` },
  });
export const launchedAs = (hash: string): EngineEventIn => ({ kind: 'launched', pid: 7, incarnation: 3, hash });
export const launched = launchedAs('one');
export const serving: EngineEventIn = { kind: 'serving', models: MODELS };
export const warmed: EngineEventIn = { kind: 'warmed', message: 'It gave a token.' };
export const died: EngineEventIn = { kind: 'died', exitCode: 0 };
export const gone: EngineEventIn = { kind: 'gone', exitCode: 0 };
export const killed: EngineEventIn = { kind: 'gone', signal: 'SIGKILL', diagnosis: rowDiagnosis('gpu_memory') };
export const unwanted: EngineEventIn = { kind: 'unwanted' };
export const hold: EngineEventIn = { kind: 'hold', hold: { actor: 'ann', reason: 'a new disk', sinceMs: 5 } };
export const unhold: EngineEventIn = { kind: 'unhold', actor: 'ann' };
export const quarantine: EngineEventIn = { kind: 'quarantine', message: 'GPU 0 is quarantined.' };
export const lift: EngineEventIn = { kind: 'lift', message: 'released' };
export const idle: EngineEventIn = { kind: 'idle' };
export const wanted = (spec: AcceptedSpec, generation: number): EngineEventIn => ({ kind: 'wanted', spec, generation });
export const restart = (drain: boolean): EngineEventIn => ({
  kind: 'restart',
  reason: 'restart_ordered',
  message: 'go',
  drain,
});

export const STARTING = [timer, passed, launched] as const;
export const READY = [...STARTING, serving, warmed] as const;

export const CRASH = [...STARTING, died, gone, 1000, timer] as const;

export const adopted = adoptLife(SPEC, 4, { pid: 9, incarnation: 6, hash: 'one' }, 0);
