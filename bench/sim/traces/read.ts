/**
 * Where the traces come from: the two that lie beside this code, the synthetic one, or a file.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { llmdWorkload, parseTrace, TraceError } from './formats.ts';
import type { Workload } from './workload.ts';

const FILES: Readonly<Record<string, string>> = {
  mooncake: 'mooncake_conversation_trace.jsonl.gz',
  azure: 'azure2023_conv.csv.gz',
};

/** The largest text that is unpacked: a longer trace should be cut before it is simulated. */
const MAX_TEXT_BYTES = 1 << 30;

/** The names that --trace takes beside a file's path. */
export const TRACE_NAMES = ['mooncake', 'azure', 'llmd'] as const;
export type TraceName = (typeof TRACE_NAMES)[number];

async function textOf(file: string): Promise<string> {
  const bytes = await readFile(file);
  const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return (isGzip ? gunzipSync(bytes, { maxOutputLength: MAX_TEXT_BYTES }) : bytes).toString('utf8');
}

/**
 * The workload of a name or of a file. The seed shapes only the synthetic one.
 * @throws TraceError when there is no such file or it cannot be read as a trace
 */
export async function readTrace(nameOrFile: string, seed: number): Promise<Workload> {
  if (nameOrFile === 'llmd') return llmdWorkload(seed);
  const shipped = FILES[nameOrFile];
  // The compiler copies no data, so the files are found from the package's own folder.
  const file = shipped === undefined ? nameOrFile : path.join(packageRoot(), 'bench/sim/data', shipped);
  let text: string;
  try {
    text = await textOf(file);
  } catch (error) {
    throw new TraceError(`The trace ${nameOrFile} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  return parseTrace(nameOrFile, text);
}
