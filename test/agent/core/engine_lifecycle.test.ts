/** The life of an engine: the table holds whatever happens, and each story has the end that it should have. */
import fc from 'fast-check';
import t from 'tap';
import {
  beginLife,
  type EngineEffect,
  type EngineEventIn,
  type EngineLife,
  type LifecycleContext,
  NEXT,
  step,
} from '../../../agent/core/engine_lifecycle.ts';
import type { AcceptedSpec } from '../../../agent/core/engine_spec.ts';
import { seededRandom } from '../../../lib/rng.ts';

const SPEC: AcceptedSpec = {
  name: 'e',
  kind: 'sim',
  model: 'm',
  servedModelName: 'm',
  gpuIds: [],
  extraFlags: [],
  environment: {},
  limits: { startTimeoutMs: 1000, drainTimeoutMs: 500, stopTimeoutMs: 200, maxRestarts: 2 },
  hash: 'one',
};
const OTHER: AcceptedSpec = { ...SPEC, hash: 'two' };
const MODELS = [{ id: 'm', simulated: true }];

const at = (nowMs: number): LifecycleContext => ({
  nowMs,
  random: seededRandom(1),
  restartBackoff: { baseMs: 100, capMs: 400, minMs: 10 },
  stableAfterMs: 10_000,
});

/** Plays events one after another; numbers move the clock. */
function play(...story: readonly (EngineEventIn | number)[]): {
  life: EngineLife;
  effects: EngineEffect['kind'][];
  nowMs: number;
} {
  let nowMs = 0;
  const first = beginLife(SPEC, 1, nowMs);
  let { life } = first;
  const effects = first.effects.map((effect) => effect.kind);
  for (const item of story) {
    if (typeof item === 'number') {
      nowMs += item;
      continue;
    }
    const result = step(life, item, at(nowMs));
    life = result.life;
    effects.push(...result.effects.map((effect) => effect.kind));
  }
  return { life, effects, nowMs };
}

const launched: EngineEventIn = { kind: 'launched', pid: 7, incarnation: 3 };
const serving: EngineEventIn = { kind: 'serving', models: MODELS };
const exited: EngineEventIn = { kind: 'exited', exitCode: 0 };
const killed: EngineEventIn = { kind: 'exited', signal: 'SIGKILL', message: 'The GPU is out of memory.' };
const timer: EngineEventIn = { kind: 'timer' };
const unwanted: EngineEventIn = { kind: 'unwanted' };
const wanted = (spec: AcceptedSpec, generation: number): EngineEventIn => ({ kind: 'wanted', spec, generation });

t.test('starts, serves, drains and stops', async (t) => {
  t.equal(play(launched).life.status, 'starting');
  const ready = play(launched, { kind: 'progress', ratio: 0.4, message: 'half' }, serving).life;
  t.match(ready, { status: 'ready', incarnation: 3, pid: 7, models: MODELS, progressRatio: undefined });
  t.equal(play(launched, serving, unwanted).life.status, 'draining');
  t.match(play(launched, serving, unwanted, { kind: 'idle' }), {
    life: { status: 'stopping' },
    effects: ['launch', 'terminate'],
  });
  t.match(play(launched, serving, unwanted, { kind: 'idle' }, exited), {
    life: { status: 'stopped' },
    effects: ['launch', 'terminate', 'forget'],
  });
});

t.test('progress only rises, and only while it starts', async (t) => {
  const progress = (ratio: number): EngineEventIn => ({ kind: 'progress', ratio, message: String(ratio) });
  t.equal(play(launched, progress(0.5), progress(0.2)).life.progressRatio, 0.5);
  t.equal(play(launched, serving, progress(0.5)).life.progressRatio, undefined);
});

t.test('a drain ends at its time limit, and a stop becomes a kill, again and again', async (t) => {
  const story = play(launched, serving, unwanted, 499, timer, 1, timer);
  t.same(story.effects, ['launch', 'terminate']);
  t.equal(story.life.status, 'stopping');
  t.same(play(launched, serving, unwanted, 500, timer, 200, timer, 200, timer).effects, [
    'launch',
    'terminate',
    'kill',
    'kill',
  ]);
});

t.test('an unasked exit is a crash, also with status 0', async (t) => {
  t.match(play(launched, serving, exited).life, {
    status: 'backoff',
    restarts: 1,
    exitCode: 0,
    pid: undefined,
    models: [],
  });
  t.match(play(launched, killed).life, {
    status: 'backoff',
    reason: 'start_crashed',
    signal: 'SIGKILL',
    message: /out of memory/,
  });
  t.match(play(launched, { kind: 'exited' }).life, { message: /unknown/ });
});

t.test('restarts after a pause, and gives up after so many', async (t) => {
  const again = play(launched, exited, 1000, timer);
  t.same(again.effects, ['launch', 'launch']);
  t.equal(again.life.status, 'pending');
  const given = play(launched, exited, 1000, timer, launched, exited, 1000, timer, launched, exited);
  t.match(given.life, { status: 'failed', restarts: 2, message: /restarted 2 times/ });
  t.same(play(launched, exited, timer).effects, ['launch'], 'not before the pause is over');
});

t.test('a long good life makes earlier crashes forgotten', async (t) => {
  const story = play(launched, exited, 1000, timer, launched, exited, 1000, timer, launched, serving, 10_000, exited);
  t.match(story.life, { status: 'backoff', restarts: 1 });
});

t.test('a start that takes too long is stopped and tried again', async (t) => {
  const story = play(launched, 1000, timer);
  t.match(story, { life: { status: 'stopping', reason: 'start_timeout' }, effects: ['launch', 'terminate'] });
  t.match(play(launched, 1000, timer, exited).life, { status: 'backoff', reason: 'start_timeout', restarts: 1 });
});

t.test('an unhealthy engine is restarted', async (t) => {
  t.match(play(launched, serving, { kind: 'unhealthy', message: 'sick' }, exited).life, {
    status: 'backoff',
    reason: 'unhealthy',
  });
  t.equal(play(launched, { kind: 'unhealthy', message: 'sick' }).life.status, 'starting');
});

t.test('a new specification replaces the process, an equal one does not', async (t) => {
  t.match(play(launched, serving, wanted(SPEC, 2)).life, { status: 'ready', generation: 2 });
  const replaced = play(launched, serving, wanted(OTHER, 2), { kind: 'idle' }, exited);
  t.match(replaced, { life: { status: 'pending', spec: { hash: 'two' } }, effects: ['launch', 'terminate', 'launch'] });
  t.match(play(launched, wanted(OTHER, 2)), { life: { status: 'stopping' }, effects: ['launch', 'terminate'] });
  t.match(play(wanted(OTHER, 2), launched), {
    life: { status: 'stopping', spec: { hash: 'two' } },
    effects: ['launch', 'terminate'],
  });
  t.match(play(wanted(SPEC, 2), launched), { life: { status: 'starting', generation: 2 } });
});

t.test('an engine that is wanted again while it stops is started again', async (t) => {
  t.match(play(launched, serving, unwanted, wanted(SPEC, 2), { kind: 'idle' }, exited), {
    life: { status: 'pending' },
    effects: ['launch', 'terminate', 'launch'],
  });
  t.match(play(unwanted, wanted(SPEC, 2), launched).life, { status: 'starting' });
  t.match(play(launched, serving, wanted(OTHER, 2), wanted(OTHER, 3)).life, { afterStop: 'pending' });
});

t.test('unwanted in every status', async (t) => {
  t.match(play(unwanted), { life: { status: 'pending' }, effects: ['launch'] });
  t.match(play(unwanted, launched), { life: { status: 'stopping' }, effects: ['launch', 'terminate'] });
  t.match(play(unwanted, { kind: 'launch_failed', message: 'no' }), {
    life: { status: 'stopped' },
    effects: ['launch', 'forget'],
  });
  t.match(play(launched, unwanted, unwanted), { life: { status: 'stopping', afterStop: 'stopped' } });
  t.match(play(launched, exited, unwanted), { life: { status: 'stopped' }, effects: ['launch', 'forget'] });
  t.match(play(launched, serving, unwanted, { kind: 'idle' }, exited, unwanted, wanted(SPEC, 3)), {
    life: { status: 'stopped' },
  });
  t.match(play(launched, serving, unwanted, exited).life, { status: 'stopped' });
});

t.test('a launch that fails is retried, also with a newer specification', async (t) => {
  t.match(play({ kind: 'launch_failed', message: 'no such program' }).life, {
    status: 'backoff',
    reason: 'launch_failed',
    message: 'no such program',
  });
  t.match(play(wanted(OTHER, 2), { kind: 'launch_failed', message: 'no' }), {
    life: { status: 'pending', spec: { hash: 'two' } },
    effects: ['launch', 'launch'],
  });
  t.equal(play(launched, { kind: 'launch_failed', message: 'late' }).life.status, 'starting');
});

t.test('a failed engine waits for a newer generation', async (t) => {
  const dead = [launched, exited, 1000, timer, launched, exited, 1000, timer, launched, exited] as const;
  t.equal(play(...dead, wanted(SPEC, 1)).life.status, 'failed');
  t.match(play(...dead, wanted(SPEC, 2)).life, { status: 'pending', restarts: 0 });
  t.equal(play(...dead, wanted(OTHER, 1)).life.status, 'pending');
  t.equal(play(launched, exited, wanted(SPEC, 9)).life.status, 'backoff', 'a pause is not cut short by the same wish');
  t.equal(play(launched, exited, wanted(OTHER, 9)).life.status, 'pending');
});

t.test('events that do not fit change nothing', async (t) => {
  t.equal(play(launched, launched).life.status, 'starting');
  t.equal(play(serving).life.status, 'pending');
  t.equal(play(exited).life.status, 'pending');
  t.equal(play({ kind: 'idle' }).life.status, 'pending');
  t.equal(play(timer).life.status, 'pending');
  t.equal(play(launched, serving, 5000, timer).life.status, 'ready');
});

const anyEvent: fc.Arbitrary<EngineEventIn | number> = fc.oneof(
  fc.constantFrom<EngineEventIn>(
    launched,
    serving,
    exited,
    killed,
    timer,
    unwanted,
    { kind: 'idle' },
    { kind: 'unhealthy', message: 'x' },
    { kind: 'launch_failed', message: 'x' },
    { kind: 'progress', ratio: 0.5, message: 'x' },
  ),
  fc.constantFrom(1, 2, 3).map((generation) => wanted(SPEC, generation)),
  fc.constantFrom(1, 2, 3).map((generation) => wanted(OTHER, generation)),
  fc.nat(2000),
);

t.test('whatever happens, the table holds and time limits are set where a status needs one', async (t) => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 40 }), (story) => {
      let nowMs = 0;
      let { life } = beginLife(SPEC, 1, nowMs);
      for (const item of story) {
        if (typeof item === 'number') {
          nowMs += item;
          continue;
        }
        const before = life;
        const result = step(life, item, at(nowMs));
        life = result.life;
        const allowed: readonly string[] = NEXT[before.status];
        if (before.status !== life.status && !allowed.includes(life.status)) return false;
        const limited = ['starting', 'draining', 'stopping', 'backoff'].includes(life.status);
        if (limited !== (life.timerAtMs !== undefined)) return false;
        if (life.restarts > SPEC.limits.maxRestarts) return false;
        // A launch is asked for exactly when a life becomes pending.
        const asks = result.effects.some((effect) => effect.kind === 'launch');
        if (
          asks !== (life.status === 'pending' && before.status !== 'pending') &&
          !(asks && before.status === 'pending')
        )
          return false;
        if (life.status === 'ready' && life.pid === undefined) return false;
      }
      return true;
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test('an unwanted engine comes to rest, whatever happened before', async (t) => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 25 }), (story) => {
      const { life: start, nowMs: from } = play(...story);
      let nowMs = from;
      let life = step(start, unwanted, at(nowMs)).life;
      for (let round = 0; round < 5 && life.status !== 'stopped'; round++) {
        nowMs += 10_000;
        life = step(life, timer, at(nowMs)).life;
        if (life.status === 'pending') life = step(life, launched, at(nowMs)).life;
        if (life.status === 'stopping') life = step(life, exited, at(nowMs)).life;
      }
      return life.status === 'stopped';
    }),
    { numRuns: 500 },
  );
  t.pass();
});
