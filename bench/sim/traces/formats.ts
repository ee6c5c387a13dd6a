/**
 * The two public forms of a trace, and the synthetic workload that llm-d publishes its figures for. A line that does not
 * hold what it must is refused with its number: a trace that is read half would give figures that look right.
 */
import { seededRandom } from '../../../lib/rng.ts';
import { type TraceRow, type Workload, workloadOf } from './workload.ts';

/** A trace that cannot be read, with the place in it. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

/** Prompt tokens that one of Mooncake's hash ids stands for. */
const MOONCAKE_CHUNK_TOKENS = 512;
const AZURE_TIME = /^(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?$/;
const AZURE_HEADER = 'TIMESTAMP,ContextTokens,GeneratedTokens';
/** More than any of the models here takes; a column that was mixed up shows itself. */
const MAX_TOKENS = 10_000_000;

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_TOKENS;

function refuse(name: string, line: number, problem: string): never {
  throw new TraceError(`${name}, line ${line}: ${problem}`);
}

function mooncakeRow(name: string, line: string, number: number): TraceRow {
  let row: Record<string, unknown>;
  try {
    row = JSON.parse(line) as Record<string, unknown>;
  } catch (error) {
    throw new TraceError(`${name}, line ${number}: it is not JSON`, { cause: error });
  }
  const { timestamp, input_length: input, output_length: output, hash_ids: ids } = row ?? {};
  if (typeof timestamp !== 'number' || !Number.isFinite(timestamp) || timestamp < 0)
    refuse(name, number, 'timestamp is not a number of milliseconds');
  if (!isCount(input)) refuse(name, number, 'input_length is not a count of tokens');
  if (!isCount(output)) refuse(name, number, 'output_length is not a count of tokens');
  if (!Array.isArray(ids) || !ids.every((id) => Number.isSafeInteger(id)))
    refuse(name, number, 'hash_ids is not a list of whole numbers');
  return { arrivalMs: timestamp, inputTokens: input, outputTokens: output, chunks: ids as number[] };
}

function azureRow(name: string, line: string, number: number): TraceRow {
  const [stamp = '', input, output, ...rest] = line.split(',');
  // The traces of 2024 tell their zone, those of 2023 do not; Date.parse keeps three digits of a second at most.
  const [, second = '', fractionDigits = '', zone = 'Z'] = AZURE_TIME.exec(stamp.trim()) ?? [];
  const wholeMs = Date.parse(`${second.replace(' ', 'T')}${zone}`);
  const fraction = Number(`0${fractionDigits}`);
  if (rest.length > 0 || Number.isNaN(wholeMs) || Number.isNaN(fraction))
    refuse(name, number, 'it is not TIMESTAMP,ContextTokens,GeneratedTokens');
  const [inputTokens, outputTokens] = [Number(input), Number(output)];
  if (!isCount(inputTokens) || !isCount(outputTokens)) refuse(name, number, 'the tokens are no counts');
  return { arrivalMs: wholeMs + fraction * 1000, inputTokens, outputTokens };
}

/**
 * A trace in Mooncake's or Azure's form, told apart by its first line.
 * @throws TraceError with the line that cannot be read
 */
export function parseTrace(name: string, text: string): Workload {
  const lines = text.split(/\r?\n/);
  const isAzure = lines[0]?.trim() === AZURE_HEADER;
  if (!isAzure && !lines[0]?.trimStart().startsWith('{'))
    throw new TraceError(`${name} is neither JSON lines in Mooncake's form nor CSV in Azure's.`);
  const rows = lines.flatMap((line, at) => {
    if (line.trim() === '' || (isAzure && at === 0)) return [];
    return [isAzure ? azureRow(name, line, at + 1) : mooncakeRow(name, line, at + 1)];
  });
  if (rows.length === 0) throw new TraceError(`${name} holds no request.`);
  return workloadOf(name, MOONCAKE_CHUNK_TOKENS, rows);
}

/** llm-d's published workload; see docs/SIMULATOR.md. */
export const LLMD = Object.freeze({
  groups: 150,
  usersPerGroup: 5,
  sharedTokens: 6000,
  ownTokens: 1200,
  outputTokens: 1000,
  firstPerS: 3,
  lastPerS: 60,
  seconds: 120,
  /** Divides both parts of the prompt and is a multiple of the engine's block, so that no boundary is lost. */
  chunkTokens: 240,
});

/**
 * Poisson arrivals whose rate rises in a straight line from `firstPerS` to `lastPerS`; each asks one of the groups x users
 * prompts, drawn evenly. A user's prompt is the group's part and an own part, the same each time.
 */
export function llmdWorkload(seed: number): Workload {
  const random = seededRandom(seed);
  const { groups, usersPerGroup, sharedTokens, ownTokens, chunkTokens, firstPerS, lastPerS, seconds } = LLMD;
  const shared = sharedTokens / chunkTokens;
  const own = ownTokens / chunkTokens;
  const slope = (lastPerS - firstPerS) / seconds;
  const rows: TraceRow[] = [];
  // Unit exponentials are summed and turned into times by the inverse of the mean count up to a time.
  for (let expected = -Math.log(1 - random.next()); ; expected -= Math.log(1 - random.next())) {
    const atS = (Math.sqrt(firstPerS * firstPerS + 2 * slope * expected) - firstPerS) / slope;
    if (atS > seconds) break;
    const user = Math.floor(random.next() * groups * usersPerGroup);
    const group = Math.floor(user / usersPerGroup);
    const chunks: number[] = [];
    for (let at = 0; at < shared; at++) chunks.push(group * shared + at);
    for (let at = 0; at < own; at++) chunks.push(groups * shared + user * own + at);
    const inputTokens = sharedTokens + ownTokens;
    rows.push({ arrivalMs: atS * 1000, inputTokens, outputTokens: LLMD.outputTokens, chunks });
  }
  return workloadOf('llmd', chunkTokens, rows);
}
