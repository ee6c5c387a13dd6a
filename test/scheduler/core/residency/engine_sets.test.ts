/**
 * Interned sets of engines against plain sets, through every change and with a pool that is too small at times.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { createEngineSets, type EngineSets, type SetRef } from '../../../../scheduler/core/residency/engine_sets.ts';

const SLOTS = 70;

function slotsOf(sets: EngineSets, ref: SetRef): number[] {
  const slots: number[] = [];
  for (let w = 0; w < sets.usedWords; w++) {
    for (let bit = 0; bit < 32; bit++) if ((sets.word(ref, w) & (1 << bit)) !== 0) slots.push(32 * w + bit);
  }
  return slots;
}

const STEP = fc.record({
  act: fc.constantFrom('add', 'add', 'add', 'remove', 'drop', 'release', 'prune'),
  holder: fc.integer({ min: 0, max: 5 }),
  slot: fc.integer({ min: 0, max: SLOTS - 1 }).map((slot) => (slot % 3 === 0 ? slot : slot % 7)),
});

t.test('any history of changes leaves what plain sets would hold, or less where the pool was full', async () => {
  fc.assert(
    fc.property(fc.array(STEP, { maxLength: 150 }), fc.constantFrom(60, 100_000), (steps, bytes) => {
      const sets = createEngineSets(bytes, SLOTS);
      const refs: SetRef[] = [0, 0, 0, 0, 0, 0];
      const plain = refs.map(() => new Set<number>());
      for (const { act, holder, slot } of steps) {
        const ref = refs[holder] as SetRef;
        const wanted = plain[holder] as Set<number>;
        const before = sets.shortened;
        if (act === 'add') {
          refs[holder] = sets.add(ref, slot);
          wanted.add(slot);
        } else if (act === 'remove') {
          refs[holder] = sets.remove(ref, slot);
          wanted.delete(slot);
        } else if (act === 'release') {
          sets.release(ref);
          refs[holder] = 0;
          wanted.clear();
        } else {
          sets.drop(slot);
          refs.forEach((one, i) => {
            refs[i] = sets.pruned(one, (other) => other === slot);
            plain[i]?.delete(slot);
          });
        }
        if (sets.shortened > before) plain[holder] = new Set(act === 'add' ? [slot] : []);
        refs.forEach((one, i) => {
          assert.deepEqual(
            slotsOf(sets, one),
            [...(plain[i] as Set<number>)].sort((a, b) => a - b),
          );
          for (const s of plain[i] as Set<number>) assert.equal(sets.has(one, s), true);
        });
      }
      if (bytes > 60) assert.equal(sets.shortened, 0);
    }),
    { numRuns: 400 },
  );
});

t.test('equal sets have equal numbers, however they came about', async (t) => {
  const sets = createEngineSets(100_000, SLOTS);
  const build = (slots: readonly number[]): SetRef => slots.reduce<SetRef>((ref, slot) => sets.add(ref, slot), 0);
  const first = build([1, 2, 3, 40]);
  t.equal(build([40, 3, 2, 1]), first);
  t.equal(sets.remove(build([1, 2, 3, 40, 60]), 60), first);
  t.equal(sets.remove(build([9, 5, 7]), 7), build([5, 9]), 'two engines need no pool');
});

t.test('one prefix on many engines takes one set of the pool while it moves from set to set', async (t) => {
  const sets = createEngineSets(5 * 30, SLOTS);
  let refs = new Array<SetRef>(400).fill(0);
  for (let slot = 0; slot < SLOTS; slot++) refs = refs.map((ref) => sets.add(ref, slot));
  t.equal(sets.shortened, 0);
  t.equal(new Set(refs).size, 1);
  t.equal(slotsOf(sets, refs[0] as SetRef).length, SLOTS);
});

t.test('a set whose engines have all gone is given back to the pool', async (t) => {
  const sets = createEngineSets(1, SLOTS);
  for (let round = 0; round < 3; round++) {
    const ref = [1, 2, 3].reduce<SetRef>((one, slot) => sets.add(one, slot), 0);
    for (const slot of [1, 2, 3]) sets.drop(slot);
    t.equal(
      sets.pruned(ref, () => true),
      0,
    );
  }
  t.equal(sets.shortened, 0, 'the one set of the pool was free each time');
});
