/** The default policy: one cost in milliseconds. */
import t from 'tap';
import { ANSWER_WEIGHT, WORK_WEIGHT } from '../../../../../scheduler/core/routing/policies/cost.ts';
import { NEUTRAL_SPEED } from '../../../../../scheduler/core/routing/speed_priors.ts';
import { blocksOf, fleet, heldBlocks, picksOf } from '../support.ts';

const LONG = { promptTokens: 4096, blocks: blocksOf(1, 256) };

t.test('the parts add up to the cost, in milliseconds of the engine’s speed', async (t) => {
  const { put, pick } = fleet({ policy: 'cost' });
  put('a');
  const { trace } = pick({ shape: { promptTokens: 1000, maxOutputTokens: 10 } });
  const [verdict] = trace.verdicts;
  if (verdict?.kind !== 'picked') throw new Error('no engine was picked');
  const parts = Object.fromEntries(verdict.parts.map(({ name, value }) => [name, value]));
  const { prefillBaseMs, prefillPerTokenMs, prefillPerTokenSquaredMs = 0, stepBaseMs } = NEUTRAL_SPEED;
  const work = 1000 * prefillPerTokenMs + 1e6 * prefillPerTokenSquaredMs;
  t.ok(Math.abs((parts['prefill'] ?? 0) - prefillBaseMs - work) < 1e-9);
  t.ok(Math.abs((parts['work'] ?? 0) - WORK_WEIGHT * work) < 1e-9);
  t.equal(parts['wait'], 0);
  t.ok((parts['decode'] ?? 0) > ANSWER_WEIGHT * 10 * stepBaseMs);
  t.ok(Math.abs(verdict.parts.reduce((sum, { value }) => sum + value, 0) - verdict.cost) < 1e-9);
});

t.test('a prompt goes where its beginning is cached, and no further than waiting there is worth it', async (t) => {
  const { residency } = heldBlocks({ 'n/warm': 240 });
  const { put, pick } = fleet({ policy: 'cost', residency });
  put('warm');
  put('cold');
  t.match(pick({ shape: LONG }), { picked: { lease: { engine: 'n/warm' }, cachedTokens: 3840 } });
  const before = Array.from({ length: 40 }, () => pick({ shape: LONG }).picked?.lease.engine);
  t.equal(before[0], 'n/warm', 'a short wait is worth it');
  t.ok(before.includes('n/cold' as never), 'a long one is not');
});

t.test('the bound on affinity: waiting (1 + weight) times what the prefix saves is too long', async (t) => {
  const workMs = (tokens: number, from = 0): number =>
    tokens * NEUTRAL_SPEED.prefillPerTokenMs +
    ((from + tokens) ** 2 - from ** 2) * (NEUTRAL_SPEED.prefillPerTokenSquaredMs ?? 0);
  const savedMs = workMs(3840);
  const engineAfterWaitOf = (waitMs: number): string | undefined => {
    const { residency } = heldBlocks({ 'n/warm': 240 });
    const { put, pick } = fleet({ policy: 'cost', residency });
    // Waiting is made of prompts that nobody has cached, while no other engine is there to take them.
    put('warm');
    let left = waitMs;
    while (left > 0) {
      const tokens = Math.min(2000, Math.ceil(left / NEUTRAL_SPEED.prefillPerTokenMs));
      pick({ shape: { promptTokens: tokens, maxOutputTokens: 0 } });
      left -= workMs(tokens);
    }
    put('cold');
    return pick({ shape: { ...LONG, maxOutputTokens: 0 } }).picked?.lease.engine;
  };
  t.equal(engineAfterWaitOf(savedMs * 0.5), 'n/warm');
  t.equal(engineAfterWaitOf(savedMs * (1 + WORK_WEIGHT) * 1.3), 'n/cold');
});

t.test('prompts that wait on an engine cost time, which passes as the engine works on them', async (t) => {
  const { put, pick } = fleet({ policy: 'cost' });
  put('a');
  const first = pick({ shape: { promptTokens: 8000 }, nowMs: 0 });
  t.equal(first.picked?.lease.engine, 'n/a');
  const costAt = (nowMs: number): number => {
    const { trace, picked } = pick({ nowMs });
    picked?.lease.release();
    const [verdict] = trace.verdicts;
    return verdict?.kind === 'picked' ? (verdict.parts[0]?.value ?? Number.NaN) : Number.NaN;
  };
  t.ok(costAt(0) > costAt(50), 'half of the prompt is read');
  t.ok(costAt(50) > costAt(100_000));
  t.ok(costAt(-1000) >= costAt(0), 'a clock that goes back makes no work disappear');
  const before = costAt(100);
  first.picked?.lease.firstToken(100);
  t.ok(costAt(100) < before, 'once it is read it waits no more');
});

t.test('a faster engine is preferred until it is that much fuller', async (t) => {
  const { put, pick } = fleet({ policy: 'cost' });
  put('fast', { prior: { ...NEUTRAL_SPEED, stepBaseMs: 3, prefillPerTokenMs: 0.005 } });
  put('slow');
  const picks = Array.from({ length: 60 }, () => pick({ shape: { promptTokens: 2000 } }).picked?.lease.engine);
  t.equal(picks[0], 'n/fast');
  const fast = picks.filter((engine) => engine === ('n/fast' as never)).length;
  t.ok(fast > 35 && fast < 60, `${fast} of 60`);
});

t.test(
  'an engine without room for another sequence, or with a full cache, is passed over while others have it',
  async (t) => {
    const full = fleet({ policy: 'cost' });
    full.put('full', { maxSequences: 4, otherRequests: 4 });
    full.put('free', { otherRequests: 5 });
    t.same(picksOf(full, 5), { 'n/free': 5 });
    const tight = fleet({ policy: 'cost' });
    tight.put('tight', { kvUsageRatio: 0.99, otherRequests: 2 });
    tight.put('free', { kvUsageRatio: 0.5, otherRequests: 2 });
    t.same(picksOf(tight, 5), { 'n/free': 5 });
  },
);

t.test('cold prompts go around: the engine that was picked longest ago comes next', async (t) => {
  const world = fleet({ policy: 'cost' });
  for (const name of ['a', 'b', 'c', 'd']) world.put(name);
  t.same(picksOf(world, 40), { 'n/a': 10, 'n/b': 10, 'n/c': 10, 'n/d': 10 });
});

t.test('figures that cannot be steer nothing: NaN load, NaN and huge prompts, a negative limit', async (t) => {
  const { put, pick, router } = fleet({ policy: 'cost' });
  put('a', { otherRequests: Number.NaN, kvUsageRatio: Number.NaN, lastSeenAtMs: 0 });
  put('b', { otherRequests: -5, kvUsageRatio: 7 });
  for (const promptTokens of [Number.NaN, -1, Infinity, 1e15, 0])
    for (const maxOutputTokens of [Number.NaN, -1, Infinity, 10]) {
      const { picked, trace } = pick({ shape: { promptTokens, maxOutputTokens } });
      t.ok(picked !== undefined);
      t.ok(trace.verdicts.every((verdict) => verdict.kind !== 'refused' && verdict.cost < Infinity));
      picked?.lease.end({ nowMs: Number.NaN, outcome: 'ok', outputTokens: Number.NaN, cachedTokens: Number.NaN });
    }
  t.equal(router.reservations.total, 0);
  t.ok(router.typicalOutputTokens('m') < Infinity);
});
