/**
 * What answers teach the prefix index of engines that do not tell what they evict, and what an engine's own size teaches.
 */
import t from 'tap';
import { createResidency, type PrefixIndex } from '../../../../scheduler/core/residency/residency.ts';
import { life, ownPrompt } from './residency_support.ts';

const MIB = 2 ** 20;
const ENGINE = life('n/a');
const MINUTE_MS = 60_000;

function held(index: PrefixIndex, name: number, blocks = 40, engine = ENGINE): number {
  const out = new Uint32Array(1);
  index.overlap([engine], ownPrompt(name, blocks), out);
  return out[0] as number;
}

/** Sends a prompt and answers with so many cached tokens. */
function ask(index: PrefixIndex, name: number, nowMs: number, cachedTokens: number): void {
  index.dispatched(ENGINE, ownPrompt(name, 40), nowMs);
  index.corrected(ENGINE, ownPrompt(name, 40), cachedTokens, nowMs + 500);
}

t.test('two answers that found a prefix gone move the moment before which all is thought evicted', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  for (let name = 0; name < 10; name++) ask(index, name, name * MINUTE_MS, 0);
  t.equal(held(index, 0), 40);
  ask(index, 3, 20 * MINUTE_MS, 16);
  t.equal(held(index, 2), 40, 'one answer may have other causes');
  ask(index, 5, 21 * MINUTE_MS, 0);
  t.strictSame(
    [0, 1, 2].map((name) => held(index, name)),
    [0, 0, 0],
    'what is older than both is gone',
  );
  t.strictSame(
    [3, 5, 6, 9].map((name) => held(index, name)),
    [40, 40, 40, 40],
    'what was just computed is there',
  );
  ask(index, 4, 22 * MINUTE_MS, 0);
  t.equal(held(index, 6), 40);
  ask(index, 0, 23 * MINUTE_MS, 0);
  t.equal(held(index, 0), 40, 'a prompt thought gone comes back with its dispatch');
});

t.test('an answer that found all that was foretold, though as old, takes the suspicion back', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  for (let name = 0; name < 6; name++) ask(index, name, name * MINUTE_MS, 0);
  ask(index, 4, 20 * MINUTE_MS, 0);
  ask(index, 2, 21 * MINUTE_MS, 624);
  ask(index, 5, 22 * MINUTE_MS, 0);
  t.equal(held(index, 1), 40);
  ask(index, 3, 23 * MINUTE_MS, 16);
  t.equal(held(index, 1), 0, 'now two agree');
});

t.test('that a block sent seconds ago is missing says nothing, nor does one that another engine used', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  ask(index, 0, 0, 0);
  for (const name of [1, 2, 3]) {
    ask(index, name, MINUTE_MS, 0);
    ask(index, name, MINUTE_MS + 2000, 0);
  }
  t.equal(held(index, 0), 40);
  for (const name of [4, 5, 6]) {
    ask(index, name, 2 * MINUTE_MS, 0);
    index.dispatched(life('n/b'), ownPrompt(name, 40), 4 * MINUTE_MS);
    ask(index, name, 9 * MINUTE_MS, 16);
  }
  t.equal(held(index, 0), 40);
});

t.test('an engine that never reports a cached token is believed to hold nothing until it does', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  ask(index, 1, 0, 0);
  for (let i = 0; i < 8; i++) ask(index, 1, i * 100, 0);
  t.equal(held(index, 1), 0);
  ask(index, 2, 2000, 0);
  t.equal(held(index, 2), 0);
  ask(index, 1, 3000, 32);
  t.equal(held(index, 1), 40);
});

t.test('an engine of known size drops what was used before its cache was filled anew', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  index.sized(ENGINE, 1600 * 16);
  index.sized(life('n/b'), 0);
  for (let name = 0; name < 60; name++) {
    index.dispatched(ENGINE, ownPrompt(name, 40), name * 1000);
    index.dispatched(life('n/b'), ownPrompt(100 + name, 40), name * 1000);
    if (name > 0) index.dispatched(ENGINE, ownPrompt(1, 40), name * 1000);
  }
  t.equal(held(index, 0), 0);
  t.equal(held(index, 1), 40, 'used all the time');
  t.equal(held(index, 10), 0);
  t.equal(held(index, 30), 40);
  t.equal(held(index, 100, 40, life('n/b')), 40, 'an engine of unknown size');
  index.cleared(ENGINE);
  t.equal(held(index, 30), 0);
});

t.test('an engine that tells of its evictions itself is not guessed about', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  index.sized(ENGINE, 160 * 16);
  index.stored(ENGINE, ownPrompt(0, 40).hashes, 0);
  for (let name = 1; name < 60; name++) index.dispatched(ENGINE, ownPrompt(name, 40), name * 1000);
  t.equal(held(index, 0), 40);
  index.removed(ENGINE, ownPrompt(0, 40).hashes.subarray(6));
  t.equal(held(index, 0), 3);
});

t.test(
  'days later the moment of an old eviction is forgotten, before wrapped ages could make it lie ahead',
  async (t) => {
    const index = createResidency({ maxBytes: MIB });
    for (let name = 0; name < 4; name++) ask(index, name, name * MINUTE_MS, 0);
    ask(index, 2, 20 * MINUTE_MS, 0);
    ask(index, 3, 21 * MINUTE_MS, 0);
    t.equal(held(index, 1), 0);
    const dayMs = 86_400_000;
    for (let day = 1; day < 30; day++) {
      ask(index, 100 + day, day * dayMs, 0);
      t.equal(held(index, 100 + day), 40, `day ${day}`);
    }
  },
);

t.test('an answer without a sensible count, or to an unknown request, teaches nothing', async (t) => {
  const index = createResidency({ maxBytes: MIB });
  ask(index, 1, 0, 0);
  for (let i = 1; i < 20; i++) ask(index, 1, i * MINUTE_MS, i % 2 === 0 ? Number.NaN : -5);
  t.equal(held(index, 1), 40);
  for (let i = 0; i < 20; i++) index.corrected(ENGINE, ownPrompt(1, 40), 0, 30 * MINUTE_MS);
  index.corrected(ENGINE, { blockTokens: 16, hashes: new Uint32Array(0) }, 0, 0);
  t.equal(held(index, 1), 40);
});

t.test(
  'what is a little less than foretold may be the size of blocks or the guess at tokens, and teaches nothing',
  async (t) => {
    const compared: [number, number][] = [];
    const index = createResidency({ maxBytes: MIB, onCompared: (...pair) => void compared.push(pair) });
    for (let name = 0; name < 8; name++) ask(index, name, name * MINUTE_MS, 0);
    for (let name = 2; name < 8; name++) ask(index, name, (20 + name) * MINUTE_MS, 400);
    t.equal(held(index, 1), 40);
    t.strictSame(compared.slice(7, 9), [
      [0, 0],
      [640, 400],
    ]);
  },
);

t.test('what was foretold of a dead engine is not held against the one that takes its place', async (t) => {
  const compared: [number, number][] = [];
  const index = createResidency({ maxBytes: MIB, maxLives: 1, onCompared: (...pair) => void compared.push(pair) });
  ask(index, 1, 0, 0);
  index.dispatched(ENGINE, ownPrompt(1, 40), 1000);
  index.forget(ENGINE);
  const young = life('n/a', 2);
  index.dispatched(young, ownPrompt(1, 40), 2000);
  index.corrected(young, ownPrompt(1, 40), 0, 3000);
  t.strictSame(compared, [
    [0, 0],
    [0, 0],
  ]);
});
