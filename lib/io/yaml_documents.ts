/**
 * Reads files with one or more YAML documents, such as resources. YAML 1.2 core schema only: no tags that make objects,
 * no merge keys, no key twice. Everything is bounded: the size, the number of documents, and how often aliases repeat
 * what they name, so that a file of a few lines cannot become gigabytes.
 */
import { type Document, isNode, LineCounter, parseAllDocuments } from 'yaml';
import { CodedError } from '../errors.ts';

export interface YamlDocument {
  readonly value: unknown;
  /** Line in the file at which it begins, from 1. */
  readonly line: number;
  /** Line of what stands at a path inside of it, or of the innermost part of the path that is there. */
  lineOf(path: readonly (string | number)[]): number;
}

const MAX_CHARACTERS = 32 * 1024 * 1024;
const MAX_DOCUMENTS = 20_000;
/** How many times the nodes of a document may be repeated by aliases, counted as the package does. */
const MAX_ALIAS_COUNT = 100;

const refuse = (source: string, line: number, message: string): CodedError =>
  new CodedError('invalid_resource', `${source}:${line}: ${message}`, { param: `${source}:${line}` });

function valueOf(document: Document, source: string, line: number): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIAS_COUNT });
  } catch (cause) {
    throw new CodedError('invalid_resource', `${source}:${line}: aliases repeat too much, or name nothing`, {
      param: `${source}:${line}`,
      cause,
    });
  }
}

function lineAt(document: Document, path: readonly (string | number)[], counter: LineCounter): number {
  for (let length = path.length; length >= 0; length--) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    const offset = isNode(node) ? node.range?.[0] : undefined;
    if (offset !== undefined) return counter.linePos(offset).line;
  }
  return 1;
}

/**
 * The documents of a text, empty ones left out.
 * @param source what to call it in refusals, such as a file's name
 * @throws CodedError invalid_resource with file and line
 */
export function readYamlDocuments(text: string, source: string): YamlDocument[] {
  if (text.length > MAX_CHARACTERS) throw refuse(source, 1, `the file is larger than ${MAX_CHARACTERS} characters`);
  const counter = new LineCounter();
  const documents = parseAllDocuments(text, {
    version: '1.2',
    schema: 'core',
    stringKeys: true,
    lineCounter: counter,
    prettyErrors: false,
  });
  if (!Array.isArray(documents)) return [];
  if (documents.length > MAX_DOCUMENTS) throw refuse(source, 1, `there are more than ${MAX_DOCUMENTS} documents`);
  return documents.flatMap((document) => {
    const fault = document.errors[0] ?? document.warnings[0];
    if (fault !== undefined) throw refuse(source, counter.linePos(fault.pos[0]).line, fault.message);
    if (document.contents === null) return [];
    const line = lineAt(document, [], counter);
    const value = valueOf(document, source, line);
    if (value === null) return [];
    return [{ value, line, lineOf: (path: readonly (string | number)[]) => lineAt(document, path, counter) }];
  });
}
