/**
 * Reads the coverage that a test run has left and fails when a part of the project is below what it promises: every
 * line of the cores and of the pure part of lib, 85 % of the rest. A source file that no test has loaded counts as not
 * covered, so that leaving a file untested does not raise the figure.
 *
 * Use: node build/test/support/coverage_gate.js [summary.json]
 */
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../lib/io/package_root.ts';
import { layerOf } from '../house/import_rules.ts';
import { readSources } from '../house/sources.ts';

export interface FileCoverage {
  /** From the package's root, with forward slashes. */
  readonly path: string;
  readonly lines: number;
  readonly covered: number;
}

export interface GroupResult {
  readonly group: string;
  readonly lines: number;
  readonly covered: number;
  /** Percent, 100 for a group without lines. */
  readonly percent: number;
  /** Percent that is asked for; 0 for groups that are shown only. */
  readonly asked: number;
  /** Files below what is asked of their group, worst first. */
  readonly short: readonly string[];
}

interface Summary {
  readonly [file: string]: { readonly lines: { readonly total: number; readonly covered: number } };
}

/** The group of a file and what is asked of it, or undefined for files that are not product code. */
export function groupOf(path: string): { readonly group: string; readonly asked: number } | undefined {
  const layer = layerOf(path)?.layer;
  const area = path.split('/')[0] as string;
  if (layer === undefined) return undefined;
  if (layer === 'core') return { group: `${area}/core`, asked: 100 };
  if (layer === 'lib') return { group: 'lib', asked: 100 };
  if (layer === 'lib/io') return { group: 'lib/io', asked: 85 };
  // The bench scripts are run by hand to measure; their figures, not their lines, are what is checked.
  return { group: area, asked: area === 'bench' || area === 'console' ? 0 : 85 };
}

const percentOf = (covered: number, lines: number): number => (lines === 0 ? 100 : (100 * covered) / lines);

/** Sums the files by group, in the order of their names. */
export function judge(files: readonly FileCoverage[]): GroupResult[] {
  const groups = new Map<string, { asked: number; files: FileCoverage[] }>();
  for (const file of files) {
    const found = groupOf(file.path);
    if (found === undefined) continue;
    const group = groups.get(found.group) ?? { asked: found.asked, files: [] };
    group.files.push(file);
    groups.set(found.group, group);
  }
  return [...groups]
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([group, { asked, files: members }]) => {
      const lines = members.reduce((sum, file) => sum + file.lines, 0);
      const covered = members.reduce((sum, file) => sum + file.covered, 0);
      const short = members
        .filter((file) => percentOf(file.covered, file.lines) < asked)
        .toSorted((left, right) => percentOf(left.covered, left.lines) - percentOf(right.covered, right.lines))
        .map((file) => `${file.path} ${percentOf(file.covered, file.lines).toFixed(1)} %`);
      return { group, lines, covered, percent: percentOf(covered, lines), asked, short };
    });
}

/** Coverage of every product file: as the summary says, or nothing for a file that was never loaded. */
export function coverageOf(root: string, summary: Summary, isEmpty: (path: string) => boolean): FileCoverage[] {
  const measured = new Map(
    Object.entries(summary).map(([file, { lines }]) => [relative(root, file).replaceAll('\\', '/'), lines]),
  );
  return readSources(root).flatMap((file) => {
    if (groupOf(file.path) === undefined || isEmpty(file.path)) return [];
    const lines = measured.get(file.path);
    if (lines !== undefined) return [{ path: file.path, lines: lines.total, covered: lines.covered }];
    return [{ path: file.path, lines: file.text.split('\n').length - 1, covered: 0 }];
  });
}

/** Files of types only compile to nothing that could run. */
function compilesToNothing(outputFolder: string): (path: string) => boolean {
  return (path) => {
    if (path.endsWith('.d.ts')) return true;
    const code = readFileSync(join(outputFolder, path.replace(/\.tsx?$/, '.js')), 'utf8');
    return code.replaceAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, '').trim() === 'export {};';
  };
}

/** The table that a person reads. */
export function table(results: readonly GroupResult[]): string {
  return results
    .map(({ group, percent, asked, lines, short }) => {
      const verdict = percent < asked ? 'TOO LOW' : 'ok';
      const files = percent < asked ? short.slice(0, 20).map((file) => `\n    ${file}`) : [];
      const share = `${percent.toFixed(1)} % of ${lines} lines`;
      return `${group.padEnd(16)} ${share.padEnd(24)} asked ${String(asked).padStart(3)} %  ${verdict}${files.join('')}\n`;
    })
    .join('');
}

function main(): number {
  const root = packageRoot();
  const summaryFile = process.argv[2] ?? join(root, '.tap/report/coverage-summary.json');
  const summary = JSON.parse(readFileSync(summaryFile, 'utf8')) as Summary;
  const outputFolder = fileURLToPath(new URL('../../', import.meta.url));
  const results = judge(coverageOf(root, summary, compilesToNothing(outputFolder)));
  process.stdout.write(table(results));
  return results.some(({ percent, asked }) => percent < asked) ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main();
