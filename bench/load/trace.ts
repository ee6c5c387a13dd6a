/**
 * Reads the two public forms of a request trace: Mooncake's JSON lines (with the 512-token blocks that prompts share)
 * and Azure's CSV of LLM inference. Either may be compressed with gzip. A row that cannot be read ends the run with its
 * line number: a replay that leaves rows out is another load than the one it is called.
 *
 * Forms: kvcache-ai/Mooncake FAST25-release/traces; Azure/AzurePublicDataset, LLM inference traces of 2023 and 2024.
 */
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { CodedError } from '../../lib/errors.ts';
import type { Arrival } from './arrivals.ts';

/** Tokens of one block of Mooncake's hash_ids. */
export const BLOCK_TOKENS = 512;

const MAX_TRACE_BYTES = 1 << 30;
const MAX_TOKENS = 10_000_000;

/** @throws CodedError when the file cannot be read or a row of it cannot be understood */
export async function readTrace(file: string): Promise<Arrival[]> {
  let text: string;
  try {
    const bytes = await readFile(file);
    const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
    text = (isGzip ? gunzipSync(bytes, { maxOutputLength: MAX_TRACE_BYTES }) : bytes).toString('utf8');
  } catch (cause) {
    throw new CodedError('invalid_value', `The trace ${file} cannot be read: ${(cause as Error).message}.`, {
      param: 'trace',
      cause,
    });
  }
  return parseTrace(text, file);
}

/** @param name what errors call the trace */
export function parseTrace(text: string, name: string): Arrival[] {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  const parse = lines[0]?.trimStart().startsWith('{') === true ? mooncakeRow : azureParser(lines[0] ?? '', name);
  const from = parse === mooncakeRow ? 0 : 1;
  const arrivals: Arrival[] = [];
  for (const [at, line] of lines.entries()) {
    if (at < from || line.trim() === '') continue;
    const arrival = parse(line);
    if (arrival === undefined) throw refusal(`Line ${at + 1} of ${name} is not a request of this trace: ${cut(line)}`);
    arrivals.push(arrival);
  }
  if (arrivals.length === 0) throw refusal(`${name} holds no request`);
  return arrivals;
}

const cut = (line: string): string => (line.length > 80 ? `${line.slice(0, 80)}...` : line);

const refusal = (sentence: string): CodedError => new CodedError('invalid_value', `${sentence}.`, { param: 'trace' });

const isCount = (value: unknown, least: number): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= least && value <= MAX_TOKENS;

function mooncakeRow(line: string): Arrival | undefined {
  let row: { timestamp?: unknown; input_length?: unknown; output_length?: unknown; hash_ids?: unknown } | null;
  try {
    row = JSON.parse(line) as typeof row;
  } catch {
    return undefined;
  }
  const { timestamp, input_length: inputTokens, output_length: outputTokens, hash_ids: blocks } = row ?? {};
  if (typeof timestamp !== 'number' || !Number.isFinite(timestamp) || timestamp < 0) return undefined;
  if (!isCount(inputTokens, 1) || !isCount(outputTokens, 1)) return undefined;
  if (blocks === undefined) return { atMs: timestamp, inputTokens, outputTokens };
  if (!Array.isArray(blocks) || !blocks.every((id) => Number.isSafeInteger(id))) return undefined;
  return { atMs: timestamp, inputTokens, outputTokens, blocks: blocks as number[] };
}

type RowParser = (line: string) => Arrival | undefined;

/** The columns of Azure's header, whatever their order. */
function azureParser(header: string, name: string): RowParser {
  const columns = header.split(',').map((column) => column.trim());
  const [time, input, output] = ['TIMESTAMP', 'ContextTokens', 'GeneratedTokens'].map((title) =>
    columns.indexOf(title),
  ) as [number, number, number];
  if (Math.min(time, input, output) < 0) {
    throw refusal(`${name} begins neither like Mooncake's JSON lines nor like Azure's TIMESTAMP,ContextTokens,...`);
  }
  return (line) => {
    const fields = line.split(',');
    const atMs = azureTimeMs(fields[time] ?? '');
    const [inputTokens, outputTokens] = [Number(fields[input]), Number(fields[output])];
    // Some rows of the published traces generated nothing; the least that can be asked for is one token.
    if (atMs === undefined || !isCount(inputTokens, 0) || !isCount(outputTokens, 0)) return undefined;
    return { atMs, inputTokens: Math.max(1, inputTokens), outputTokens: Math.max(1, outputTokens) };
  };
}

/** `2023-11-16 18:15:46.6805900`, in 2024 with a zone behind; Date.parse keeps three digits of a second at most. */
function azureTimeMs(text: string): number | undefined {
  const match = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?$/.exec(text.trim());
  if (match === null) return undefined;
  const [, day, second, fraction = '', zone = 'Z'] = match;
  const ms = Date.parse(`${day}T${second}${zone}`);
  return Number.isNaN(ms) ? undefined : ms + Number(`0${fraction}`) * 1000;
}
