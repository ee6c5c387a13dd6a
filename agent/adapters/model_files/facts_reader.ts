/**
 * Looks at the files of models on this disk: config.json and the headers of the safetensors files, never the weights. One
 * model after the other, each once; telemetry asks for what is known and waits for nothing.
 */
import { type FileHandle, open, readdir } from 'node:fs/promises';
import path from 'node:path';
import { MOST_GGUF_HEADER_BYTES, readGgufHeader } from '../../../lib/gguf.ts';
import { readSafetensorsHeader } from '../../../lib/safetensors.ts';
import type { ModelFacts } from '../../../proto/gen/fleet/v1/ModelFacts.ts';
import {
  type FactsRead,
  ggufFacts,
  ggufFiles,
  type GgufPiece,
  missingPieces,
  modelFacts,
  MOST_WEIGHT_FILES,
  type WeightHeader,
  weightFiles,
} from '../../core/model_files/facts.ts';

/** The largest config.json of a known model has some hundred KiB. */
const MOST_CONFIG_BYTES = 4 * 1024 * 1024;
/** Of one file; the largest known have some MiB. */
const MOST_HEADER_BYTES = 32 * 1024 * 1024;
/** Enough for all but the vocabulary of most. */
const FIRST_GGUF_BYTES = 1024 * 1024;
const MOST_MODELS = 1024;
/** Files that could not be read, or hold nothing sound, are looked at again after this long: somebody may mend them. */
const AGAIN_MS = 60_000;

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'unknown reason';

/** The first bytes of a file, at most as many as it has. */
async function readHead(file: FileHandle, bytes: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(bytes);
  let at = 0;
  while (at < bytes) {
    const { bytesRead } = await file.read(buffer, at, bytes - at, at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return buffer.subarray(0, at);
}

async function withFile<Result>(name: string, use: (file: FileHandle, bytes: number) => Promise<Result>) {
  const file = await open(name, 'r');
  try {
    const { size } = await file.stat();
    return await use(file, size);
  } finally {
    await file.close();
  }
}

function readConfig(folder: string): Promise<FactsRead['config']> {
  return withFile(path.join(folder, 'config.json'), async (file, bytes): Promise<FactsRead['config']> => {
    if (bytes > MOST_CONFIG_BYTES) return `config.json has ${bytes} bytes`;
    try {
      return { value: JSON.parse(new TextDecoder().decode(await readHead(file, bytes))) as unknown };
    } catch {
      // Whatever the parser says of foreign bytes helps nobody.
      return 'config.json is no JSON';
    }
  }).catch((error: unknown) => `config.json cannot be read (${codeOf(error)})`);
}

function readHeader(folder: string, name: string): Promise<WeightHeader> {
  return withFile(path.join(folder, name), async (file, bytes): Promise<WeightHeader> => {
    const asked = readSafetensorsHeader(await readHead(file, Math.min(8, bytes)));
    if (asked.kind !== 'short') return { file: name, bytes, header: asked };
    const { needBytes } = asked;
    if (needBytes > MOST_HEADER_BYTES) {
      const why = `its header would be ${needBytes} bytes`;
      return { file: name, bytes, header: { kind: 'malformed', why } };
    }
    const head = await readHead(file, Math.min(needBytes, bytes));
    return { file: name, bytes, header: readSafetensorsHeader(head) };
  });
}

async function readWeights(folder: string, files: readonly string[]): Promise<FactsRead['weights']> {
  const names = weightFiles(files);
  if (names.length === 0) return 'there is no safetensors file';
  const missing = missingPieces(names);
  if (missing !== undefined) return missing;
  if (names.length > MOST_WEIGHT_FILES) return `there are more than ${MOST_WEIGHT_FILES} safetensors files`;
  const headers: WeightHeader[] = [];
  for (const name of names) {
    try {
      headers.push(await readHeader(folder, name));
    } catch (error) {
      return `${name} cannot be read (${codeOf(error)})`;
    }
  }
  return headers;
}

/** The header of a GGUF file has no length of its own: more of the file is read until it is whole. */
function readGguf(folder: string, name: string): Promise<GgufPiece> {
  return withFile(path.join(folder, name), async (file, bytes): Promise<GgufPiece> => {
    for (let most = FIRST_GGUF_BYTES; ; most *= 2) {
      const head = await readHead(file, Math.min(most, bytes));
      const header = readGgufHeader(head);
      const isAll = head.length >= Math.min(bytes, MOST_GGUF_HEADER_BYTES);
      if (header.kind !== 'short' || isAll) return { file: name, bytes, header };
    }
  });
}

async function readGgufFacts(folder: string, names: readonly string[] | string): Promise<ModelFacts> {
  if (typeof names === 'string') return ggufFacts(names);
  if (names.length > MOST_WEIGHT_FILES) return ggufFacts(`there are more than ${MOST_WEIGHT_FILES} GGUF files`);
  const pieces: GgufPiece[] = [];
  for (const name of names) {
    try {
      pieces.push(await readGguf(folder, name));
    } catch (error) {
      return ggufFacts(`${name} cannot be read (${codeOf(error)})`);
    }
  }
  return ggufFacts(pieces);
}

/** Facts of the model in a folder, or in a GGUF file; undefined: there is nothing that can be read. */
async function readFacts(folder: string): Promise<ModelFacts | undefined> {
  const files = await readdir(folder).catch(() => undefined);
  if (files === undefined) {
    if (!/\.gguf$/i.test(folder)) return undefined;
    const [parent, name] = [path.dirname(folder), path.basename(folder)];
    const beside = await readdir(parent).catch((): string[] => []);
    return beside.includes(name) ? readGgufFacts(parent, ggufFiles(beside, name)) : undefined;
  }
  const isGguf = weightFiles(files).length === 0 && files.some((name) => /\.gguf$/i.test(name));
  if (isGguf) return readGgufFacts(folder, ggufFiles(files));
  return modelFacts({ config: await readConfig(folder), weights: await readWeights(folder, files) });
}

export interface FactsReader {
  /** What is known of the model in a folder; undefined: nothing yet, or it is one file. Begins to look if need be. */
  of(folder: string): ModelFacts | undefined;
}

interface Known {
  facts: ModelFacts | undefined;
  /** Monotonic milliseconds; when it was looked at, or begun to be. */
  atMs: number;
  busy: boolean;
}

/** @param nowMs a monotonic clock */
export function createFactsReader(nowMs: () => number): FactsReader {
  const known = new Map<string, Known>();
  let work: Promise<void> = Promise.resolve();
  const isSound = ({ facts }: Known): boolean => facts?.problem === '';
  const look = (folder: string, entry: Known): void => {
    entry.busy = true;
    entry.atMs = nowMs();
    work = work.then(async () => {
      const facts = await readFacts(folder);
      // The same object stands for the same facts, so that telemetry tells them once.
      if (JSON.stringify(facts) !== JSON.stringify(entry.facts)) entry.facts = facts;
      entry.busy = false;
    });
  };
  return {
    of(folder) {
      const before = known.get(folder);
      if (before !== undefined) {
        if (!before.busy && !isSound(before) && nowMs() - before.atMs >= AGAIN_MS) look(folder, before);
        return before.facts;
      }
      const entry: Known = { facts: undefined, atMs: 0, busy: false };
      known.set(folder, entry);
      const [oldest] = known.keys();
      if (known.size > MOST_MODELS) known.delete(oldest as string);
      look(folder, entry);
      return undefined;
    },
  };
}
