/** An alias is one of its models, by weight; one that nothing serves gives its part away. */
import t from 'tap';
import { seededRandom } from '../../../../lib/rng.ts';
import { type Aliases, resolveAlias } from '../../../../scheduler/core/routing/aliases.ts';

const ALIASES: Aliases = new Map([
  [
    'chat',
    [
      { model: 'small', weight: 3 },
      { model: 'large', weight: 1 },
      { model: 'never', weight: 0 },
    ],
  ],
  [
    'odd',
    [
      { model: 'x', weight: Number.NaN },
      { model: 'y', weight: -1 },
    ],
  ],
  ['empty', []],
]);
const random = seededRandom(3);
const counts = (name: string, serves: (model: string) => boolean, times = 4000): Record<string, number> => {
  const found: Record<string, number> = {};
  for (let i = 0; i < times; i++) {
    const model = resolveAlias(ALIASES, name, serves, random) ?? 'none';
    found[model] = (found[model] ?? 0) + 1;
  }
  return found;
};

t.test('weights decide among what is served', async (t) => {
  const found = counts('chat', () => true);
  t.ok(Math.abs((found['small'] ?? 0) - 3000) < 120, `${found['small']} of 4000 for three parts of four`);
  t.same(Object.keys(found).sort(), ['large', 'small']);
  t.same(
    counts('chat', (model) => model === 'large', 20),
    { large: 20 },
  );
});

t.test('where nothing is served the weights alone decide, and without any the first model', async (t) => {
  t.same(Object.keys(counts('chat', () => false)).sort(), ['large', 'small']);
  t.same(
    counts('odd', () => true, 5),
    { x: 5 },
  );
});

t.test('another name is no alias', async (t) => {
  t.same([counts('small', () => true, 2), counts('empty', () => true, 2)], [{ none: 2 }, { none: 2 }]);
  t.equal(
    resolveAlias(ALIASES, 'chat', () => true, { next: () => 1, bytes: () => new Uint8Array() }),
    'large',
  );
});
