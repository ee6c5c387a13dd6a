/** The coverage gate: what it asks of each part, and that an untested file cannot hide. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { coverageOf, groupOf, judge, table } from '../support/coverage_gate.ts';

t.test('cores and the pure part of lib need every line, the rest 85 %', async (t) => {
  t.same(groupOf('agent/core/x.ts'), { group: 'agent/core', asked: 100 });
  t.same(groupOf('scheduler/core/routing/x.ts'), { group: 'scheduler/core', asked: 100 });
  t.same(groupOf('lib/sse.ts'), { group: 'lib', asked: 100 });
  t.same(groupOf('lib/io/logger.ts'), { group: 'lib/io', asked: 85 });
  t.same(groupOf('scheduler/adapters/http/x.ts'), { group: 'scheduler', asked: 85 });
  t.same(groupOf('bench/load.ts'), { group: 'bench', asked: 0 });
  t.equal(groupOf('test/lib/x.test.ts'), undefined);
});

t.test('a group below what is asked is named with its worst files first', async (t) => {
  const results = judge([
    { path: 'lib/a.ts', lines: 100, covered: 99 },
    { path: 'lib/b.ts', lines: 100, covered: 100 },
    { path: 'lib/c.ts', lines: 10, covered: 0 },
    { path: 'lib/io/d.ts', lines: 100, covered: 85 },
    { path: 'test/x.ts', lines: 100, covered: 0 },
  ]);
  t.match(results, [
    { group: 'lib', lines: 210, covered: 199, asked: 100, short: ['lib/c.ts 0.0 %', 'lib/a.ts 99.0 %'] },
    { group: 'lib/io', percent: 85, short: [] },
  ]);
  t.match(table(results), /lib +94\.8 % of 210 lines +asked 100 % {2}TOO LOW\n {4}lib\/c\.ts 0\.0 %/);
  t.match(table(results), /lib\/io +85\.0 % of 100 lines +asked {2}85 % {2}ok\n/);
});

t.test('a source that no test has loaded counts as not covered, one of types only does not count', async (t) => {
  const root = t.testdir();
  for (const path of ['lib/loaded.ts', 'lib/forgotten.ts', 'lib/types.ts', 'test/x.ts']) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), '/** A file. */\nexport const a = 1;\n');
  }
  const summary = {
    total: { lines: { total: 2, covered: 2 } },
    [join(root, 'lib/loaded.ts')]: { lines: { total: 2, covered: 2 } },
  };
  const files = coverageOf(root, summary, (path) => path === 'lib/types.ts');
  t.same(
    files.toSorted((left, right) => (left.path < right.path ? -1 : 1)),
    [
      { path: 'lib/forgotten.ts', lines: 2, covered: 0 },
      { path: 'lib/loaded.ts', lines: 2, covered: 2 },
    ],
  );
});
