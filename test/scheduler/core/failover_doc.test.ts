/** docs/FAILOVER.md names every row of the tables, so that no rule is added in silence. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { FAULTS, NOT_RESUMABLE } from '../../../scheduler/core/relay/recovery_rules.ts';

t.test('each fault and each reason is on the page', async (t) => {
  const page = await readFile(path.join(packageRoot(), 'docs', 'FAILOVER.md'), 'utf8');
  for (const code of Object.keys(FAULTS)) t.ok(page.includes(`\`${code}\``), code);
  for (const name of Object.keys(NOT_RESUMABLE)) t.ok(page.includes(`| ${name} |`), name);
  for (const name of ['too_long', 'no_token_ids', 'unknown_chunks', 'embeddings'])
    t.ok(page.includes(`| ${name} |`), name);
});
