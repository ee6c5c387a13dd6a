/**
 * A record of a spool: one line with a checksum before it. A process that is killed or a disk that is full leaves half a
 * line at the end; whatever does not fit its checksum is left out and told, and the lines around it count.
 */
import { COUNT_FIELDS, KEY_FIELDS, type UsageRow } from './contract.ts';

/** CRC-32 of the text's UTF-8, as an unsigned number. */
export type Checksum = (text: string) => number;

const LINE = /^([0-9a-f]{8}) (\{.*\})$/;
const FIELDS = [...KEY_FIELDS, ...COUNT_FIELDS];

const hex = (sum: number): string => sum.toString(16).padStart(8, '0');

/** @param n place of the record in its segment, 1 for the first: a gap is seen by it, and a repetition passed over */
export function encodeRecord(n: number, rows: readonly UsageRow[], checksum: Checksum): string {
  const body = JSON.stringify({ n, rows: rows.map((row) => FIELDS.map((field) => row[field])) });
  return `${hex(checksum(body))} ${body}\n`;
}

export interface Segment {
  /** Rows of all records that are sound; several may be of one key. */
  readonly rows: readonly UsageRow[];
  readonly records: number;
  /** What was left out, in words with the number of the line. */
  readonly damages: readonly string[];
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value);

function rowOf(values: unknown): UsageRow | undefined {
  if (!Array.isArray(values) || values.length !== FIELDS.length) return undefined;
  const isSound = FIELDS.every((field, index) =>
    field === 'periodMs' || index >= KEY_FIELDS.length ? isCount(values[index]) : typeof values[index] === 'string',
  );
  return isSound
    ? (Object.fromEntries(FIELDS.map((field, index) => [field, values[index]])) as unknown as UsageRow)
    : undefined;
}

function recordOf(line: string, checksum: Checksum): { readonly n: number; readonly rows: UsageRow[] } | undefined {
  const [, sum, body] = LINE.exec(line) ?? [];
  if (body === undefined || sum !== hex(checksum(body))) return undefined;
  const { n, rows } = JSON.parse(body) as { readonly n?: unknown; readonly rows?: unknown };
  if (!isCount(n) || !Array.isArray(rows)) return undefined;
  const known = rows.map(rowOf);
  return known.includes(undefined) ? undefined : { n: n as number, rows: known as UsageRow[] };
}

/** Reads what is sound of a segment. */
export function decodeSegment(text: string, checksum: Checksum): Segment {
  const lines = text.split('\n');
  const tail = lines.pop() as string;
  const rows: UsageRow[] = [];
  const damages: string[] = [];
  let last = 0;
  let records = 0;
  for (const [index, line] of lines.entries()) {
    const record = recordOf(line, checksum);
    if (record === undefined) {
      damages.push(`line ${index + 1} does not fit its checksum`);
      continue;
    }
    if (record.n <= last) continue;
    if (record.n > last + 1)
      damages.push(`records ${last + 1} to ${record.n - 1} are missing before line ${index + 1}`);
    last = record.n;
    records += 1;
    rows.push(...record.rows);
  }
  if (tail !== '') damages.push(`line ${lines.length + 1} is torn: its writer was killed, or the disk was full`);
  return { rows, records, damages };
}
