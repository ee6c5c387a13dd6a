/** What the end of a request gives back and teaches; and that nothing is ever left of any history. */
import fc from 'fast-check';
import t from 'tap';
import type { ErrorCode } from '../../../../lib/errors.ts';
import type { EngineId } from '../../../../lib/ids.ts';
import { BREAKER_OPTIONS } from '../../../../scheduler/core/routing/breaker.ts';
import type { EngineSlot } from '../../../../scheduler/core/routing/engine_slot.ts';
import { POLICY_NAMES } from '../../../../scheduler/core/routing/policies.ts';
import type { Lease } from '../../../../scheduler/core/routing/reservations.ts';
import { NEUTRAL_SPEED } from '../../../../scheduler/core/routing/speed_priors.ts';
import { blocksOf, fleet, heldBlocks } from './support.ts';

const figures = ({
  reservedRequests,
  pendingPrefillTokens,
  pendingPrefillSquares,
  decodeTokens,
  contextTokens,
}: EngineSlot) => [reservedRequests, pendingPrefillTokens, pendingPrefillSquares, decodeTokens, contextTokens];

t.test(
  'tokens are reserved with the pick; the prefill share goes at the first token, the rest at the end',
  async (t) => {
    const { residency } = heldBlocks({ 'n/e': 4 });
    const { router, put, pick } = fleet({ policy: 'cost', residency });
    const slot = put('e');
    const lease = pick({ shape: { promptTokens: 100, maxOutputTokens: 20, blocks: blocksOf(1, 6) } }).picked?.lease;
    t.same(figures(slot), [1, 36, 100 ** 2 - 64 ** 2, 0, 110]);
    lease?.firstToken(10);
    lease?.firstToken(11);
    t.same(figures(slot), [1, 0, 0, 110, 110]);
    lease?.end({ nowMs: 20, outcome: 'ok', outputTokens: 3 });
    lease?.end({ nowMs: 21, outcome: 'ok', outputTokens: 3 });
    lease?.release();
    lease?.firstToken(22);
    t.same(figures(slot), [0, 0, 0, 0, 0]);
    t.equal(router.reservations.total, 0);
  },
);

t.test('answers that come whole show no first token: their prefill is believed once its time is over', async (t) => {
  const { put, pick } = fleet({ policy: 'cost' });
  const slot = put('e');
  const ask = { shape: { promptTokens: 1000 }, plain: true };
  const first = pick({ ...ask, nowMs: 0 }).picked?.lease;
  const second = pick({ ...ask, nowMs: 1 }).picked?.lease;
  t.equal(slot.pendingPrefillTokens, 2000);
  const third = pick({ ...ask, nowMs: 1000 }).picked?.lease;
  t.equal(slot.pendingPrefillTokens, 1000, 'both had their time');
  for (const lease of [first, second, third]) lease?.end({ nowMs: 2000, outcome: 'ok', outputTokens: 5 });
  t.same(figures(slot), [0, 0, 0, 0, 0]);
});

t.test('the end of a stream teaches the speed, the cache and the length of answers', async (t) => {
  const { residency, told } = heldBlocks({ 'n/e': 6 });
  const { router, put, pick, drops } = fleet({ policy: 'cost', residency });
  const slot = put('e');
  const shape = { promptTokens: 2000, blocks: blocksOf(1, 6) };
  for (let i = 0; i < 200; i++) {
    const nowMs = i * 10_000;
    const lease = pick({ shape, nowMs }).picked?.lease;
    lease?.firstToken(nowMs + 300);
    lease?.end({ nowMs: nowMs + 300 + 49 * 20, outcome: 'ok', outputTokens: 50, cachedTokens: 96 });
  }
  const { prefillBaseMs, prefillPerTokenMs, prefillPerTokenSquaredMs = 0, stepBaseMs } = slot.speed;
  const prefill = prefillBaseMs + prefillPerTokenMs * 1904 + prefillPerTokenSquaredMs * (2000 ** 2 - 96 ** 2);
  t.ok(Math.abs(prefill - 300) < 45, String(prefill));
  t.ok(stepBaseMs > 2 * NEUTRAL_SPEED.stepBaseMs);
  t.ok(Math.abs(router.typicalOutputTokens('m') - 50) < 10);
  t.equal(router.typicalOutputTokens('never seen'), 256);
  t.same(new Set(told), new Set(['dispatched n/e', 'corrected n/e 96']));
  t.equal(slot.fit.taken, 400);
  t.same(drops, []);
  const lease = pick({ shape, nowMs: 5e6 }).picked?.lease;
  lease?.firstToken(4e6);
  lease?.end({ nowMs: 4e6, outcome: 'ok', outputTokens: 50 });
  t.same(drops, ['fit_sample', 'fit_sample'], 'a clock that went back teaches nothing and is counted');
});

t.test(
  'a prompt that its engine never had is taken back from the index, one that it may have had is not',
  async (t) => {
    const { residency, told } = heldBlocks({});
    const { put, pick } = fleet({ policy: 'cost', residency });
    put('e');
    const lease = (): Lease | undefined => pick({ shape: { blocks: blocksOf(1, 6) } }).picked?.lease;
    const endOf = (outcome: 'ok' | ErrorCode, seen: boolean): string | undefined => {
      const taken = lease();
      if (seen) taken?.firstToken(1);
      taken?.end({ nowMs: 2, outcome, outputTokens: 0 });
      return told.at(-1);
    };
    lease()?.release();
    t.equal(told.at(-1), 'withdrawn n/e');
    for (const outcome of ['engine_unreachable', 'engine_overloaded', 'draining'] as const)
      t.equal(endOf(outcome, false), 'withdrawn n/e', outcome);
    t.equal(endOf('engine_overloaded', true), 'dispatched n/e');
    for (const outcome of ['ok', 'cancelled', 'engine_failed'] as const)
      t.equal(endOf(outcome, false), 'dispatched n/e', outcome);
  },
);

t.test('what runs beside a request is not taken for its own time', async (t) => {
  const { put, pick } = fleet({ policy: 'cost' });
  const slot = put('e');
  const long = pick({ shape: { promptTokens: 100 } }).picked?.lease;
  long?.firstToken(10);
  const other = pick({ shape: { promptTokens: 8000 }, nowMs: 20 }).picked?.lease;
  other?.firstToken(200);
  long?.end({ nowMs: 10 + 9 * 6 + 180, outcome: 'ok', outputTokens: 10 });
  t.ok(slot.speed.stepBaseMs < 12, `the pause for the other prompt is no step (${slot.speed.stepBaseMs})`);
  other?.release();
});

t.test(
  'faults in a row open the breaker, one real generation closes it, and neutral ends let the next one try',
  async (t) => {
    const { put, pick } = fleet({ policy: 'least_requests' });
    const bad = put('bad');
    put('good', { otherRequests: 5 });
    put('other', { otherRequests: 6 });
    const endAt = (nowMs: number, outcome: 'ok' | ErrorCode): string => {
      const { picked } = pick({ nowMs });
      picked?.lease.end({ nowMs, outcome: picked.lease.engine === 'n/bad' ? outcome : 'ok', outputTokens: 1 });
      return picked?.lease.engine ?? '';
    };
    for (let i = 0; i < BREAKER_OPTIONS.faultsToOpen; i++) t.equal(endAt(0, 'engine_failed'), 'n/bad');
    t.equal(endAt(1, 'ok'), 'n/good');
    t.match(pick({ nowMs: 1 }).trace.verdicts.at(-1), { kind: 'refused', by: 'breaker' });
    const dueMs = BREAKER_OPTIONS.firstPauseMs;
    const probe = pick({ nowMs: dueMs }).picked?.lease;
    t.equal(probe?.engine, 'n/bad');
    t.equal(pick({ nowMs: dueMs }).picked?.lease.engine, 'n/good', 'one at a time');
    probe?.end({ nowMs: dueMs, outcome: 'engine_overloaded', outputTokens: 0 });
    t.equal(bad.breaker.state, 'half_open');
    const second = pick({ nowMs: dueMs + 1 }).picked?.lease;
    second?.firstToken(dueMs + 2);
    t.equal(bad.breaker.state, 'half_open', 'the generation is not over');
    second?.end({ nowMs: dueMs + 3, outcome: 'ok', outputTokens: 5 });
    t.equal(bad.breaker.state, 'closed');
    t.equal(endAt(dueMs + 4, 'ok'), 'n/bad');
  },
);

t.test('a breaker that waits for a request that was never sent is asked again', async (t) => {
  const { put, pick } = fleet({ policy: 'least_requests' });
  const bad = put('bad');
  put('good', { otherRequests: 5 });
  put('other', { otherRequests: 5 });
  for (let i = 0; i < BREAKER_OPTIONS.faultsToOpen; i++)
    pick().picked?.lease.end({ nowMs: 0, outcome: 'stream_lost', outputTokens: 0 });
  const probe = pick({ nowMs: 5000 }).picked?.lease;
  t.equal(probe?.engine, 'n/bad');
  probe?.release();
  t.equal(bad.breaker.state, 'half_open');
  t.equal(pick({ nowMs: 5001 }).picked?.lease.engine, 'n/bad');
});

t.test(
  'ejection never empties a model: above the panic ratio no breaker is heeded, and the decision says so',
  async (t) => {
    const { router, put, pick } = fleet({ policy: 'least_requests' });
    for (const name of ['a', 'b', 'c']) put(name);
    const open = (name: string): void => {
      const slot = router.engines.find(`n/${name}` as EngineId);
      while (slot !== undefined && slot.breaker.state !== 'open') {
        const { picked } = pick({ tried: ['a', 'b', 'c'].filter((each) => each !== name).map((each) => `n/${each}`) });
        picked?.lease.end({ nowMs: 0, outcome: 'engine_failed', outputTokens: 0 });
      }
    };
    open('a');
    t.match(pick().trace, { mode: undefined, refused: new Map([['breaker', 1]]) });
    open('b');
    t.match(pick().trace, { mode: 'panic' });
    t.equal(pick().trace.refused.size, 0);
  },
);

t.test('after any history every account is back at zero and none was ever below, for every life', async (t) => {
  const step = fc.tuple(fc.nat(99), fc.nat(999), fc.integer({ min: -5, max: 400 }));
  const codes: readonly ('ok' | ErrorCode)[] = [
    'ok',
    'engine_died',
    'cancelled',
    'engine_overloaded',
    'engine_rejected',
  ];
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150 }), fc.constantFrom(...POLICY_NAMES), (history, policy) => {
      const { router, put, pick } = fleet({ policy, residency: heldBlocks({ 'n/e0': 3 }).residency });
      const lives = [0, 0, 0].map((_, at) => put(`e${at}`));
      const held: Lease[] = [];
      let nowMs = 0;
      for (const [what, which, byMs] of history) {
        nowMs += byMs;
        const lease = held[which % Math.max(1, held.length)];
        if (what < 45)
          held.push(
            ...[pick({ nowMs, plain: what < 10, shape: { promptTokens: which * 7 } }).picked?.lease ?? []].flat(),
          );
        else if (what < 65) lease?.firstToken(nowMs);
        else if (what < 90)
          lease?.end({ nowMs, outcome: codes[which % codes.length] ?? 'ok', outputTokens: which, cachedTokens: which });
        else if (what < 94) lease?.release();
        else if (what < 98) lives.push(put(`e${which % 3}`, { incarnation: 1 + (which % 5) }));
        else router.engines.remove(`n/e${which % 3}` as EngineId);
        if (lives.some((slot) => figures(slot).some((figure) => !(figure >= 0)))) return false;
      }
      for (const lease of held) lease.end({ nowMs, outcome: 'cancelled', outputTokens: 0 });
      const zero = lives.every((slot) => figures(slot).every((figure) => figure === 0) && slot.pending.size === 0);
      return zero && router.reservations.total === 0 && router.reservations.lives === 0;
    }),
    { numRuns: 300 },
  );
  t.pass('the property holds');
});
