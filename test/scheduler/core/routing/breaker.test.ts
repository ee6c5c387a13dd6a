/** A breaker opens on faults in a row, lets one generation decide, and never outlasts the fault by more than its pause. */
import fc from 'fast-check';
import t from 'tap';
import {
  type Breaker,
  BREAKER_OPTIONS,
  breakerAdmits,
  breakerAfter,
  breakerPicked,
  breakerSpoke,
  type BreakerVerdict,
  newBreaker,
  verdictOfOutcome,
  verdictOfStatus,
} from '../../../../scheduler/core/routing/breaker.ts';

const { faultsToOpen, firstPauseMs, mostPauseMs, probeTimeoutMs, proofMs } = BREAKER_OPTIONS;

function opened(atMs = 0): Breaker {
  let breaker = newBreaker();
  for (let i = 0; i < faultsToOpen; i++) breaker = breakerAfter(breaker, 'fault', true, atMs);
  return breaker;
}

t.test(
  'faults in a row open it; a success between them starts the count anew, and neutral ends do not count',
  async (t) => {
    let breaker = newBreaker();
    for (let i = 1; i < faultsToOpen; i++) breaker = breakerAfter(breaker, 'fault', true, 0);
    breaker = breakerAfter(breaker, 'neutral', true, 0);
    t.equal(breaker.state, 'closed');
    t.equal(breakerAfter(breaker, 'fault', true, 0).state, 'open');
    breaker = breakerAfter(breaker, 'success', true, 0);
    t.equal(breakerAfter(breaker, 'fault', true, 0).state, 'closed');
    t.equal(breakerAfter(newBreaker(), 'success', true, 0), newBreaker(), 'a healthy engine costs nothing');
  },
);

t.test('once the pause is over one request passes, and the next ones only when it has decided', async (t) => {
  const breaker = opened(1000);
  t.notOk(breakerAdmits(breaker, 1000 + firstPauseMs - 1));
  t.ok(breakerAdmits(breaker, 1000 + firstPauseMs));
  const probing = breakerPicked(breaker, 2000);
  t.equal(probing.state, 'half_open');
  t.notOk(breakerAdmits(probing, 2001));
  t.equal(breakerAfter(probing, 'success', false, 2100).state, 'closed');
  const again = breakerAfter(probing, 'fault', false, 2100);
  t.match(again, { state: 'open', dueAtMs: 2100 + 2 * firstPauseMs, opened: 2 });
  const neither = breakerAfter(probing, 'neutral', false, 2100);
  t.equal(neither.state, 'half_open');
  t.ok(breakerAdmits(neither, 2100), 'an engine that said "not now" may be asked again');
});

t.test('a generation that decides and goes on for long lets others follow it', async (t) => {
  const probing = breakerPicked(opened(), 1000);
  const speaking = breakerSpoke(probing, 1100);
  t.notOk(breakerAdmits(speaking, 1100 + proofMs - 1));
  t.ok(breakerAdmits(speaking, 1100 + proofMs));
  t.equal(breakerSpoke(speaking, 1500).speaksSinceMs, 1100);
  t.equal(breakerSpoke(newBreaker(), 5), newBreaker());
});

t.test('a generation that decides and says nothing is given up', async (t) => {
  const probing = breakerPicked(opened(), 1000);
  t.notOk(breakerAdmits(probing, 1000 + probeTimeoutMs - 1));
  t.ok(breakerAdmits(probing, 1000 + probeTimeoutMs));
});

t.test('what ends late, from before it opened, decides nothing', async (t) => {
  for (const breaker of [opened(), breakerPicked(opened(), 1000)])
    for (const verdict of ['fault', 'success', 'neutral'] as const)
      t.equal(breakerAfter(breaker, verdict, true, 1001), breaker);
});

t.test('a request that was picked past an open breaker, in a panic, decides', async (t) => {
  const breaker = opened();
  t.equal(breakerAfter(breaker, 'success', false, 1).state, 'closed');
  t.equal(breakerAfter(breaker, 'fault', false, 1).state, 'open');
  t.equal(breakerAfter(breaker, 'neutral', false, 1), breaker);
});

t.test('a clock that goes back does not hold it open', async (t) => {
  t.ok(breakerAdmits(opened(1_000_000), 5));
});

t.test('whatever happened before, it admits again within its longest pause once the fault is over', async (t) => {
  const steps = fc.array(
    fc.tuple(
      fc.constantFrom<BreakerVerdict>('fault', 'success', 'neutral'),
      fc.boolean(),
      fc.integer({ min: 0, max: 3000 }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, (history) => {
      let breaker = newBreaker();
      let nowMs = 0;
      for (const [verdict, late, pauseMs] of history) {
        nowMs += pauseMs;
        if (!late && breakerAdmits(breaker, nowMs)) breaker = breakerPicked(breaker, nowMs);
        breaker = breakerAfter(breaker, verdict, late, nowMs);
        if (breaker.pauseMs > mostPauseMs) return false;
      }
      nowMs += Math.max(mostPauseMs, probeTimeoutMs);
      if (!breakerAdmits(breaker, nowMs)) return false;
      return (
        breakerAfter(breakerPicked(breaker, nowMs), 'success', breaker.state === 'closed', nowMs).state === 'closed'
      );
    }),
  );
  t.pass('the property holds');
});

t.test('statuses and outcomes: 5xx is a fault, 429 and 503 are neutral, 4xx is a working server', async (t) => {
  const of = (statuses: readonly number[]) => new Set(statuses.map(verdictOfStatus));
  t.same(of([500, 501, 502, 504, 529]), new Set(['fault']));
  t.same(of([429, 503]), new Set(['neutral']));
  t.same(of([200, 204, 400, 401, 404, 413, 499]), new Set(['success']));
  t.equal(verdictOfOutcome('ok'), 'success');
  for (const code of ['engine_unreachable', 'engine_failed', 'engine_garbage', 'engine_died', 'stream_lost'] as const)
    t.equal(verdictOfOutcome(code), 'fault', code);
  for (const code of ['engine_overloaded', 'overloaded', 'cancelled', 'deadline_exceeded', 'internal'] as const)
    t.equal(verdictOfOutcome(code), 'neutral', code);
  for (const code of ['engine_rejected', 'context_length_exceeded'] as const)
    t.equal(verdictOfOutcome(code), 'success', code);
});
