/**
 * What the house tests read: the TypeScript files of the project and the imports in them. Text is enough for that; the
 * compiler's API is not part of TypeScript 7.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

export interface ImportStatement {
  readonly from: string;
  readonly typeOnly: boolean;
  readonly line: number;
}

export interface SourceFile {
  /** From the root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly ImportStatement[];
}

const SKIPPED_FOLDER = /^(node_modules|build|build-.*|coverage|dist|gen|fixtures|\..*)$/;
const MOST_FILES = 5_000;

/** Comments blanked out, line breaks kept, so that a commented import is none; strings are left alone. */
export function withoutComments(text: string): string {
  return text.replace(
    /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (whole, quoted: string | undefined) => quoted ?? whole.replace(/[^\n]/g, ' '),
  );
}

const STATEMENT = /^[ \t]*(import|export)\s+(type\s)?(?:[^'"`;]*?\sfrom\s*)?(['"])([^'"\n]+)\3/gm;
const DYNAMIC = /\bimport\s*\(\s*(['"])([^'"\n]+)\1/g;

function lineOf(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

/** Every import and re-export of a file, dynamic ones included. */
export function importsOf(text: string): ImportStatement[] {
  const code = withoutComments(text);
  const found: ImportStatement[] = [];
  for (const match of code.matchAll(STATEMENT)) {
    const braces = /\{([^}]*)\}/.exec(match[0])?.[1];
    const onlyTypes =
      braces !== undefined && braces.trim() !== '' && braces.split(',').every((name) => /^\s*(type\s|$)/.test(name));
    found.push({
      from: match[4] as string,
      typeOnly: match[2] !== undefined || onlyTypes,
      line: lineOf(code, match.index),
    });
  }
  for (const match of code.matchAll(DYNAMIC)) {
    found.push({ from: match[2] as string, typeOnly: false, line: lineOf(code, match.index) });
  }
  return found;
}

/** All .ts files below `root`, without generated ones and fixtures. */
export function readSources(root: string): SourceFile[] {
  const files: SourceFile[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = posix.join(folder, entry.name);
      if (entry.isDirectory()) {
        if (!SKIPPED_FOLDER.test(entry.name)) visit(path);
      } else if (/\.tsx?$/.test(entry.name)) {
        if (files.length >= MOST_FILES) throw new Error(`More than ${MOST_FILES} source files.`);
        const text = readFileSync(join(root, path), 'utf8');
        files.push({ path, text, imports: importsOf(text) });
      }
    }
  };
  visit('.');
  return files;
}
