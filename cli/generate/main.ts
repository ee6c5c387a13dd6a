/**
 * Writes the generated pages of docs/, or, with --check, fails when one of them is not what the source says.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/io/package_root.ts';
import { PAGES } from './pages.ts';

const mode = process.argv[2];
if (mode !== '--write' && mode !== '--check') {
  process.stderr.write('Give --write to write the pages, or --check to compare them.\n');
  process.exit(2);
}
const stale: string[] = [];
for (const { path, content } of PAGES) {
  const file = join(packageRoot(), path);
  const text = content();
  if (existsSync(file) && readFileSync(file, 'utf8') === text) continue;
  if (mode === '--write') {
    writeFileSync(file, text);
    process.stdout.write(`wrote ${path}\n`);
  } else stale.push(path);
}
if (stale.length > 0) {
  process.stderr.write(`Not what the source says: ${stale.join(', ')}. Run npm run generate.\n`);
  process.exit(1);
}
