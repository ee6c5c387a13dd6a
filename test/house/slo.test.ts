/** docs/SLO.md is only worth something when its formulas name metrics, labels and outcomes that exist. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { OUTCOMES } from '../../lib/errors.ts';
import { METRICS } from '../../lib/io/metric_names.ts';
import { packageRoot } from '../../lib/io/package_root.ts';

const page = readFileSync(path.join(packageRoot(), 'docs', 'SLO.md'), 'utf8');

t.test('every metric and label of the page exists', async (t) => {
  const selectors = [...page.matchAll(/([a-z_]+?)(_bucket)?\{([a-z]+)[=!]/g)];
  t.ok(selectors.length >= 3, 'the formulas were found');
  for (const [, name, , label] of selectors) {
    const metric = (METRICS as Record<string, { labels: readonly string[] }>)[name as string];
    t.ok(metric, String(name));
    t.ok(metric?.labels.includes(label as string), `${name} has ${label}`);
  }
});

t.test('every outcome is explained, and none that does not exist', async (t) => {
  for (const outcome of OUTCOMES) t.ok(page.includes(`\`${outcome}\``), outcome);
  for (const [, used] of page.matchAll(/outcome="([a-z_]+)"/g)) t.ok(OUTCOMES.includes(used as never), String(used));
});
