/** The life of an engine as stories: each has the end that it should have. */
import t from 'tap';
import { rowDiagnosis, seenDiagnosis } from '../../../agent/core/crash_classifier.ts';
import { beginLife } from '../../../agent/core/lifecycle/change.ts';
import type { EngineEventIn, EngineLife } from '../../../agent/core/lifecycle/life.ts';
import { step } from '../../../agent/core/lifecycle/step.ts';
import {
  adopted,
  at,
  CRASH,
  died,
  gone,
  hold,
  idle,
  killed,
  launched,
  launchedAs,
  lift,
  MODELS,
  OTHER,
  passed,
  play,
  playFrom,
  quarantine,
  READY,
  refused,
  restart,
  serving,
  SPEC,
  STARTING,
  timer,
  unhold,
  unwanted,
  wanted,
  warmed,
} from '../support/lives.ts';

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

t.test('an engine whose core has ended is dead before its first process is', async (t) => {
  const partDied = { kind: 'part_died', message: 'Its core has ended.' } as const;
  const told = play(...READY, partDied);
  t.match(told.life, { status: 'stopping', reason: 'crashed', message: 'Its core has ended.' });
  t.equal(told.effects.at(-1), 'terminate');
  const ended = playFrom(told.life, died, gone).life;
  t.match(ended, { status: 'backoff', reason: 'crashed', restarts: 1, exitCode: 0, cause: 'engine_core' });
  const killed = { kind: 'gone', signal: 'SIGKILL', diagnosis: rowDiagnosis('killed') } as const;
  t.equal(playFrom(told.life, died, killed).life.cause, 'engine_core', 'that the rest was killed explains nothing');
  const fault = { kind: 'gone', exitCode: 1, diagnosis: rowDiagnosis('gpu_fault') } as const;
  t.equal(playFrom(told.life, died, fault).life.cause, 'gpu_fault', 'what killed the core does');
  t.match(play(...STARTING, partDied).life, { status: 'stopping', reason: 'start_crashed' });
  t.match(play(...READY, unwanted, partDied).life, { status: 'stopping', reason: 'unwanted' });
  t.equal(play(...READY, unwanted, partDied, gone).life.status, 'stopped', 'a drain that ends so is not tried again');
  t.match(playFrom(told.life, partDied).life, { message: 'Its core has ended.' }, 'and is told once');
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
  const wrote = { ...rowDiagnosis('gpu_memory'), evidence: 'CUDA out of memory' };
  t.match(
    playFrom(sick.life, died, { kind: 'gone', exitCode: 0, diagnosis: wrote }).life,
    {
      status: 'backoff',
      reason: 'unhealthy',
      cause: 'gpu_memory',
      message: `sick ${wrote.sentence} It wrote: ${wrote.evidence}`,
    },
    'what it wrote says more than that it was ill',
  );
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

t.test('an adopted engine serves at once when it answers, and is left alone when it is only loading', async (t) => {
  t.match(playFrom(adopted, serving).life, { status: 'ready', adopted: true, incarnation: 6, pid: 9 });
  t.match(playFrom(adopted, { kind: 'loading' }, serving).life, { status: 'warming', adopted: true });
  t.match(playFrom(adopted, wanted(OTHER, 5)).life, { status: 'draining' });
  t.match(playFrom(adopted, unwanted).life, { status: 'draining' });
  t.match(playFrom(adopted, died, gone).life, { status: 'backoff', reason: 'crashed', adopted: false });
  t.match(playFrom(adopted, { kind: 'wedged', message: 'x' }), {
    life: { status: 'stopping', reason: 'wedged' },
    effects: ['dump_and_kill'],
  });
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
