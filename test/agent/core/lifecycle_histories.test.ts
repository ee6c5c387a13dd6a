/** Random histories of engines: whatever happens, the table holds, and what is missing in it is found. */
import fc from 'fast-check';
import t from 'tap';
import { rowDiagnosis, seenDiagnosis } from '../../../agent/core/crash_classifier.ts';
import { beginLife } from '../../../agent/core/lifecycle/change.ts';
import type { EngineEffect, EngineEventIn, EngineLife } from '../../../agent/core/lifecycle/life.ts';
import { step } from '../../../agent/core/lifecycle/step.ts';
import { type EngineStatus, NEXT, TIMED, WITH_PROCESS } from '../../../agent/core/lifecycle/table.ts';
import {
  adopted,
  at,
  died,
  gone,
  hold,
  idle,
  type Item,
  killed,
  launched,
  launchedAs,
  lift,
  OTHER,
  passed,
  play,
  quarantine,
  refused,
  restart,
  serving,
  SPEC,
  timer,
  unhold,
  unwanted,
  wanted,
  warmed,
} from '../support/lives.ts';

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
      { kind: 'part_died', message: 'x' },
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
      (life) => ({ kind: 'fetching', attempt: life.attempt, ratio: 0.5, message: 'x', etaMs: 3 }),
      (life) => ({ kind: 'fetching', attempt: life.attempt + 1, ratio: 0.5, message: 'y' }),
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
