/** The life of an engine: the table holds whatever happens, and each story has the end that it should have. */
import fc from 'fast-check';
import t from 'tap';
import { rowDiagnosis, seenDiagnosis } from '../../../agent/core/crash_classifier.ts';
import type { AcceptedSpec } from '../../../agent/core/engine_spec.ts';
import { adoptLife, beginLife } from '../../../agent/core/lifecycle/change.ts';
import type { EngineEffect, EngineEventIn, EngineLife, LifecycleContext } from '../../../agent/core/lifecycle/life.ts';
import { step } from '../../../agent/core/lifecycle/step.ts';
import { type EngineStatus, NEXT, TIMED, WITH_PROCESS } from '../../../agent/core/lifecycle/table.ts';
import { seededRandom } from '../../../lib/rng.ts';

const SPEC: AcceptedSpec = {
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
const OTHER: AcceptedSpec = { ...SPEC, hash: 'two' };
const MODELS = [{ id: 'm', simulated: true }];

const at = (nowMs: number, hostRestartDelayMs = 0): LifecycleContext => ({
  nowMs,
  random: seededRandom(1),
  restartBackoff: { baseMs: 100, capMs: 400, minMs: 10 },
  restartWindowMs: 1_000_000,
  stableAfterMs: 10_000,
  hostRestartDelayMs,
});

type Item = EngineEventIn | number | ((life: EngineLife) => EngineEventIn);

interface Played {
  readonly life: EngineLife;
  readonly effects: EngineEffect['kind'][];
  readonly nowMs: number;
}

/** Plays events one after another; numbers move the clock, functions make an event of the life as it is. */
function playFrom(start: EngineLife, ...story: readonly Item[]): Played {
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

const play = (...story: readonly Item[]): Played => playFrom(beginLife(SPEC, 1, 0), ...story);

const timer: EngineEventIn = { kind: 'timer' };
const passed = (life: EngineLife): EngineEventIn => ({
  kind: 'checked',
  attempt: life.attempt,
  outcome: { kind: 'go', checks: [{ name: 'address', verdict: 'ok', detail: 'free' }] },
});
const refused =
  (cause: 'gpu_memory' | 'bad_model' | 'port_taken') =>
  (life: EngineLife): EngineEventIn => ({
    kind: 'checked',
    attempt: life.attempt,
    outcome: { kind: 'stop', checks: [], diagnosis: rowDiagnosis(cause), message: `Because of ${cause}.` },
  });
const launchedAs = (hash: string): EngineEventIn => ({ kind: 'launched', pid: 7, incarnation: 3, hash });
const launched = launchedAs('one');
const serving: EngineEventIn = { kind: 'serving', models: MODELS };
const warmed: EngineEventIn = { kind: 'warmed', message: 'It gave a token.' };
const died: EngineEventIn = { kind: 'died', exitCode: 0 };
const gone: EngineEventIn = { kind: 'gone', exitCode: 0 };
const killed: EngineEventIn = { kind: 'gone', signal: 'SIGKILL', diagnosis: rowDiagnosis('gpu_memory') };
const unwanted: EngineEventIn = { kind: 'unwanted' };
const hold: EngineEventIn = { kind: 'hold', hold: { actor: 'ann', reason: 'a new disk', sinceMs: 5 } };
const unhold: EngineEventIn = { kind: 'unhold', actor: 'ann' };
const quarantine: EngineEventIn = { kind: 'quarantine', message: 'GPU 0 is quarantined.' };
const lift: EngineEventIn = { kind: 'lift', message: 'released' };
const idle: EngineEventIn = { kind: 'idle' };
const wanted = (spec: AcceptedSpec, generation: number): EngineEventIn => ({ kind: 'wanted', spec, generation });
const restart = (drain: boolean): EngineEventIn => ({
  kind: 'restart',
  reason: 'restart_ordered',
  message: 'go',
  drain,
});

const STARTING = [timer, passed, launched] as const;
const READY = [...STARTING, serving, warmed] as const;

t.test('looks at the host, starts, warms up, serves, drains and stops', async (t) => {
  t.match(play(timer), { life: { status: 'preflight', attempt: 1 }, effects: ['preflight'] });
  t.match(play(timer, passed), {
    life: { status: 'starting', launching: true, checks: [{ verdict: 'ok' }] },
    effects: ['preflight', 'launch'],
  });
  t.match(play(...STARTING).life, { status: 'starting', pid: 7, incarnation: 3, launching: false });
  t.match(play(...STARTING, serving).life, { status: 'warming', models: MODELS });
  t.match(play(...READY).life, { status: 'ready', reason: 'serving', progressRatio: undefined });
  t.equal(play(...READY, unwanted).life.status, 'draining');
  t.match(play(...READY, unwanted, idle), {
    life: { status: 'stopping' },
    effects: ['preflight', 'launch', 'terminate'],
  });
  t.match(play(...READY, unwanted, idle, died, gone), {
    life: { status: 'stopped', reason: 'unwanted', pid: undefined },
    effects: ['preflight', 'launch', 'terminate', 'forget'],
  });
});

t.test('a host that is not ready is looked at again, a bad model is not', async (t) => {
  const again = play(timer, refused('gpu_memory'));
  t.match(again.life, { status: 'backoff', reason: 'preflight_failed', cause: 'gpu_memory', restarts: 0 });
  t.match(play(timer, refused('gpu_memory'), 60_000, timer, timer).life, { status: 'preflight', attempt: 2 });
  t.match(play(timer, refused('bad_model')).life, { status: 'failed', cause: 'bad_model', message: /not tried again/ });
  t.match(play(timer, refused('port_taken')).life, { status: 'backoff', addressTries: 1 });
  const late = play(timer, 30_000, timer);
  t.match(late.life, { status: 'backoff', cause: 'host' });
  t.equal(playFrom(late.life, passed).life.status, 'backoff', 'an answer that comes too late is passed over');
  t.equal(play(timer, { ...passed({ attempt: 9 } as EngineLife) }).life.status, 'preflight');
});

t.test('progress only rises, and only while it starts', async (t) => {
  const progress = (ratio: number, etaMs?: number): EngineEventIn => ({
    kind: 'progress',
    ratio,
    message: String(ratio),
    ...(etaMs === undefined ? {} : { etaMs }),
  });
  t.match(play(...STARTING, progress(0.5, 9), progress(0.2)).life, { progressRatio: 0.5, etaMs: undefined });
  t.equal(play(...STARTING, progress(0.5, 9)).life.etaMs, 9);
  t.equal(play(...READY, progress(0.5)).life.progressRatio, undefined);
});

t.test('an engine that cannot generate never takes traffic', async (t) => {
  const cold = play(...STARTING, serving, { kind: 'warm_failed', message: 'no token' });
  t.match(cold.life, { status: 'stopping', reason: 'warm_failed' });
  t.match(playFrom(cold.life, gone).life, { status: 'backoff', cause: 'warm_failed', restarts: 1 });
  t.equal(play(...READY, { kind: 'warm_failed', message: 'late' }).life.status, 'ready');
});

t.test('a drain ends at its time limit, and a stop becomes a kill, again and again', async (t) => {
  const story = play(...READY, unwanted, 499, timer, 1, timer);
  t.same(story.effects, ['preflight', 'launch', 'terminate']);
  t.equal(story.life.status, 'stopping');
  t.same(play(...READY, unwanted, 500, timer, 200, timer, 200, timer).effects, [
    'preflight',
    'launch',
    'terminate',
    'kill',
    'kill',
  ]);
});

t.test('an unasked exit is a crash, also with status 0, told at once and explained when all is gone', async (t) => {
  const first = play(...READY, died);
  t.match(first.life, { status: 'stopping', reason: 'crashed', exitCode: 0, message: /ended by itself with status 0/ });
  t.match(playFrom(first.life, gone).life, {
    status: 'backoff',
    restarts: 1,
    cause: 'unknown',
    pid: undefined,
    models: [],
  });
  t.match(play(...STARTING, { kind: 'died', signal: 'SIGKILL' }, killed).life, {
    status: 'backoff',
    reason: 'start_crashed',
    signal: 'SIGKILL',
    cause: 'gpu_memory',
    message: /less free memory/,
    advice: /never does that by itself/,
  });
  t.equal(play(...READY, gone).life.status, 'ready', 'an end comes after its death');
  t.match(play(...STARTING, { kind: 'died' }).life, { message: /unknown/ });
  const evidence = { ...rowDiagnosis('gpu_fault'), evidence: 'Xid 79' };
  t.match(
    play(...READY, died, { kind: 'gone', diagnosis: evidence, holdouts: 'pid 9 holds on.' }).life.message,
    /Xid 79.*pid 9/,
  );
});

t.test('a bad flag or a bad model is never tried again', async (t) => {
  for (const cause of ['bad_flag', 'bad_model'] as const) {
    const given = play(...STARTING, died, { kind: 'gone', exitCode: 2, diagnosis: rowDiagnosis(cause) });
    t.match(given.life, { status: 'failed', cause, restarts: 0 });
    t.equal(playFrom(given.life, wanted(SPEC, 1)).life.status, 'failed');
    t.equal(playFrom(given.life, wanted(SPEC, 2)).life.status, 'pending');
    t.equal(playFrom(given.life, restart(true)).life.status, 'pending');
  }
});

const CRASH = [...STARTING, died, gone, 1000, timer] as const;

t.test('restarts after a pause, and gives up after so many', async (t) => {
  const again = play(...CRASH);
  t.match(again, { life: { status: 'pending', restarts: 1 } });
  const given = play(...CRASH, ...CRASH, ...STARTING, died, gone);
  t.match(given.life, { status: 'failed', restarts: 2, message: /restarted 2 times/ });
  t.equal(play(...STARTING, died, gone, timer).life.status, 'backoff', 'not before the pause is over');
  const spread = play(...CRASH, 1_000_000, ...CRASH, 1_000_000, ...STARTING, died, gone);
  t.equal(spread.life.status, 'backoff', 'failures of long ago do not count');
});

t.test('the brake of the host makes a pause longer', async (t) => {
  const before = play(...STARTING, died).life;
  const { life, effects } = step(before, gone, at(0, 90_000));
  t.equal(life.timerAtMs, 90_000);
  t.same(effects, [{ kind: 'count_restart' }]);
});

t.test('a long good life makes earlier crashes forgotten', async (t) => {
  const story = play(...CRASH, ...CRASH, ...READY, 10_000, died, gone);
  t.match(story.life, { status: 'backoff', restarts: 1 });
});

t.test('a start that takes too long is stopped and tried again', async (t) => {
  const story = play(...STARTING, 60_000, timer);
  t.match(story, {
    life: { status: 'stopping', reason: 'start_timeout' },
    effects: ['preflight', 'launch', 'terminate'],
  });
  t.match(playFrom(story.life, gone).life, { status: 'backoff', cause: 'start_timeout', restarts: 1 });
  const unlaunched = play(timer, passed, 60_000, timer);
  t.match(unlaunched, { life: { status: 'stopping' }, effects: ['preflight', 'launch'] });
  t.match(playFrom(unlaunched.life, launched), { life: { status: 'stopping', pid: 7 }, effects: ['terminate'] });
  t.match(
    playFrom(unlaunched.life, 200, timer, { kind: 'launch_failed', message: 'no', diagnosis: seenDiagnosis('program') })
      .life,
    { status: 'backoff', cause: 'program' },
  );
});

t.test('an unhealthy engine is ended, a wedged one is first written down', async (t) => {
  const sick = play(...READY, { kind: 'unhealthy', message: 'sick' });
  t.match(sick, { life: { status: 'stopping' }, effects: ['preflight', 'launch', 'terminate'] });
  t.match(playFrom(sick.life, died, gone).life, { status: 'backoff', reason: 'unhealthy', cause: 'unhealthy' });
  const stuck = play(...READY, { kind: 'wedged', message: 'stuck' });
  t.match(stuck, { life: { status: 'stopping' }, effects: ['preflight', 'launch', 'dump_and_kill'] });
  t.match(playFrom(stuck.life, died, gone).life, { status: 'backoff', reason: 'wedged', message: 'stuck' });
  t.equal(play(...STARTING, { kind: 'unhealthy', message: 'sick' }).life.status, 'starting');
  const drained = play(...READY, unwanted, { kind: 'wedged', message: 'stuck' });
  t.match(drained, { life: { status: 'stopping', reason: 'unwanted' } });
  t.equal(playFrom(drained.life, died, gone).life.status, 'stopped');
});

t.test('a new specification replaces the process, an equal one does not', async (t) => {
  t.match(play(...READY, wanted(SPEC, 2)).life, { status: 'ready', generation: 2 });
  const replaced = play(...READY, wanted(OTHER, 2), idle, died, gone);
  t.match(replaced.life, { status: 'pending', spec: { hash: 'two' }, restarts: 0, reason: 'replaced' });
  t.match(play(...STARTING, wanted(OTHER, 2)).life, { status: 'stopping' });
  t.match(play(timer, wanted(OTHER, 2)).life, { status: 'pending', spec: { hash: 'two' } });
  t.match(play(timer, passed, wanted(OTHER, 2), launched).life, { status: 'stopping', spec: { hash: 'two' } });
  t.match(play(timer, passed, wanted(OTHER, 2), launchedAs('two')).life, { status: 'starting' });
  t.match(
    play(...READY, wanted(OTHER, 2), wanted(SPEC, 3)).life,
    { status: 'ready' },
    'the old wish comes back in time',
  );
});

t.test('an engine that is wanted again while it goes is kept or started again', async (t) => {
  t.match(play(...READY, unwanted, wanted(SPEC, 2)).life, { status: 'ready' });
  t.match(play(...READY, unwanted, idle, wanted(SPEC, 2), died, gone).life, { status: 'pending' });
  t.match(play(...STARTING, unwanted, wanted(SPEC, 2), died, gone).life, { status: 'pending' });
});

t.test('unwanted in every status', async (t) => {
  t.match(play(unwanted), { life: { status: 'stopped' }, effects: ['forget'] });
  t.match(play(timer, unwanted), { life: { status: 'stopped' }, effects: ['preflight', 'forget'] });
  t.match(play(timer, passed, unwanted, launched), {
    life: { status: 'stopping' },
    effects: ['preflight', 'launch', 'terminate'],
  });
  t.match(
    play(timer, passed, unwanted, { kind: 'launch_failed', message: 'no', diagnosis: seenDiagnosis('program') }),
    { life: { status: 'stopped' }, effects: ['preflight', 'launch', 'forget'] },
  );
  t.match(play(...STARTING, unwanted, unwanted), { life: { status: 'stopping' } });
  t.match(play(...STARTING, died, gone, unwanted), { life: { status: 'stopped' } });
  t.match(play(...READY, unwanted, died), { life: { status: 'stopping' } });
  t.match(play(...READY, hold, idle, died, gone, unwanted), { life: { status: 'stopped', reason: 'unwanted' } });
});

t.test('a drain by a person stops the engine until it is released, and can be cancelled', async (t) => {
  const draining = play(...READY, hold);
  t.match(draining.life, { status: 'draining', reason: 'drained' });
  t.match(playFrom(draining.life, unhold).life, { status: 'ready', reason: 'undrained' });
  const stopped = playFrom(draining.life, idle, died, gone);
  t.match(stopped, { life: { status: 'stopped', message: /ann: a new disk/ }, effects: ['terminate'] });
  t.equal(playFrom(stopped.life, wanted(SPEC, 4)).life.status, 'stopped', 'a wish does not lift it');
  t.equal(playFrom(stopped.life, unhold).life.status, 'pending');
  t.equal(playFrom(stopped.life, restart(true)).life.status, 'stopped');
  t.equal(play(hold).life.status, 'stopped');
  t.equal(play(unhold).life.status, 'pending');
});

t.test('an engine on a quarantined GPU waits until it is lifted', async (t) => {
  const quarantined = play(...READY, quarantine, idle, died, gone);
  t.match(quarantined.life, { status: 'quarantined', reason: 'gpu_quarantined' });
  t.equal(playFrom(quarantined.life, wanted(SPEC, 2)).life.status, 'quarantined');
  t.equal(playFrom(quarantined.life, hold).life.status, 'stopped');
  t.equal(playFrom(quarantined.life, hold, unhold).life.status, 'quarantined');
  t.equal(playFrom(quarantined.life, lift).life.status, 'pending');
  t.equal(play(quarantine, lift, lift).life.status, 'pending');
  t.match(play(...READY, quarantine, lift).life, { status: 'ready' });
});

t.test('a restart that is ordered lets requests end, one for a GPU does not', async (t) => {
  const ordered = play(...READY, restart(true));
  t.match(ordered.life, { status: 'draining', restarting: true });
  t.equal(playFrom(ordered.life, wanted(SPEC, 2)).life.status, 'draining');
  t.match(playFrom(ordered.life, idle, died, gone).life, { status: 'pending', restarts: 0 });
  const atOnce = play(...READY, restart(false));
  t.match(atOnce.life, { status: 'stopping' });
  t.match(playFrom(atOnce.life, died, gone).life, { status: 'backoff', cause: 'gpu_order' });
  t.match(play(...STARTING, restart(true), died, gone).life, { status: 'pending' });
});

t.test('a launch that fails is tried again', async (t) => {
  const failed: EngineEventIn = {
    kind: 'launch_failed',
    message: 'no such program',
    diagnosis: seenDiagnosis('program'),
  };
  t.match(play(timer, passed, failed).life, { status: 'backoff', reason: 'launch_failed', message: 'no such program' });
  t.equal(play(...STARTING, failed).life.status, 'starting');
  t.equal(play(timer, passed, wanted(OTHER, 2), failed).life.status, 'backoff');
});

const adopted = adoptLife(SPEC, 4, { pid: 9, incarnation: 6, hash: 'one' }, 0);

t.test('an adopted engine serves at once when it answers, and is left alone when it is only loading', async (t) => {
  t.match(playFrom(adopted, serving).life, { status: 'ready', adopted: true, incarnation: 6, pid: 9 });
  t.match(playFrom(adopted, { kind: 'loading' }, serving).life, { status: 'warming', adopted: true });
  t.match(playFrom(adopted, wanted(OTHER, 5)).life, { status: 'draining' });
  t.match(playFrom(adopted, unwanted).life, { status: 'draining' });
  t.match(playFrom(adopted, died, gone).life, { status: 'backoff', reason: 'crashed', adopted: false });
  t.match(playFrom(adopted, 60_000, timer).life, { status: 'stopping', reason: 'start_timeout' });
  t.equal(playFrom(adopted, wanted(OTHER, 5), wanted(SPEC, 6)).life.status, 'draining', 'it was never seen to serve');
  t.equal(play({ kind: 'loading' }).life.status, 'pending');
});

t.test('sleep is only for an engine that serves, and ends with its process', async (t) => {
  t.equal(play(...READY, { kind: 'slept' }).life.sleeping, true);
  t.equal(play(...READY, { kind: 'slept' }, { kind: 'woke' }).life.sleeping, false);
  t.equal(play({ kind: 'slept' }).life.sleeping, false);
  t.equal(play(...READY, { kind: 'slept' }, died, gone).life.sleeping, false);
});

t.test('events that do not fit change nothing', async (t) => {
  for (const event of [serving, warmed, died, gone, idle, launched, { kind: 'wedged', message: '' } as const])
    t.same(play(event).life, beginLife(SPEC, 1, 0));
  t.equal(play(...STARTING, launched).life.status, 'starting');
  t.equal(play(...READY, 5000, timer).life.status, 'ready');
  t.equal(
    play(...STARTING, died, gone, wanted(SPEC, 9)).life.status,
    'backoff',
    'a pause is not cut short by the same wish',
  );
  t.equal(play(...STARTING, died, gone, wanted(OTHER, 9)).life.status, 'pending');
});

/** What would usually come next, so that histories go far enough to be interesting. */
function usual(life: EngineLife): EngineEventIn {
  if (life.launching) return launchedAs(life.spec.hash);
  const next: Partial<Record<EngineStatus, EngineEventIn>> = {
    preflight: passed(life),
    starting: serving,
    warming: warmed,
    draining: idle,
    stopping: gone,
    adopted: serving,
  };
  return next[life.status] ?? timer;
}

const anyEvent: fc.Arbitrary<Item> = fc.oneof(
  { weight: 12, arbitrary: fc.constant<Item>(usual) },
  { weight: 6, arbitrary: fc.constantFrom<Item>(timer, passed, launched, serving, warmed, died, gone, idle) },
  {
    weight: 3,
    arbitrary: fc.constantFrom<Item>(
      killed,
      unwanted,
      hold,
      unhold,
      quarantine,
      lift,
      restart(true),
      restart(false),
      refused('gpu_memory'),
      refused('bad_model'),
      launchedAs('two'),
      { kind: 'died', signal: 'SIGKILL' },
      { kind: 'gone', diagnosis: rowDiagnosis('bad_flag') },
      { kind: 'unhealthy', message: 'x' },
      { kind: 'wedged', message: 'x' },
      { kind: 'warm_failed', message: 'x' },
      { kind: 'loading' },
      { kind: 'slept' },
      { kind: 'woke' },
      { kind: 'launch_failed', message: 'x', diagnosis: seenDiagnosis('program') },
      { kind: 'launch_failed', message: 'x', diagnosis: rowDiagnosis('bad_model') },
      { kind: 'progress', ratio: 0.5, message: 'x', etaMs: 3 },
    ),
  },
  fc.constantFrom(1, 2, 3).map((generation) => wanted(SPEC, generation)),
  fc.constantFrom(1, 2, 3).map((generation) => wanted(OTHER, generation)),
  { weight: 2, arbitrary: fc.nat(70_000) },
);

type Table = Readonly<Record<EngineStatus, readonly string[]>>;

/** The longest time that any status may wait, in milliseconds. */
const LONGEST_MS = 1_000_000;

/** What is wrong with one step, or undefined. */
function wrongWith(
  table: Table,
  before: EngineLife,
  after: EngineLife,
  effects: readonly EngineEffect[],
  nowMs: number,
) {
  if (before.status !== after.status && !table[before.status].includes(after.status))
    return `no edge from ${before.status} to ${after.status}`;
  const owned = after.pid !== undefined || after.launching;
  if (owned && !WITH_PROCESS.has(after.status)) return `a process without an owner in ${after.status}`;
  if (!owned && WITH_PROCESS.has(after.status)) return `${after.status} without a process`;
  if (TIMED.has(after.status) !== (after.timerAtMs !== undefined)) return `the timer of ${after.status} is wrong`;
  if (after.timerAtMs !== undefined && after.timerAtMs - nowMs > LONGEST_MS) return 'a timer without a bound';
  if (after.restartTimesMs.length > SPEC.limits.maxRestarts) return 'more restarts than allowed';
  if (before.status !== after.status && (after.reason === '' || after.message === '')) return 'no reason';
  const launches = effects.filter((effect) => effect.kind === 'launch').length;
  if (launches > 0 && (owned ? before.pid !== undefined || before.launching : true))
    return 'two processes of one engine';
  if (effects.some((effect) => effect.kind === 'forget') && (owned || after.wanted)) return 'forgotten too early';
  return undefined;
}

const histories = (table: Table, start: EngineLife) =>
  fc.property(fc.array(anyEvent, { maxLength: 60 }), (story) => {
    let nowMs = 0;
    let life = start;
    for (const item of story) {
      if (typeof item === 'number') {
        nowMs += item;
        continue;
      }
      const before = life;
      const result = step(before, typeof item === 'function' ? item(before) : item, at(nowMs));
      life = result.life;
      const wrong = wrongWith(table, before, life, result.effects, nowMs);
      if (wrong !== undefined) throw new Error(wrong);
    }
  });

t.test('whatever happens, the table holds, every process has an owner and every wait a bound', async (t) => {
  fc.assert(histories(NEXT, beginLife(SPEC, 1, 0)), { numRuns: 3000 });
  fc.assert(histories(NEXT, adopted), { numRuns: 1000 });
  t.pass();
});

t.test('every edge of the table is walked, and an edge that is missing is found', async (t) => {
  for (const [from, targets] of Object.entries(NEXT) as [EngineStatus, readonly EngineStatus[]][]) {
    for (const to of targets) {
      const planted: Table = { ...NEXT, [from]: targets.filter((target) => target !== to) };
      const start = from === 'adopted' ? adopted : beginLife(SPEC, 1, 0);
      const result = fc.check(histories(planted, start), { numRuns: 20_000, seed: 11, endOnFailure: true });
      t.ok(result.failed, `${from} to ${to}`);
      t.match(String(result.errorInstance), `no edge from ${from} to ${to}`);
    }
  }
});

t.test('an unwanted engine comes to rest, whatever happened before', async (t) => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 30 }), (story) => {
      const { life: start, nowMs: from } = play(...story);
      let nowMs = from;
      let life = step(start, unwanted, at(nowMs)).life;
      for (let round = 0; round < 6 && life.status !== 'stopped'; round++) {
        nowMs += 100_000;
        life = step(life, timer, at(nowMs)).life;
        if (life.launching) life = step(life, launched, at(nowMs)).life;
        if (life.status === 'stopping') life = step(life, gone, at(nowMs)).life;
      }
      return life.status === 'stopped' && life.pid === undefined;
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

t.test('a wanted engine comes to serve, whatever happened before, once its troubles are over', async (t) => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 30 }), (story) => {
      const { life: start, nowMs: from } = play(...story);
      if (start.status === 'stopped' && !start.wanted) return true;
      let nowMs = from;
      let life = start;
      for (const event of [unhold, lift, wanted(SPEC, 99), restart(true)]) life = step(life, event, at(nowMs)).life;
      for (let round = 0; round < 30 && life.status !== 'ready'; round++) {
        nowMs += 100_000;
        if (life.status === 'preflight') life = step(life, passed(life), at(nowMs)).life;
        else if (life.launching) life = step(life, launched, at(nowMs)).life;
        else if (life.status === 'starting') life = step(life, serving, at(nowMs)).life;
        else if (life.status === 'warming') life = step(life, warmed, at(nowMs)).life;
        else if (life.status === 'stopping') life = step(life, gone, at(nowMs)).life;
        else life = step(life, timer, at(nowMs)).life;
      }
      return life.status === 'ready';
    }),
    { numRuns: 1000 },
  );
  t.pass();
});
