/**
 * The files of `-f`: one file, a folder of them, or `-` for standard input. What a refusal of the scheduler says of
 * `resources[3]` is told as the place in the file.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import { readYamlDocuments, type YamlDocument } from '../../lib/io/yaml_documents.ts';

export interface FileResource extends YamlDocument {
  readonly file: string;
}

const MAX_FILES = 10_000;
const NAMES = /\.(ya?ml|json)$/;

/** `-f`, which may stand several times. */
export const fileOption = (): Option =>
  new Option(
    '-f, --file <path>',
    'a YAML or JSON file, a folder of them, or - for standard input; may be repeated',
  ).argParser((value: string, before: readonly string[] | undefined) => {
    const files = [...(before ?? []), value];
    if (files.length > MAX_FILES) throw new InvalidArgumentError(`At most ${MAX_FILES} files.`);
    return files;
  });

async function readStandardInput(): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}

const unreadable = (file: string, cause: unknown): CodedError =>
  new CodedError('invalid_config', `${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}).`, {
    param: file,
    cause,
  });

async function namesOf(given: string): Promise<string[]> {
  try {
    if (!(await stat(given)).isDirectory()) return [given];
    const names = (await readdir(given)).filter((name) => NAMES.test(name)).sort();
    return names.map((name) => path.join(given, name));
  } catch (cause) {
    throw unreadable(given, cause);
  }
}

async function readOne(file: string): Promise<FileResource[]> {
  let text: string;
  try {
    text = file === '-' ? await readStandardInput() : await readFile(file, 'utf8');
  } catch (cause) {
    throw unreadable(file, cause);
  }
  const source = file === '-' ? 'standard input' : file;
  return readYamlDocuments(text, source).map((document) => ({ ...document, file: source }));
}

/** @throws CodedError invalid_config, invalid_resource */
export async function readResources(given: readonly string[] | undefined): Promise<FileResource[]> {
  if (given === undefined) throw new CodedError('invalid_config', 'Name the files with -f.', { param: '-f' });
  const found: FileResource[] = [];
  for (const each of given) {
    const files = each === '-' ? ['-'] : await namesOf(each);
    for (const file of files) found.push(...(await readOne(file)));
  }
  if (found.length > 0) return found;
  throw new CodedError('invalid_config', `There is no resource in ${given.join(', ')}.`, { param: '-f' });
}

export const asJson = (resources: readonly FileResource[]): string[] =>
  resources.map(({ value }) => JSON.stringify(value));

type Json = Readonly<Record<string, unknown>>;

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Kind and name of what a file holds; empty where they are missing, which the scheduler then says. */
export function refOf({ value }: FileResource): { readonly kind: string; readonly name: string } {
  const { kind, metadata } = (value ?? {}) as Json;
  return { kind: textOf(kind), name: textOf((metadata as Json | null | undefined)?.['name']) };
}

const PLACE = /resources\[(\d+)\]((?:\.[A-Za-z_]\w*|\[\d+\]|\["[^"]{0,64}"\])*)/g;
const STEP = /\.([A-Za-z_]\w*)|\[(\d+)\]|\["([^"]*)"\]/g;

function stepsOf(text: string): (string | number)[] {
  return [...text.matchAll(STEP)].map(
    ([, word, index, quoted]) => word ?? (index === undefined ? (quoted ?? '') : Number(index)),
  );
}

/** Runs `task`; what it refuses is told with the places in the files. */
export async function withPlaces<Result>(
  resources: readonly FileResource[],
  task: () => Promise<Result>,
): Promise<Result> {
  try {
    return await task();
  } catch (thrown) {
    if (!(thrown instanceof CodedError) || !thrown.message.includes('resources[')) throw thrown;
    const message = thrown.message.replaceAll(PLACE, (whole, index: string, inside: string) => {
      const resource = resources[Number(index)];
      if (resource === undefined) return whole;
      const steps = stepsOf(inside);
      return `${resource.file}:${resource.lineOf(steps)}: ${inside.replace(/^\./, '')}`;
    });
    throw new CodedError(thrown.code, message, {
      cause: thrown,
      ...(thrown.param === undefined ? {} : { param: thrown.param }),
    });
  }
}
