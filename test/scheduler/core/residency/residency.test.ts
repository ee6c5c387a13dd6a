/**
 * The prefix index against a plain map of sets over random histories, and what it promises about memory, eviction and the
 * lives of engines.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { seededRandom } from '../../../../lib/rng.ts';
import { createResidency, type PrefixIndex } from '../../../../scheduler/core/residency/residency.ts';
import type { EngineLife, PromptBlocks } from '../../../../scheduler/core/routing/contract.ts';
import { life, ownPrompt, PlainIndex, promptOf } from './residency_support.ts';

const MIB = 2 ** 20;

function overlapOf(index: PrefixIndex, engines: readonly EngineLife[], prompt: PromptBlocks): number[] {
  const out = new Uint32Array(engines.length).fill(99);
  index.overlap(engines, prompt, out);
  return [...out];
}

const PATH = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 7 });
const STEP = fc.record({
  act: fc.constantFrom('dispatched', 'stored', 'removed', 'forget', 'cleared'),
  engine: fc.integer({ min: 0, max: 79 }),
  incarnation: fc.integer({ min: 1, max: 2 }),
  path: PATH,
});

t.test('over any history each engine holds what a plain map of sets says', async () => {
  fc.assert(
    fc.property(fc.array(STEP, { maxLength: 120 }), fc.array(PATH, { minLength: 1, maxLength: 5 }), (steps, paths) => {
      const index = createResidency({ maxBytes: MIB });
      const plain = new PlainIndex();
      const engines = [...steps.map((step) => life(`n/${step.engine}`, step.incarnation)), life('n/unknown')];
      for (const step of steps) {
        const who = life(`n/${step.engine}`, step.incarnation);
        const prompt = promptOf(step.path);
        if (step.act === 'dispatched') index.dispatched(who, prompt, 0);
        else if (step.act === 'stored') index.stored(who, prompt.hashes, 0);
        else if (step.act === 'removed') index.removed(who, prompt.hashes);
        else index[step.act](who);
        if (step.act === 'dispatched' || step.act === 'stored') plain.put(who, prompt);
        else if (step.act === 'removed') plain.take(who, prompt);
        else plain.forget(who);
      }
      for (const path of [...paths, ...steps.map((step) => step.path)]) {
        const prompt = promptOf([...path, 1, 1]);
        assert.deepEqual(overlapOf(index, engines, prompt), plain.overlap(engines, prompt));
      }
    }),
    { numRuns: 150 },
  );
});

t.test('many engines share one prefix, and each is taken out of it alone', async (t) => {
  const index = createResidency({ maxBytes: 4 * MIB });
  const plain = new PlainIndex();
  const engines = Array.from({ length: 300 }, (_, i) => life(`n/${i}`));
  const shared = ownPrompt(1, 40);
  engines.forEach((engine, i) => {
    const prompt = { blockTokens: 16, hashes: shared.hashes.slice(0, 2 * (1 + (i % 40))) };
    index.dispatched(engine, prompt, 0);
    plain.put(engine, prompt);
  });
  t.strictSame(overlapOf(index, engines, shared), plain.overlap(engines, shared));
  for (const [i, engine] of engines.entries()) {
    if (i % 3 === 0) index.forget(engine);
    if (i % 3 === 0) plain.forget(engine);
    if (i % 3 === 1) index.removed(engine, shared.hashes.subarray(10));
    if (i % 3 === 1) plain.take(engine, { blockTokens: 16, hashes: shared.hashes.subarray(10) });
  }
  t.strictSame(overlapOf(index, engines, shared), plain.overlap(engines, shared));
});

t.test('ten thousand distinct prompts a second leave the memory at its cap and drop the oldest first', async (t) => {
  const index = createResidency({ maxBytes: 2 * MIB });
  const before = index.bytes;
  const engines = Array.from({ length: 16 }, (_, i) => life(`n/${i}`));
  for (let second = 0; second < 6; second++) {
    for (let i = 0; i < 10_000; i++) {
      index.dispatched(engines[i % 16] as EngineLife, ownPrompt(second * 10_000 + i, 8), second * 1000);
    }
    // A prompt that is used every second outlives the flood.
    index.dispatched(engines[3] as EngineLife, ownPrompt(-1, 8), second * 1000 + 999);
  }
  t.equal(index.bytes, before);
  t.ok(index.bytes <= 2 * MIB);
  t.ok(index.figures.evictedBlocks > 300_000);
  t.strictSame(
    overlapOf(index, engines.slice(3, 4), ownPrompt(-1, 8)).map((held) => held >= 7),
    [true],
  );
  t.strictSame(overlapOf(index, engines.slice(0, 1), ownPrompt(0, 8)), [0]);
  let kept = 0;
  for (let i = 0; i < 1000; i++)
    kept += overlapOf(index, [engines[i % 16] as EngineLife], ownPrompt(50_000 + i, 8))[0] ?? 0;
  t.ok(kept > 1000, `of the last second's prompts something is left: ${kept} blocks of 8000`);
});

t.test('a prompt far longer than the index keeps its beginning', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  const long = ownPrompt(5, 100_000);
  index.dispatched(life('n/a'), long, 0);
  const [held = 0] = overlapOf(index, [life('n/a')], long);
  t.ok(held > 1000 && held < index.figures.capacityBlocks, `${held}`);
});

t.test('two lives of one engine share nothing', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  const [first, second] = [life('n/a', 1), life('n/a', 2)];
  const prompt = ownPrompt(1, 4);
  index.dispatched(first, prompt, 0);
  t.strictSame(overlapOf(index, [first, second], prompt), [4, 0]);
  index.dispatched(second, ownPrompt(2, 4), 0);
  index.forget(first);
  t.strictSame(overlapOf(index, [first, second], prompt), [0, 0]);
  t.strictSame(overlapOf(index, [first, second], ownPrompt(2, 4)), [0, 4]);
  t.equal(index.figures.lives, 1);
  index.forget(life('n/never-seen'));
  index.withdrawn(life('n/never-seen'), prompt);
  index.corrected(life('n/never-seen'), prompt, 16, 0);
});

t.test(
  'when all places for lives are taken a new life is refused, and gets the place of one that has gone',
  async (t) => {
    const index = createResidency({ maxBytes: MIB, maxLives: 4 });
    const prompt = ownPrompt(1, 3);
    for (let i = 0; i < 5; i++) index.dispatched(life(`n/${i}`), prompt, 0);
    index.stored(life('n/4'), prompt.hashes, 0);
    index.sized(life('n/4'), 100);
    t.strictSame(overlapOf(index, [life('n/3'), life('n/4')], prompt), [3, 0]);
    t.equal(index.figures.refusedLives, 3);
    index.forget(life('n/0'));
    index.dispatched(life('n/5'), ownPrompt(2, 1), 0);
    t.strictSame(overlapOf(index, [life('n/0'), life('n/5'), life('n/1')], prompt), [0, 0, 3], 'nothing is inherited');
  },
);

t.test('engines that come and go for ever cost no memory and inherit nothing', async (t) => {
  const index = createResidency({ maxBytes: MIB, maxLives: 64 });
  const before = index.bytes;
  const prompt = ownPrompt(9, 5);
  for (let i = 0; i < 5000; i++) {
    const engine = life(`n/${i % 7}`, i);
    t.strictSame(overlapOf(index, [engine], prompt), [0]);
    index.dispatched(engine, prompt, i);
    index.dispatched(engine, ownPrompt(i, 2), i);
    if (i >= 40) index.forget(life(`n/${(i - 40) % 7}`, i - 40));
  }
  t.equal(index.bytes, before);
  t.equal(index.figures.lives, 40);
  t.equal(index.figures.refusedLives, 0);
});

t.test('a dead engine is not carried from a small set into a large one', async (t) => {
  const index = createResidency({ maxBytes: MIB, maxLives: 4 });
  const prompt = ownPrompt(3, 40);
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => life(name)) as [
    EngineLife,
    EngineLife,
    EngineLife,
    EngineLife,
  ];
  for (const engine of [a, b]) index.dispatched(engine, prompt, 0);
  index.forget(a);
  for (const engine of [c, d]) index.dispatched(engine, prompt, 0);
  for (let i = 0; i < 400; i++) index.dispatched(d, ownPrompt(100 + i, 1), 0);
  const young = life('young');
  index.dispatched(young, ownPrompt(7, 1), 0);
  t.equal(index.figures.refusedLives, 0);
  t.strictSame(overlapOf(index, [young, b, c, d], prompt), [0, 40, 40, 40]);
});

t.test('a full pool of sets forgets engines rather than promise wrongly', async (t) => {
  const index = createResidency({ maxBytes: MIB, maxLives: 500 });
  const plain = new PlainIndex();
  const engines = Array.from({ length: 500 }, (_, i) => life(`n/${i}`));
  const random = seededRandom(3);
  for (let i = 0; i < 4000; i++) {
    for (let k = 0; k < 4; k++) {
      const engine = engines[Math.floor(random.next() * 500)] as EngineLife;
      index.dispatched(engine, ownPrompt(i, 1), 0);
      plain.put(engine, ownPrompt(i, 1));
    }
  }
  t.ok(index.figures.shortenedSets > 0);
  for (let i = 0; i < 4000; i += 37) {
    const truth = plain.overlap(engines, ownPrompt(i, 1));
    const said = overlapOf(index, engines, ownPrompt(i, 1));
    t.ok(
      said.every((depth, e) => depth <= (truth[e] ?? 0)),
      `prompt ${i}`,
    );
    t.ok(said.includes(1));
  }
});

t.test('a request that never reached its prefill takes back only what it alone would have brought', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  const engine = life('n/a');
  index.dispatched(engine, promptOf([1, 1]), 0);
  index.dispatched(engine, promptOf([1, 1, 2, 2]), 0);
  index.withdrawn(engine, promptOf([1, 1, 2, 2]));
  t.strictSame(overlapOf(index, [engine], promptOf([1, 1, 2, 2])), [2]);
  index.withdrawn(engine, promptOf([1, 1, 2, 2]));
  index.withdrawn(engine, promptOf([]));
  t.strictSame(overlapOf(index, [engine], promptOf([1, 1])), [2]);
});

t.test('an index without room is refused', async (t) => {
  t.throws(() => createResidency({ maxBytes: 1000 }), RangeError);
  t.throws(() => createResidency({ maxBytes: Number.NaN }), RangeError);
});

t.test('a clock that steps back or says nothing harms nothing', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  for (const nowMs of [5e9, 0, -50, Number.NaN, Infinity]) index.dispatched(life('n/a'), ownPrompt(1, 3), nowMs);
  t.strictSame(overlapOf(index, [life('n/a')], ownPrompt(1, 3)), [3]);
});
