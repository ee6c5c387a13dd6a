/** House rules that a linter does not know: pure cores stay pure, errors are documented and used, pages are current. */
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import t from 'tap';
import { PAGES } from '../../cli/generate/pages.ts';
import { ERRORS } from '../../lib/errors.ts';
import { packageRoot } from '../../lib/io/package_root.ts';
import { layerOf } from './import_rules.ts';
import { readSources, withoutComments } from './sources.ts';

const root = packageRoot();
const files = readSources(root);
const product = files.filter((file) => !file.path.startsWith('test/'));

function linesMatching(text: string, pattern: RegExp): number[] {
  return withoutComments(text)
    .split('\n')
    .flatMap((line, index) => (pattern.test(line) ? [index + 1] : []));
}

/** The files of `from` in which a line matches, as `path:line`. */
function offenders(from: typeof files, pattern: RegExp): string[] {
  return from.flatMap((file) => linesMatching(file.text, pattern).map((line) => `${file.path}:${line}`));
}

t.test('no file is longer than 400 lines', async (t) => {
  const long = files.filter((file) => file.text.split('\n').length - 1 > 400).map((file) => file.path);
  t.same(long, []);
});

t.test('every file opens with a comment that says why it exists', async (t) => {
  const silent = files.filter((file) => !/^(#!.*\n)?\s*(\/\*\*|\/\/)/.test(file.text)).map((file) => file.path);
  t.same(silent, []);
});

const CLOCK_OR_CHANCE =
  /\b(Date\.now|new Date\(\)|Math\.random|setTimeout|setInterval|setImmediate|queueMicrotask|performance\.now|process\.|crypto\.)/;

t.test('cores and the pure part of lib have neither clock nor chance nor process', async (t) => {
  const pure = product.filter((file) => ['core', 'lib'].includes(layerOf(file.path)?.layer ?? ''));
  t.ok(pure.length > 10);
  t.same(offenders(pure, CLOCK_OR_CHANCE), []);
  t.same(linesMatching('const a = 1;\nconst now = Date.now();\n// Date.now() in a comment\n', CLOCK_OR_CHANCE), [2]);
});

t.test('the environment is read in config.ts only', async (t) => {
  const others = product.filter((file) => posix.basename(file.path) !== 'config.ts');
  t.same(offenders(others, /\bprocess\.env\b/), []);
});

t.test('no work is left open in the sources', async (t) => {
  // The words are put together here, so that this file does not find itself.
  const words = [
    ['TO', 'DO'],
    ['FIX', 'ME'],
    ['XX', 'X'],
  ].map((halves) => halves.join(''));
  const open = new RegExp(`\\b(${words.join('|')})\\b|not ${['imple', 'mented'].join('')}`);
  const found = files.filter((file) => open.test(file.text)).map((file) => file.path);
  t.same(found, []);
});

t.test('there are no default exports, enums or barrels', async (t) => {
  const noConfig = product.filter((file) => !/\.(config|d)\.ts$/.test(file.path));
  t.same(offenders(noConfig, /^\s*export default\b|^\s*(export )?(const )?enum\b|^\s*export \* from/), []);
});

/** Codes that no source raises by name, and why they are in the registry all the same. */
const RAISED_ELSEWHERE: Readonly<Record<string, string>> = {};

t.test('every error code is raised somewhere, or it is said why not', async (t) => {
  const text = product
    .filter((file) => file.path !== 'lib/errors.ts')
    .map((file) => withoutComments(file.text))
    .join('\n');
  const unused = Object.keys(ERRORS).filter((code) => !text.includes(`'${code}'`) && !(code in RAISED_ELSEWHERE));
  t.same(unused, []);
  for (const code of Object.keys(RAISED_ELSEWHERE)) t.ok(code in ERRORS, `${code} is in the registry`);
});

t.test('the generated pages are what the source says', async (t) => {
  for (const { path, content } of PAGES) t.equal(readFileSync(join(root, path), 'utf8'), content(), path);
  const page = readFileSync(join(root, 'docs/ERRORS.md'), 'utf8');
  for (const code of Object.keys(ERRORS)) t.match(page, `\`${code}\``);
});

t.test('the lockfile names no host', async (t) => {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { resolved?: string }>;
  };
  const resolved = Object.entries(lock.packages).filter(([, entry]) => entry.resolved !== undefined);
  t.same(resolved, []);
});
